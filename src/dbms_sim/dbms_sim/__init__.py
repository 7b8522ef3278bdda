# SPDX-License-Identifier: Apache-2.0
"""A pack that is not there: cell physics, recordings, virtual units on CAN."""
