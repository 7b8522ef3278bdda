# SPDX-License-Identifier: Apache-2.0
"""Wrong measurements of a board: each changes what is read of cells and sensors, in place.

An infinite value goes on the wire as a measurement fault, NaN as not measured.
"""

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_SENTINELS = {'not_measured': math.nan, 'fault': math.inf, 'zero': -1e6, 'top': 1e6}


class Distortion(Protocol):
    """Something wrong with the measuring. `values` are those of one board, V or degC."""

    def apply(self, values: FloatArray, position: float) -> None:
        """Change `values` in place; `position` in s of battery time."""


class Offset:
    """An error of one value that grows by `rate` per s."""

    def __init__(self, index: int, offset: float, rate: float, start: float) -> None:
        self._index, self._offset, self._rate, self._start = index, offset, rate, start

    def apply(self, values: FloatArray, position: float) -> None:
        values[self._index] += self._offset + self._rate * (position - self._start)


class Forced:
    """One value that is always the same."""

    def __init__(self, index: int, value: float) -> None:
        self._index, self._value = index, value

    @classmethod
    def sentinel(cls, index: int, name: str) -> 'Forced':
        """Return a value that is no measurement, or an end of the scale."""
        return cls(index, _SENTINELS[name])

    def apply(self, values: FloatArray, position: float) -> None:
        values[self._index] = self._value


class Stuck:
    """One value that stays as it was when first looked at."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._value: float | None = None

    def apply(self, values: FloatArray, position: float) -> None:
        if self._value is None:
            self._value = float(values[self._index])
        values[self._index] = self._value


class Noise:
    """Normally distributed noise on one value."""

    def __init__(self, index: int, sigma: float, random: np.random.Generator) -> None:
        self._index, self._sigma, self._random = index, sigma, random

    def apply(self, values: FloatArray, position: float) -> None:
        values[self._index] += self._random.normal(0.0, self._sigma)


class OpenWire:
    """The wire between a cell and the next is off: its input is pulled down to the wire below.

    The cell reads 0 V, the next one both their voltages. Above the topmost cell there is none.
    """

    def __init__(self, index: int) -> None:
        self._index = index

    def apply(self, values: FloatArray, position: float) -> None:
        if self._index + 1 < len(values):
            values[self._index + 1] += values[self._index]
        values[self._index] = 0.0
