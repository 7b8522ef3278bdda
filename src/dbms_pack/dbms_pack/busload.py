# SPDX-License-Identifier: Apache-2.0
"""How much of a bus the reference CAN protocol needs in the worst case."""

import math
from collections.abc import Iterable

# A data frame with an 11-bit identifier and n = 8 data bytes, bit-stuffed as badly as can be, with
# its interframe space: 47 + 8 n + floor((34 + 8 n - 1) / 4) bits. Davis, Burns, Bril, Lukkien:
# "Controller Area Network (CAN) schedulability analysis: Refuted, revisited and revised",
# Real-Time Systems 35 (2007), equation (1).
FRAME_BITS = 47 + 8 * 8 + (34 + 8 * 8 - 1) // 4

CELLS_PER_FRAME = 3
TEMPERATURES_PER_FRAME = 4
IDENTITY_RATE = 1.0  # 1/s
BLEED_RATE = 1.0  # 1/s, while the module is balanced
INSULATION_RATE = 1.0  # 1/s
FEEDBACK_RATE = 20.0  # 1/s, contactor feedback every 50 ms
RENEWALS_PER_LEASE = 3


def module_rate(cells: int, temperatures: int, period: float) -> float:
    """Frames per second of a module board and of the commands to it; period in s."""
    scan = math.ceil(cells / CELLS_PER_FRAME) + math.ceil(temperatures / TEMPERATURES_PER_FRAME)
    return (scan + 1) / period + IDENTITY_RATE + BLEED_RATE


def sensor_rate(period: float, voltage_period: float) -> float:
    """Frames per second of a current sensor; periods in s."""
    return 1 / period + 1 / voltage_period + INSULATION_RATE


def contactor_rate(lease: float) -> float:
    """Frames per second to and from a closed contactor unit; lease in s."""
    return RENEWALS_PER_LEASE / lease + FEEDBACK_RATE


def load(rates: Iterable[float], bitrate: int) -> float:
    """Return the load of a bus, 1 being all of it, from the frames per second on it."""
    return sum(rates) * FRAME_BITS / bitrate
