# SPDX-License-Identifier: Apache-2.0
"""The way from the cells of a string to the link: busbars, fuse, and how its contactors wear."""

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Pack

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

BUSBAR_RESISTANCE = 50e-6  # Ohm, of a screwed joint with its bar; one per cell
FUSE_SECONDS = 4.0  # s that a fuse stands five times its rating
WELDING_CURRENT = 500.0  # A of inrush that welds a contact
BREAKS = 25.0  # times its break_current: a break of that much ends a contact's life


class StringPath:
    """Busbars and fuse of each string; arrays are (strings,)."""

    def __init__(self, pack: Pack) -> None:
        self.resistance: FloatArray = np.array(
            [string.cells * BUSBAR_RESISTANCE for string in pack.strings]
        )  # Ohm; may be changed
        self.open: BoolArray = np.zeros(len(pack.strings), dtype=bool)  # the fuse; may be changed
        # A fuse lasts where protection still allows the current.
        rating = pack.limits.overcurrent_discharge[Level.MSL].at
        self._squared = rating**2
        self._melts_at = FUSE_SECONDS * 24.0 * self._squared  # A2s above the rating
        self._heat = np.zeros(len(pack.strings))

    def step(self, currents: FloatArray, dt: float) -> None:
        """Heat the fuses for `dt` s, and let them blow; they cool at less than their rating."""
        self._heat += (currents**2 - self._squared) * dt
        np.maximum(self._heat, 0.0, out=self._heat)
        blown = self._heat > self._melts_at
        self._heat[blown] = 0.0
        self.open |= blown


class ContactorWear:
    """Wear of one string's main contactors by breaking a current; 1: the contact welds."""

    def __init__(self, break_current: float) -> None:
        self._break_current = break_current
        self.wear = 0.0

    def breaks(self, current: float) -> bool:
        """Open under `current` A; return whether there was an arc."""
        if abs(current) <= self._break_current * 1.001:  # what is set to it is not above it
            return False
        self.wear += (current / (BREAKS * self._break_current)) ** 2
        return True
