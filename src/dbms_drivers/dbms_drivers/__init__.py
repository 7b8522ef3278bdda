# SPDX-License-Identifier: Apache-2.0
"""The outside world in: module boards, current sensors and contactor units over CAN."""
