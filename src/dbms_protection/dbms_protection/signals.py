# SPDX-License-Identifier: Apache-2.0
"""What is not measured itself but follows from measurements: rates, jumps, stuck values, skew.

All arrays are in pack order, one element per cell or sensor. NaN: not known, begins nothing.
"""

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dbms_pack import Pack
from dbms_pack.filters import SKEW_SHARE

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]


class Jumps:
    """Change of each value from scan to scan, with or without what all of a module share."""

    def __init__(self, size: int, common: bool, time_scale: float) -> None:
        self._before = np.full(size, np.nan, dtype=np.float32)
        self._change = self._before[:0]
        self._common = common
        self._scale = max(time_scale, 1.0)  # faster simulated time makes for larger steps

    def worst(self, where: slice, values: Float32Array, complete: bool) -> float:
        """Take the values of one module; return what no jump of it exceeds, NaN: not known."""
        before = self._before[where]
        self._change = change = values - before
        if not complete:  # after a gap a value is compared with the last one that there was
            np.copyto(before, values, where=~np.isnan(values))
            return math.nan
        before[:] = values
        high, low = float(np.maximum.reduce(change)), float(np.minimum.reduce(change))
        return (high - low if self._common else max(high, -low)) / self._scale

    def values(self) -> FloatArray:
        """Return how far each value of the module taken last jumped, shape (elements,)."""
        change = self._change.astype(np.float64) / self._scale
        if self._common and change.size > 1 and not np.isnan(change).all():
            change -= np.nanmedian(change)
        return np.abs(change)


class Stuck:
    """How far references have moved while a value stayed the same to the last digit.

    A value and its references are not sampled at the same moment. What they do within `settle` s
    of the last change of the value is therefore not held against it: a load that ends between
    the two leaves a resting cell with a voltage that is new and a reference that is old. Of more
    than one reference the least counts, and only what all of them do in the same direction.
    """

    def __init__(self, size: int, settle: float, references: int = 1) -> None:
        self._value = np.full(size, np.nan, dtype=np.float32)
        self._until = np.full(size, -np.inf)  # s, the references may still belong to the value
        self._low = np.full((references, size), np.nan)  # what they have been by then
        self._high = np.full((references, size), np.nan)
        self._settle = settle
        self._distance: FloatArray = self._until[:0]

    def worst(
        self, where: slice, values: Float32Array, complete: bool, references: Sequence[float],
        now: float,
    ) -> float:  # fmt: skip
        """Take the values of one module; return the largest distance, NaN: not known."""
        anchor, until = self._value[where], self._until[where]
        moved = values != anchor
        if not complete:
            moved &= ~np.isnan(values)
        elif moved.all():
            return self._anew(where, values, references, now)
        np.copyto(anchor, values, where=moved)
        np.copyto(until, now + self._settle, where=moved)
        settling = until >= now
        least, most = np.inf, -np.inf
        for low, high, reference in zip(
            self._low[:, where], self._high[:, where], references, strict=True
        ):
            np.copyto(low, reference, where=moved | (low != low))
            np.copyto(high, reference, where=moved | (high != high))
            np.fmin(low, reference, out=low, where=settling)
            np.fmax(high, reference, out=high, where=settling)
            change = reference - np.minimum(np.maximum(reference, low), high)
            least, most = np.minimum(least, change), np.maximum(most, change)
        self._distance = distance = np.maximum(np.maximum(least, np.negative(most)), 0.0)
        if not complete:
            distance[np.isnan(values)] = np.nan
        return float(np.maximum.reduce(distance))

    def _anew(
        self, where: slice, values: Float32Array, references: Sequence[float], now: float
    ) -> float:
        """Take values that have all changed, as noisy ones do: the references begin there."""
        self._value[where] = values
        self._until[where] = now + self._settle
        for row, reference in enumerate(references):
            self._low[row, where] = self._high[row, where] = reference
        distance = 0.0 * sum(references)  # NaN as long as one is not known
        self._distance = np.full(len(values), distance)
        return distance

    def values(self) -> FloatArray:
        """Return the distance for each value of the module taken last, shape (elements,)."""
        return self._distance


class Redundant:
    """How far the temperature sensors of one module that measure the same spot are apart.

    Of two that differ nobody can tell which one is wrong. Of three and more it is the one that is
    farthest from their median.
    """

    def __init__(self, groups: Sequence[Sequence[int]]) -> None:
        self._groups = [[number - 1 for number in group] for group in groups]
        self.said = ''  # which ones are apart most

    def worst(self, values: Float32Array) -> float:
        """Take the values of the module; return the largest distance, NaN: not all are known."""
        largest = 0.0
        for group in self._groups:
            known = values[group].astype(np.float64)
            if np.isnan(known).any():
                return math.nan
            distance = np.abs(known - np.median(known)) if len(group) > 2 else np.ptp(known)
            most = float(np.max(distance))
            if most > largest:
                largest = most
                names = ' and '.join(str(number + 1) for number in group)
                self.said = f'sensors {names} at the same spot differ by {most:.1f} K'
                if len(group) > 2:
                    odd = group[int(np.argmax(distance))] + 1
                    self.said = f'sensor {odd} is {most:.1f} K off the others at the same spot'
        return largest


def middle(values: Float32Array) -> tuple[float, float]:
    """Return the edges of the middle half of what is known; (NaN, NaN) of nothing.

    They move together only when most of the values do: not for one that runs away, nor for the
    half of a string that lies beside it.
    """
    known = np.sort(values[~np.isnan(values)])
    if not known.size:
        return math.nan, math.nan
    edge = min((known.size - 1) // 2, max(1, round(0.25 * (known.size - 1))))
    return float(known[edge]), float(known[known.size - 1 - edge])


class Rise:
    """Rate of rise of each temperature in K/min, over a window; a jump is no rise."""

    def __init__(self, pack: Pack, window: float, jump: float, time_scale: float) -> None:
        self._slow = np.full(pack.temperatures, np.nan)
        self._last = np.full(pack.temperatures, np.nan)
        self._at = [math.nan] * len(pack.modules)
        self._window = window
        self._gap = window * max(time_scale, 1.0)  # s of battery time without anything to compare
        self._jump = jump * max(time_scale, 1.0)  # K from scan to scan that no cell can do
        self._scale = time_scale
        self._rate: AnyFloats = self._slow[:0]

    def worst(
        self, index: int, where: slice, values: Float32Array, complete: bool, now: float
    ) -> float:
        """Take the values of one module; return the largest rate, NaN: not known."""
        elapsed = (now - self._at[index]) * self._scale
        self._at[index] = now
        slow, last = self._slow[where], self._last[where]
        change = values - last
        if not (complete and elapsed <= self._gap and np.maximum.reduce(change) < self._jump
                and np.minimum.reduce(change) > -self._jump):  # fmt: skip
            self._mend(slow, values, change, elapsed)
        np.copyto(last, values, where=values == values)
        if elapsed > 0.0:
            step = (values - slow) * -math.expm1(-elapsed / self._window)
            slow += step if complete else np.nan_to_num(step)
        self._rate = (values - slow) * (60.0 / self._window)
        return float(np.maximum.reduce(self._rate))

    def _mend(
        self, slow: FloatArray, values: Float32Array, change: AnyFloats, elapsed: float
    ) -> None:
        """Begin anew where there is nothing to compare with, and go along with what jumped."""
        known = ~np.isnan(values)
        fresh = known & (np.isnan(slow) | (not elapsed <= self._gap))
        slow[fresh] = values[fresh]
        leaps = known & ~fresh & (np.abs(change) >= self._jump)
        slow[leaps] += change[leaps]

    def values(self) -> AnyFloats:
        """Return the rates of the module taken last, shape (sensors,)."""
        return self._rate


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


class MovingMean:
    """Mean of the last `window` s of a value; with 0 the value itself.

    Of two values that are not sampled at the same moment, each step of what both measure makes a
    gap for a moment, up and down alike: their mean gap stays what it is.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._values: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def update(self, value: float, now: float) -> float:
        """Return the mean; NaN as long as the value is not known."""
        values = self._values
        while values and now - values[0][0] >= self._window:
            self._sum -= values.popleft()[1]
        if not math.isfinite(value):
            return math.nan
        if not values:
            self._sum = 0.0  # what rounding left
        values.append((now, value))
        self._sum += value
        return self._sum / len(values)
