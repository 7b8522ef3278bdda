# SPDX-License-Identifier: Apache-2.0
"""Finds voltages that stand still although current or charge must have moved them."""

import numpy as np

from dbms_pack.model import FloatArray


class FrozenReadings:
    """What has happened to each of n cells since its reading changed last."""

    def __init__(self, cells: int, least: float) -> None:
        """`least`: V that a cell must have moved while its reading stood still."""
        self._least = least
        self._seen = np.full(cells, np.nan)  # V, the last reading that was a new one
        self._current = np.zeros(cells)  # A, at that
        self._gained = np.zeros(cells)  # SOC since then
        self._stuck = np.zeros(cells, dtype=bool)

    def take(self, columns: np.ndarray) -> None:
        """Go on with these columns only, by index or mask."""
        for name in ('_seen', '_current', '_gained', '_stuck'):
            setattr(self, name, getattr(self, name)[columns])

    def reset(self, where: np.ndarray) -> None:
        """Know nothing of the cells `where` (a mask)."""
        self._seen[where] = np.nan

    def count(self, gained: FloatArray) -> None:
        """Add the SOC that the cells have gained."""
        self._gained += gained

    def find(
        self,
        measured: np.ndarray,
        voltage: FloatArray,
        load: FloatArray,
        r0: FloatArray,
        slope: FloatArray,
    ) -> np.ndarray:
        """Return where the reading in V stands still under a load in A, a mask.

        r0 in Ohm and slope in V per unit of SOC tell how far it should have moved. Once found to
        stand still it counts no more, whatever the current does then, until it changes.
        """
        still = measured & (voltage == self._seen)
        fresh = measured & ~still
        self._seen[fresh] = voltage[fresh]
        self._current[fresh] = load[fresh]
        self._gained[fresh] = 0.0
        moved = r0 * (load - self._current) + slope * self._gained
        self._stuck &= ~fresh
        self._stuck |= still & (np.abs(moved) > self._least)
        return still & self._stuck
