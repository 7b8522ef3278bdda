# SPDX-License-Identifier: Apache-2.0
"""The cells of a pack as an equivalent circuit: OCV, R0 and two RC pairs, and a simple heat model.

All cells are one array. A step solves the RC pairs exactly for the current at its end, which is
stable for any step length. Currents are A, positive = charging; temperatures degC.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbms_pack.model import CellModel, Pack

FloatArray = npt.NDArray[np.float64]

# Resistances and time constants change slowly: they are looked up this often.
_LOOK_UP = 0.5  # s

# Beyond its table the OCV goes on this steeply at least, so that an empty cell's voltage falls.
_EDGE_SLOPE = 5.0  # V per unit of SOC


@dataclass(frozen=True)
class Spread:
    """Standard deviations of what differs from cell to cell."""

    soc: float = 0.008
    capacity: float = 0.01  # relative
    resistance: float = 0.03  # relative


class Tables:
    """A CellModel's tables, looked up for all cells at once."""

    def __init__(self, model: CellModel) -> None:
        self._model = model
        self._stack = np.stack([model.r0, model.r1, model.tau1, model.r2, model.tau2])
        soc, voltage = model.ocv_soc, model.ocv_voltage
        self._low = max((voltage[1] - voltage[0]) / (soc[1] - soc[0]), _EDGE_SLOPE)
        self._high = max((voltage[-1] - voltage[-2]) / (soc[-1] - soc[-2]), _EDGE_SLOPE)

    def ocv(self, soc: FloatArray) -> FloatArray:
        """Return the open-circuit voltage in V; a line beyond the ends of the table."""
        model = self._model
        inside = np.interp(soc, model.ocv_soc, model.ocv_voltage)
        below = np.minimum(soc - model.ocv_soc[0], 0.0) * self._low
        above = np.maximum(soc - model.ocv_soc[-1], 0.0) * self._high
        return inside + below + above

    def impedance(self, temperature: FloatArray, soc: FloatArray) -> FloatArray:
        """Return r0, r1, tau1, r2, tau2 as (5, cells): linear, the edge value outside."""
        row, row_weight = _locate(self._model.temperatures, temperature)
        column, column_weight = _locate(self._model.socs, soc)
        next_row = np.minimum(row + 1, len(self._model.temperatures) - 1)
        next_column = np.minimum(column + 1, len(self._model.socs) - 1)
        s = self._stack
        cold = s[:, row, column] * (1 - column_weight) + s[:, row, next_column] * column_weight
        warm = (
            s[:, next_row, column] * (1 - column_weight)
            + s[:, next_row, next_column] * column_weight
        )
        return cold * (1 - row_weight) + warm * row_weight


def _locate(axis: FloatArray, values: FloatArray) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return the index of the point at or below each value, and the part of the way on, 0..1."""
    if len(axis) == 1:
        return np.zeros(values.shape, dtype=np.intp), np.zeros(values.shape)
    index = np.clip(np.searchsorted(axis, values, side='right') - 1, 0, len(axis) - 2)
    weight = (values - axis[index]) / (axis[index + 1] - axis[index])
    return index, np.clip(weight, 0.0, 1.0)


@dataclass(frozen=True)
class _Step:
    """What the cells will do in a step of `dt`, apart from the current."""

    dt: float
    r0: FloatArray
    r1: FloatArray
    r2: FloatArray
    keep1: FloatArray  # part of the RC voltages that is left at the end
    keep2: FloatArray
    emf: FloatArray  # V, of each cell without current
    resistance: FloatArray  # Ohm, of each cell for a current that lasts the step


class Plant:
    """All cells of a pack. Arrays are in pack order, one entry per group of parallel cells."""

    def __init__(
        self,
        pack: Pack,
        initial_soc: float = 0.8,
        seed: int = 0,
        spread: Spread = Spread(),  # noqa: B008  (frozen)
        ambient: float = 25.0,
    ) -> None:
        cells, model, parallel = pack.cells, pack.cell, pack.parallel
        random = np.random.default_rng(seed)
        self.soc = initial_soc + spread.soc * _normal(random, cells)
        self.capacity = model.capacity * parallel * (1 + spread.capacity * _normal(random, cells))
        self._resistance_scale = (1 + spread.resistance * _normal(random, cells)) / parallel
        self._tables = Tables(model)
        self._impedance: FloatArray = np.empty((5, cells))  # r0, r1, tau1, r2, tau2
        self._age = np.inf  # s, of the impedance
        self._v1: FloatArray = np.zeros(cells)
        self._v2: FloatArray = np.zeros(cells)
        self.ambient = ambient
        self.temperature = np.full(cells, ambient)
        self._heat_capacity = model.heat_capacity * parallel
        self._thermal_resistance = model.thermal_resistance / parallel
        self._starts = np.array([string.cell_slice.start for string in pack.strings])
        self._of_string = np.repeat(
            np.arange(len(pack.strings)), [string.cells for string in pack.strings]
        )
        self._sensors = _sensor_cells(pack)
        self.voltages = self._tables.ocv(self.soc)
        self.heat: FloatArray = np.zeros(cells)  # W, of the last step

    @property
    def sensor_temperatures(self) -> FloatArray:
        """Temperatures in degC at the sensors of the pack, (temperatures,)."""
        return self.temperature[self._sensors]

    @property
    def string_voltages(self) -> FloatArray:
        """Sum of the cell voltages of each string in V, (strings,)."""
        return np.add.reduceat(self.voltages, self._starts)

    @property
    def ocv(self) -> FloatArray:
        """Open-circuit voltage of each cell in V, (cells,)."""
        return self._tables.ocv(self.soc)

    def prepare(self, dt: float) -> _Step:
        """Return how the cells answer to a current over the next `dt` s."""
        self._age += dt
        if self._age > _LOOK_UP:
            self._age = 0.0
            self._impedance = self._tables.impedance(self.temperature, self.soc)
            self._impedance[[0, 1, 3]] *= self._resistance_scale
        r0, r1, tau1, r2, tau2 = self._impedance
        keep1 = np.exp(-dt / np.maximum(tau1, 1e-6))
        keep2 = np.exp(-dt / np.maximum(tau2, 1e-6))
        emf = self._tables.ocv(self.soc) + keep1 * self._v1 + keep2 * self._v2
        resistance = r0 + r1 * (1 - keep1) + r2 * (1 - keep2)
        return _Step(dt, r0, r1, r2, keep1, keep2, emf, resistance)

    def sources(self, step: _Step) -> tuple[FloatArray, FloatArray]:
        """Return each string as a source: V without current and Ohm, both (strings,)."""
        return (
            np.add.reduceat(step.emf, self._starts),
            np.add.reduceat(step.resistance, self._starts),
        )

    def advance(self, step: _Step, currents: FloatArray, bleed: FloatArray | float = 0.0) -> None:
        """Let `currents` (strings,) A flow for the prepared step, less `bleed` (cells,) A."""
        current = currents[self._of_string] - bleed
        self._v1 = step.keep1 * self._v1 + step.r1 * (1 - step.keep1) * current
        self._v2 = step.keep2 * self._v2 + step.r2 * (1 - step.keep2) * current
        over = step.r0 * current + self._v1 + self._v2
        self.soc = self.soc + current * step.dt / (3600.0 * self.capacity)
        self.voltages = self._tables.ocv(self.soc) + over
        self.heat = np.maximum(over * current, 0.0)
        settled = self.ambient + self.heat * self._thermal_resistance
        keep = np.exp(-step.dt / (self._heat_capacity * self._thermal_resistance))
        self.temperature = settled + (self.temperature - settled) * keep


def _normal(random: np.random.Generator, count: int) -> FloatArray:
    """Normally distributed numbers without the tails: a seed shall not make a broken cell."""
    return np.clip(random.standard_normal(count), -2.5, 2.5)


def _sensor_cells(pack: Pack) -> npt.NDArray[np.intp]:
    """Return the cell that each temperature sensor sits on: evenly along its module."""
    cells: list[int] = []
    for module in pack.modules:
        count = module.temperatures
        cells += [
            module.first_cell + int((sensor + 0.5) * module.cells / count)
            for sensor in range(count)
        ]
    return np.array(cells, dtype=np.intp)
