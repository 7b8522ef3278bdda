# SPDX-License-Identifier: Apache-2.0
"""The paths from the poles of the strings to the chassis, and what flows through it."""

import numpy as np
import numpy.typing as npt

from dbms_sim.faults import POLES

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

POLE = 20e6  # Ohm, each pole of a healthy string to the chassis
LINK = 100e6  # Ohm, each pole of what hangs on the link


class Insulation:
    """Conductances to the chassis. Arrays are (strings, 2): minus, plus.

    A pole that is on the link shares its paths with all others there.
    """

    def __init__(self, strings: int) -> None:
        self._healthy: FloatArray = np.full((strings, 2), 1.0 / POLE)
        self._faults: dict[object, tuple[int, int, float]] = {}
        self._joined: BoolArray = np.zeros((strings, 2), dtype=bool)
        self._paths = self._healthy  # S, what each pole has alone or shares

    def break_down(self, key: object, string: int, pole: str, resistance: float) -> None:
        """Put a path of `resistance` Ohm beside those of a pole."""
        self._faults[key] = string, POLES.index(pole), 1.0 / resistance
        self._update()

    def mend(self, key: object) -> None:
        """Take a path away again."""
        del self._faults[key]
        self._update()

    def join(self, joined: BoolArray) -> None:
        """Say which poles are on the link."""
        if (joined != self._joined).any():
            self._joined = joined.copy()
            self._update()

    @property
    def resistance(self) -> FloatArray:
        """What a monitor at each string measures in Ohm, (strings,): its lower pole."""
        lowest: FloatArray = 1.0 / self._paths.max(axis=1)
        return lowest

    def leakage(self, voltages: FloatArray) -> FloatArray:
        """Return what each string of `voltages` (strings,) V loses from pole to pole in A."""
        minus, plus = self._paths.T
        current: FloatArray = voltages * minus * plus / (minus + plus)
        # Strings that are on the link with both poles feed the paths they share together.
        together = self._joined.all(axis=1)
        return np.where(together, current / max(1, int(together.sum())), current)

    def _update(self) -> None:
        own = self._healthy.copy()
        for string, pole, conductance in self._faults.values():
            own[string, pole] += conductance
        shared = np.where(self._joined, own, 0.0).sum(axis=0) + 1.0 / LINK
        self._paths = np.where(self._joined, shared, own)
