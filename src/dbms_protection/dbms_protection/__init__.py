# SPDX-License-Identifier: Apache-2.0
"""The guard of the pack: safe operating area, faults, contactor sequencing, power limits."""
