# SPDX-License-Identifier: Apache-2.0
"""Heat in the modules: every cell a mass, tied to its neighbours and to what is around it.

The cells of a module stand in a row. With the heat of a step constant the temperatures are solved
exactly (eigenvalues of the row), so any length of step is stable, and no heat is lost.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]


class ThermalNetwork:
    """Rows of equal masses: `heat_capacity` J/K; `to_ambient` and `to_neighbour` in K/W.

    `rows` are the numbers of cells in each row, in the order of the arrays.
    """

    def __init__(
        self,
        rows: Sequence[int],
        heat_capacity: float,
        to_ambient: float,
        to_neighbour: float = math.inf,
    ) -> None:
        for name, value in (('heat capacity', heat_capacity), ('to ambient', to_ambient)):
            if not value > 0:
                raise ValueError(f'{name}: {value}, must be above 0')
        if not to_neighbour > 0:
            raise ValueError(f'to neighbour: {to_neighbour} K/W, must be above 0')
        self._heat_capacity = heat_capacity
        self._starts = np.cumsum([0, *rows])[:-1]
        self._groups = [
            self._group(rows, length, to_ambient, to_neighbour) for length in sorted(set(rows))
        ]
        self._dt = math.nan
        self._keep: list[tuple[FloatArray, FloatArray]] = []

    def _group(
        self, rows: Sequence[int], length: int, to_ambient: float, to_neighbour: float
    ) -> tuple[IntArray, FloatArray, FloatArray]:
        """Return the places (rows, length), eigenvectors and rates in 1/s of such a row."""
        first = self._starts[[count == length for count in rows]]
        places = first[:, None] + np.arange(length)
        chain = np.zeros((length, length))
        for cell in range(length - 1):
            chain[cell : cell + 2, cell : cell + 2] += [[1.0, -1.0], [-1.0, 1.0]]
        values, vectors = np.linalg.eigh(chain)
        values = np.maximum(values, 0.0)
        values[0] = 0.0  # all alike: no heat flows in the row
        rates = (1.0 / to_ambient + values / to_neighbour) / self._heat_capacity
        return places, vectors, rates

    def step(
        self, temperature: FloatArray, heat: FloatArray, ambient: float | FloatArray, dt: float
    ) -> None:
        """Go on by `dt` s with `heat` W into each cell; `temperature` changes in place."""
        if dt != self._dt:
            self._keep = [_propagators(v, r, self._heat_capacity, dt) for _, v, r in self._groups]
            self._dt = dt
        above = temperature - ambient
        if len(self._groups) == 1:  # all rows alike: no gathering
            keep, warm = self._keep[0]
            shape = (-1, len(keep))
            above = (above.reshape(shape) @ keep + heat.reshape(shape) @ warm).ravel()
        else:
            for (places, _, _), (keep, warm) in zip(self._groups, self._keep, strict=True):
                above[places] = above[places] @ keep + heat[places] @ warm
        np.add(above, ambient, out=temperature)


def _propagators(
    vectors: FloatArray, rates: FloatArray, heat_capacity: float, dt: float
) -> tuple[FloatArray, FloatArray]:
    """Return what a step makes of the temperatures, and of the heat in K/W; both symmetric."""
    lost = -np.expm1(-rates * dt)
    slow = rates * dt < 1e-12
    warm = np.where(slow, dt, lost / np.where(slow, 1.0, rates)) / heat_capacity
    return (vectors * (1.0 - lost)) @ vectors.T, (vectors * warm) @ vectors.T
