# SPDX-License-Identifier: Apache-2.0
"""How cells wear: capacity fades and resistance grows, by time, charge moved and temperature.

Both follow the usual empirical law: with the root of time at rest, in proportion to the charge
that was moved, and faster the warmer the cell is (a doubling per so many kelvin, after Arrhenius).
"""

import numpy as np
import numpy.typing as npt

from dbms_pack.model import AgeingModel

FloatArray = npt.NDArray[np.float64]

REFERENCE = 25.0  # degC
YEAR = 365.25 * 86400.0  # s


class Ageing:
    """Wear of all cells; `time` and `cycles` count as at 25 degC, each (cells,)."""

    def __init__(self, model: AgeingModel, cells: int) -> None:
        self._model = model
        self.time: FloatArray = np.zeros(cells)  # years
        self.cycles: FloatArray = np.zeros(cells)  # full equivalent ones
        wear = (model.calendar_fade, model.cycle_fade)
        self.active = any((*wear, model.calendar_growth, model.cycle_growth))

    def add(self, dt: float, moved: FloatArray, temperature: FloatArray) -> None:
        """Count `dt` s in which `moved`, a part of the capacity in and out, went through."""
        pace = np.exp2((temperature - REFERENCE) / self._model.doubling)
        self.time += pace * (dt / YEAR)
        self.cycles += pace * moved * 0.5

    @property
    def capacity(self) -> FloatArray:
        """What is left of the capacity, a part of 1, never below a tenth."""
        model = self._model
        fade = model.calendar_fade * np.sqrt(self.time) + model.cycle_fade * self.cycles
        return np.maximum(1.0 - fade, 0.1)

    @property
    def resistance(self) -> FloatArray:
        """What the resistances have become, 1 when new."""
        model = self._model
        return 1.0 + model.calendar_growth * np.sqrt(self.time) + model.cycle_growth * self.cycles
