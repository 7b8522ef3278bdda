# SPDX-License-Identifier: Apache-2.0
"""Cell models from laboratory measurements."""
