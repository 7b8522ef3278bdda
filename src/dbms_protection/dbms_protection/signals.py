# SPDX-License-Identifier: Apache-2.0
"""What is not measured itself but follows from measurements: rates, jumps, stuck values, skew.

All arrays are in pack order, one element per cell or sensor. NaN: not known, begins nothing.
"""

import math

import numpy as np
import numpy.typing as npt

from dbms_pack import Pack

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

# Share of a new interval in the mean scan period of a board: a mean of about ten.
SKEW_SHARE = 0.1


class Jumps:
    """Change of each value from scan to scan, with or without what all of a module share."""

    def __init__(self, size: int, common: bool, time_scale: float) -> None:
        self._before = np.full(size, np.nan, dtype=np.float32)
        self._common = common
        self._scale = max(time_scale, 1.0)  # faster simulated time makes for larger steps

    def update(self, where: slice, values: Float32Array) -> FloatArray:
        """Return how far each value of one module jumped, shape (elements,)."""
        change = (values - self._before[where]).astype(np.float64) / self._scale
        # After a gap a value is compared with the last one that there was.
        np.copyto(self._before[where], values, where=~np.isnan(values))
        if self._common and change.size > 1:
            shared = np.nanmedian(change) if not np.isnan(change).all() else math.nan
            change -= shared
        return np.abs(change)


class Stuck:
    """How far a reference has moved while a value stayed the same to the last digit."""

    def __init__(self, size: int) -> None:
        self._value = np.full(size, np.nan, dtype=np.float32)
        self._reference = np.full(size, np.nan)

    def update(self, where: slice, values: Float32Array, reference: float) -> FloatArray:
        """Return the distance for each value of one module, shape (elements,)."""
        anchor, at = self._value[where], self._reference[where]
        moved = (values != anchor) & ~np.isnan(values)
        anchor[moved] = values[moved]
        at[moved | np.isnan(at)] = reference
        distance: FloatArray = np.abs(reference - at)
        distance[np.isnan(values)] = np.nan
        return distance


class Rise:
    """Rate of rise of each temperature in K/min, over a window; a jump is no rise."""

    def __init__(self, pack: Pack, window: float, jump: float, time_scale: float) -> None:
        self._slow = np.full(pack.temperatures, np.nan)
        self._last = np.full(pack.temperatures, np.nan)
        self._at = np.full(len(pack.modules), np.nan)
        self._window = window
        self._jump = jump  # K from scan to scan that no cell can do
        self._scale = time_scale

    def update(self, index: int, where: slice, values: Float32Array, now: float) -> FloatArray:
        """Return the rates of one module, shape (sensors,)."""
        slow, last = self._slow[where], self._last[where]
        elapsed = (now - self._at[index]) * self._scale
        self._at[index] = now
        known = ~np.isnan(values)
        # After a gap as long as the window there is nothing to compare with.
        fresh = known & (np.isnan(slow) | (not elapsed <= self._window * max(self._scale, 1.0)))
        slow[fresh] = values[fresh]
        leaps = known & ~fresh & (np.abs(values - last) >= self._jump)
        slow[leaps] += (values - last)[leaps]
        last[known] = values[known]
        if elapsed > 0.0:
            share = -math.expm1(-elapsed / self._window)
            slow[known] += share * (values[known] - slow[known])
        rate: FloatArray = (values - slow) * (60.0 / self._window)
        return rate


class Skew:
    """How far the scan period of each board is off the period of the pack file, as a share."""

    def __init__(self, pack: Pack, gap: float) -> None:
        self._periods = [module.period for module in pack.modules]
        self._gap = gap  # s, silence that is a loss and says nothing about a clock
        count = len(pack.modules)
        self._last: list[tuple[float, int] | None] = [None] * count
        self._time = list(self._periods)  # s, mean interval ...
        self._scans = [1.0] * count  # ... and mean number of scans in it

    def update(self, index: int, sequence: int, now: float) -> float:
        """Take the scan of one module; return the share, always positive."""
        before, self._last[index] = self._last[index], (now, sequence)
        if before is not None:
            elapsed, scans = now - before[0], sequence - before[1]
            if elapsed <= self._gap and 0 < scans:
                self._time[index] += SKEW_SHARE * (elapsed - self._time[index])
                self._scans[index] += SKEW_SHARE * (scans - self._scans[index])
        return abs(self._time[index] / (self._scans[index] * self._periods[index]) - 1.0)


class Overload:
    """Root mean square of the current of a string, as a thermal replica forgets it (I2t)."""

    def __init__(self, window: float, time_scale: float) -> None:
        self._window = window
        self._scale = time_scale
        self._square = 0.0
        self._at: float | None = None

    def update(self, current: float, now: float) -> float:
        """Return the mean in A; what is not measured changes nothing."""
        elapsed = 0.0 if self._at is None else max(now - self._at, 0.0) * self._scale
        self._at = now
        if math.isfinite(current):
            share = -math.expm1(-elapsed / self._window)
            self._square += share * (current * current - self._square)
        return math.sqrt(self._square)
