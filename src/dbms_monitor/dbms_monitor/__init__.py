# SPDX-License-Identifier: Apache-2.0
"""The world outside: a live view of a running pack."""
