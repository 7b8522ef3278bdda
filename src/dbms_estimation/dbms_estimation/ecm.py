# SPDX-License-Identifier: Apache-2.0
"""The equivalent circuit of a cell, looked up for all cells at once.

Terminal voltage = OCV(soc) + drop(R0, i) + v1 + v2, current i positive while charging; v1 and v2
are the voltages of two RC pairs (R1, tau1) and (R2, tau2). The drop is R0*i for small currents and
bends where the cell file says so, as charge transfer does: u*asinh(R0*i/u) (Butler-Volmer with
equal transfer coefficients).
"""

from typing import NamedTuple

import numpy as np

from dbms_pack.model import CellModel, FloatArray

REFERENCE = 25.0  # degC, of the OCV table
SOC_LOW = -0.05  # the filter may stray this far outside of 0..1
SOC_HIGH = 1.05
LEAST_GAP = 0.003  # V, of half the gap, from which on a cell is taken to have hysteresis
_STEPS = 1000  # grid points per unit of SOC
_ROUNDS = 12  # of halving the way to the SOC of an OCV that is not at 25 degC
_SLOPE_STEPS = 10  # the slope of the OCV is taken over +- 1 % SOC, not over one kink of the table


class Impedance(NamedTuple):
    """R0, R1, R2 in Ohm and time constants in s, one value per cell."""

    r0: FloatArray
    r1: FloatArray
    tau1: FloatArray
    r2: FloatArray
    tau2: FloatArray


class CellTables:
    """Tables of one cell model for cell positions of `parallel` cells each.

    The SOC axis is resampled to a uniform grid of 0.1 % from SOC_LOW to SOC_HIGH, so that a
    look-up needs no search. There the OCV goes on with the slope of its edge and the impedance
    holds its edge value. All arguments of look-ups are finite arrays of shape (n,).
    """

    def __init__(self, cell: CellModel, parallel: int = 1) -> None:
        first, last = round(SOC_LOW * _STEPS), round(SOC_HIGH * _STEPS)
        self._grid = np.arange(first, last + 1) / _STEPS
        self._last = len(self._grid) - 2
        ocv = _extended(self._grid, cell.ocv_soc, cell.ocv_voltage)
        self._ocv = np.column_stack([ocv, _slope(ocv)])
        entropic = np.broadcast_to(cell.entropic, cell.ocv_soc.shape)
        over_grid = np.interp(self._grid, cell.ocv_soc, entropic)
        self._entropic = np.column_stack([over_grid, _slope(over_grid)])
        self._has_entropic = bool(entropic.any())
        self._inverse = (cell.ocv_voltage, cell.ocv_soc)
        gap = np.broadcast_to(cell.hysteresis_voltage, cell.ocv_soc.shape)
        self._hysteresis = np.interp(self._grid, cell.ocv_soc, gap)
        self._hysteresis_soc = cell.hysteresis_soc
        self._capacities = (cell.capacities[0], cell.capacities[1] / cell.capacity)
        self._model_errors = cell.model_errors
        places, rows = cell.model_errors_by_soc
        self._error_by_soc = (
            np.array([np.interp(self._grid, places, row) for row in rows]) if len(rows) else None
        )
        self.load_error = cell.load_error
        self._saturation = cell.saturation
        self._temperatures = np.asarray(cell.temperatures, dtype=float)
        self._ranks = np.arange(len(self._temperatures), dtype=float)
        scaled = (
            cell.r0 / parallel,
            cell.r1 / parallel,
            cell.tau1,
            cell.r2 / parallel,
            cell.tau2,
        )
        impedance = [
            np.column_stack([np.interp(self._grid, cell.socs, table[t]) for table in scaled])
            for t in range(len(self._temperatures))
        ]
        impedance.append(impedance[-1])  # the upper neighbour of the warmest row
        self._impedance = np.concatenate(impedance)

    def ocv(
        self, soc: FloatArray, temperature: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return open-circuit voltage in V and its slope in V per unit of SOC.

        Without a temperature in degC, where given finite, that at 25 degC.
        """
        index, fraction = self.place(soc)
        value = _between(self._ocv, index, fraction)
        if self._has_entropic and temperature is not None:
            change = _between(self._entropic, index, fraction)
            value += change * (temperature - REFERENCE)[:, None]
        return value[:, 0], value[:, 1]

    def hysteresis(self, soc: FloatArray) -> FloatArray:
        """Return half the gap in V between the OCV after charging and after discharging."""
        index, fraction = self.place(soc)
        low = self._hysteresis.take(index)
        return low + fraction * (self._hysteresis.take(index + 1) - low)

    @property
    def grid(self) -> FloatArray:
        """The SOC between which the tables are straight lines."""
        return self._grid

    @property
    def temperatures(self) -> FloatArray:
        """The temperatures in degC between which all but the OCV are straight lines."""
        axes = (self._temperatures, self._capacities[0], self._model_errors[0])
        return np.unique(np.concatenate([np.asarray(axis, dtype=float) for axis in axes]))

    @property
    def ocv_temperatures(self) -> FloatArray:
        """The same for the OCV, which goes on alike; only one if it does not depend on it."""
        return np.array([-100.0, 200.0] if self._has_entropic else [REFERENCE])

    @property
    def has_hysteresis(self) -> bool:
        """Whether the branch that a cell is on shows in its voltage."""
        return bool(self._hysteresis.max() > LEAST_GAP)

    def capacity(self, temperature: FloatArray) -> FloatArray | float:
        """Return the capacity at a temperature as a share of the rated one."""
        return np.interp(temperature, *self._capacities) if len(self._capacities[0]) else 1.0

    def model_error(
        self, temperature: FloatArray, otherwise: float, soc: FloatArray | None = None
    ) -> FloatArray:
        """Return the error of the model in V at a temperature in degC; `otherwise`: not known.

        Without an SOC, that over the whole range.
        """
        if not len(self._model_errors[0]):
            return np.full(len(temperature), otherwise)
        if soc is None or self._error_by_soc is None:
            return np.interp(temperature, *self._model_errors)
        places = self._model_errors[0]
        rank = np.interp(temperature, places, np.arange(len(places), dtype=float))
        row = np.minimum(rank.astype(np.intp), max(len(places) - 2, 0))
        column, fraction = self.place(soc)
        grid = self._error_by_soc
        upper = np.minimum(row + 1, len(places) - 1)
        cold, warm = (
            grid[r, column] + fraction * (grid[r, column + 1] - grid[r, column])
            for r in (row, upper)
        )
        return cold + (rank - row) * (warm - cold)

    def turned(self, hysteresis: FloatArray, gained: FloatArray) -> FloatArray:
        """Return the hysteresis state, -1..1, after the SOC has gone up by `gained`.

        It is a play: it goes with the SOC and stands still at the edges.
        """
        return np.minimum(np.maximum(hysteresis + gained / self._hysteresis_soc, -1.0), 1.0)

    def soc(self, ocv: FloatArray, temperature: FloatArray | None = None) -> FloatArray:
        """Return the SOC, 0..1, that belongs to an open-circuit voltage in V."""
        soc = np.interp(ocv, *self._inverse)
        if self._has_entropic and temperature is not None:
            for _ in range(_ROUNDS):
                change = _between(self._entropic, *self.place(soc))[:, 0]
                there = np.interp(ocv - change * (temperature - REFERENCE), *self._inverse)
                soc = 0.5 * (soc + there)
        return soc

    def impedance(self, soc: FloatArray, temperature: FloatArray) -> Impedance:
        """Return the impedance, bilinear in SOC and temperature in degC."""
        index, fraction = self.place(soc)
        rank = np.interp(temperature, self._temperatures, self._ranks)
        row = rank.astype(np.intp)
        warm = (rank - row)[:, None]
        index += row * len(self._grid)
        fraction = fraction[:, None]
        cold_part = self._along_soc(index, fraction)
        if warm.any():
            index += len(self._grid)
            cold_part += warm * (self._along_soc(index, fraction) - cold_part)
        return Impedance(*np.ascontiguousarray(cold_part.T))

    def drop(self, r0: FloatArray, current: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the voltage of `r0` in V at a current in A, and its slope in Ohm.

        It is odd and rises; its slope is `r0` without current and falls as the current grows.
        """
        linear = r0 * current
        u = self._saturation
        if u == np.inf:
            return linear, r0
        bent = linear / u
        return u * np.arcsinh(bent), r0 / np.sqrt(1.0 + bent * bent)

    def _along_soc(self, index: np.ndarray, fraction: FloatArray) -> FloatArray:
        low = self._impedance.take(index, axis=0)
        high = self._impedance.take(index + 1, axis=0)
        high -= low
        high *= fraction
        low += high
        return low

    def place(self, soc: FloatArray) -> tuple[np.ndarray, FloatArray]:
        """Return index of the grid point below and the way to the next, 0..1."""
        position = (soc - SOC_LOW) * _STEPS
        # np.clip takes its time over a few cells.
        index = np.minimum(np.maximum(position.astype(np.intp), 0), self._last)
        return index, np.minimum(np.maximum(position - index, 0.0), 1.0)


def _extended(grid: FloatArray, soc: FloatArray, voltage: FloatArray) -> FloatArray:
    """Interpolate, and outside of the table go on with the slope of the edge."""
    low = (voltage[1] - voltage[0]) / (soc[1] - soc[0])
    high = (voltage[-1] - voltage[-2]) / (soc[-1] - soc[-2])
    values = np.interp(grid, soc, voltage)
    values += np.minimum(grid - soc[0], 0.0) * low
    values += np.maximum(grid - soc[-1], 0.0) * high
    return values


def _between(table: FloatArray, index: np.ndarray, fraction: FloatArray) -> FloatArray:
    low = table.take(index, axis=0)
    high = table.take(index + 1, axis=0)
    return low + fraction[:, None] * (high - low)


def _slope(ocv: FloatArray) -> FloatArray:
    padded = np.pad(ocv, _SLOPE_STEPS, mode='reflect', reflect_type='odd')
    return (padded[2 * _SLOPE_STEPS :] - padded[: -2 * _SLOPE_STEPS]) * _STEPS / (2 * _SLOPE_STEPS)
