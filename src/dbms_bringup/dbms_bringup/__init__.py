# SPDX-License-Identifier: Apache-2.0
"""The whole graph: described once, run in one process, in many, or by launch files."""
