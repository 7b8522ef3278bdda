# SPDX-License-Identifier: Apache-2.0
"""Recordings: made beside a running graph, and replayed through the cores of its nodes."""
