# SPDX-License-Identifier: Apache-2.0
"""Whether the current of a string can be true: against its voltage, and while it is open."""

import math

import numpy as np
import numpy.typing as npt

from dbms_pack import Pack

FloatArray = npt.NDArray[np.float64]

WINDOW = 0.5  # s, of which means are compared with the means of the one before
# A cell has between this share of its lowest R0 and that many times its highest total resistance.
LEAST, MOST = 0.4, 2.0
SLACK = 0.005  # V per cell, which moves without any current: relaxation, noise
FASTEST = 2.0  # faster simulated time moves voltages by charge, not by resistance


class CurrentModel:
    """Holds the change of a string's current against the change of its voltage.

    Needs nothing but the resistances of the cell file. What is not known gives NaN.
    """

    def __init__(self, pack: Pack, time_scale: float) -> None:
        cell = pack.cell
        charge = cell.r0 if cell.r0_charge is None else np.minimum(cell.r0, cell.r0_charge)
        total = cell.r0 + cell.r1 + cell.r2
        self._temperatures = cell.temperatures
        self._least: FloatArray = LEAST * charge.min(axis=1) / pack.parallel  # Ohm
        if math.isfinite(cell.saturation):  # a strong current meets less than R0
            self._least = self._least / 2.0
        self._most: FloatArray = MOST * total.max(axis=1) / pack.parallel
        self._runs = time_scale <= FASTEST
        self._begin(0.0)
        self._before = (math.nan, math.nan)
        self._value = math.nan

    def _begin(self, now: float) -> None:
        self._since, self._count, self._volts, self._amperes = now, 0, 0.0, 0.0

    def update(self, volts: float, current: float, cold: float, hot: float, now: float) -> float:
        """Return by how many A the current is off at least, as of the last whole window.

        `volts` per cell; `cold` and `hot` are the temperatures of the string in degC.
        """
        if not self._runs:
            return math.nan
        if not (math.isfinite(volts) and math.isfinite(current)):
            self._begin(now)
            self._before, self._value = (math.nan, math.nan), math.nan
            return math.nan
        self._count += 1
        self._volts += volts
        self._amperes += current
        if now - self._since < WINDOW:
            return self._value
        mean = self._volts / self._count, self._amperes / self._count
        whole = now - self._since < 2.0 * WINDOW  # not one with a gap in it
        self._value = self._off(mean, cold, hot) if whole else math.nan
        self._before = mean if whole else (math.nan, math.nan)
        self._begin(now)
        return self._value

    def _off(self, mean: tuple[float, float], cold: float, hot: float) -> float:
        volts, amperes = mean[0] - self._before[0], mean[1] - self._before[1]
        if not (math.isfinite(volts) and math.isfinite(amperes)):
            return math.nan
        table = self._temperatures
        # A temperature that is not known is the one at which most can be true.
        most = np.interp(cold if math.isfinite(cold) else table[0], table, self._most)
        least = np.interp(hot if math.isfinite(hot) else table[-1], table, self._least)
        needed = max(abs(volts) - SLACK, 0.0) / float(most)
        missing = needed - math.copysign(1.0, volts) * amperes if needed > 0.0 else 0.0
        beyond = abs(amperes) - (abs(volts) + SLACK) / float(least)
        return max(missing, beyond, 0.0)
