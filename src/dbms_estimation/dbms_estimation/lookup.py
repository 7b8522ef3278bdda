# SPDX-License-Identifier: Apache-2.0
"""Look-ups for a filter that asks for the same cells at every step.

Between two grid points of the SOC all tables are straight lines, and at 10 Hz a cell stays between
the same two for many steps. Which line that is at its temperature is therefore kept for each cell,
and looked up anew only where the cell has gone on to the next grid point or its temperature is
another one. The numbers are those of `CellTables`, to rounding.
"""

import numpy as np

from dbms_pack.model import FloatArray

from .ecm import CellTables

R0, R1_R2, TAU1_TAU2, ERROR, SHARE = 0, slice(1, 3), slice(3, 5), 5, 6  # of `circuit`


class Lookup:
    """Values of k tables at the SOC and temperature of each of n cells."""

    def __init__(self, tables: CellTables, temperatures: FloatArray, values: FloatArray) -> None:
        """Take the values, (k, t, g), at the temperatures in degC and SOCs of `tables.grid`.

        Of one temperature only: they are alike at all. Beyond the temperatures they stay as they
        are at the nearest.
        """
        self._tables = tables
        self._temperatures, self._ranks = temperatures, np.arange(len(temperatures), dtype=float)
        self._count, rows, points = values.shape
        # A row for each temperature and SOC: all values there, and how much more at the next SOC.
        lines = np.concatenate([values[:, :, :-1], np.diff(values, axis=2)])
        self._points = points - 1
        self._lines = lines.transpose(1, 2, 0).reshape(rows * self._points, -1).copy()
        self._last = rows - 2
        self._index = np.zeros(0, dtype=np.intp)
        self._celsius: FloatArray = np.zeros(0)
        self._of_cells: FloatArray = np.zeros((0, 0))

    def at(self, soc: FloatArray, celsius: FloatArray) -> FloatArray:
        """Return the values, (k, n), at SOC and temperature in degC, both (n,) and finite."""
        index, fraction = self._tables.place(soc)
        if len(index) != len(self._index):
            self._of_cells = np.ascontiguousarray(self._look_up(index, celsius).T)
            self._index, self._celsius = index, celsius.copy()
        else:
            moved = index != self._index
            moved |= celsius != self._celsius
            if moved.any():
                which = moved.nonzero()[0]
                self._of_cells[:, which] = self._look_up(index[which], celsius[which]).T
                self._index, self._celsius = index, celsius.copy()
        values = self._of_cells[self._count :] * fraction
        values += self._of_cells[: self._count]
        return values

    def _look_up(self, index: np.ndarray, celsius: FloatArray) -> FloatArray:
        """Return the lines, (m, 2 k), at grid points and temperatures, both (m,)."""
        if self._last < 0:
            return self._lines.take(index, axis=0)
        rank = np.interp(celsius, self._temperatures, self._ranks)
        row = np.minimum(rank.astype(np.intp), self._last)
        index = index + row * self._points
        lines = self._lines.take(index, axis=0)
        warmer = self._lines.take(index + self._points, axis=0)
        warmer -= lines
        warmer *= (rank - row)[:, None]
        lines += warmer
        return lines


def circuit(tables: CellTables, otherwise: float) -> Lookup:
    """Return the look-up of R0, R1, R2, tau1, tau2, model error in V, capacity as a share.

    `otherwise`: the model error where the cell file tells none.
    """
    axis, grid = tables.temperatures, tables.grid
    celsius, soc = (x.ravel() for x in np.meshgrid(axis, grid, indexing='ij'))
    z = tables.impedance(soc, celsius)
    error = tables.model_error(celsius, otherwise, soc)
    share = np.broadcast_to(tables.capacity(celsius), soc.shape)
    values = np.stack([z.r0, z.r1, z.r2, z.tau1, z.tau2, error, share])
    return Lookup(tables, axis, values.reshape(len(values), len(axis), len(grid)))


def rest(tables: CellTables) -> Lookup:
    """Return the look-up of OCV in V, its slope, and half the gap of the hysteresis in V."""
    axis, grid = tables.ocv_temperatures, tables.grid
    ocv = [tables.ocv(grid, np.full(len(grid), celsius)) for celsius in axis.tolist()]
    gap = tables.hysteresis(grid)
    values = np.stack([[level, slope, gap] for level, slope in ocv], axis=1)
    return Lookup(tables, axis, values)
