# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: every claim of speed comes from here, as a ratio against a peer of the same run."""
