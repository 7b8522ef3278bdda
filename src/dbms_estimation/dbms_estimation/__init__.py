# SPDX-License-Identifier: Apache-2.0
"""Estimation of what cannot be measured: the state of charge of every cell of a pack."""
