# SPDX-License-Identifier: Apache-2.0
"""Coulomb counting: the current integrated, nothing else. It stands beside the filter."""

import numpy as np

from dbms_pack.model import FloatArray


class CoulombCounter:
    """SOC of n cells by counted charge alone; NaN before `start` and once charge was missed.

    It is neither clipped nor corrected: its drift against the filter tells how good current
    sensor and capacity are.
    """

    def __init__(self, cells: int, capacity: float) -> None:
        """Take the number of cells and the capacity of each in Ah."""
        self._charge_of_full = capacity * 3600.0
        self.soc = np.full(cells, np.nan)

    def start(self, where: np.ndarray, soc: FloatArray) -> None:
        """Count from `soc` at the cells `where`."""
        self.soc[where] = soc[where]

    def add(self, charge: FloatArray, blind: FloatArray) -> None:
        """Add `charge` in As; where `blind` s passed without a current the count is lost."""
        self.soc += charge / self._charge_of_full
        self.soc[blind > 0] = np.nan
