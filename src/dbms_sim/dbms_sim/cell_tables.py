# SPDX-License-Identifier: Apache-2.0
"""A CellModel's tables on uniform grids: a look-up is an index and a line, without a search."""

import numpy as np
import numpy.typing as npt

from dbms_pack.model import CellModel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

REFERENCE = 25.0  # degC, of the OCV table

# SOC is given to a thousandth or coarser in cell files: their points are points of these grids.
_OCV_POINTS = 4000
_MAP_POINTS = 1000
_MAX_ROWS = 200  # of temperatures, 1 K apart where that many suffice

# Beyond its table the OCV goes on this steeply at least, so that an empty cell's voltage falls.
_EDGE_SLOPE = 5.0  # V per unit of SOC


class Curve:
    """Something over SOC: linear between points, and on in lines of given slope beyond 0..1."""

    def __init__(self, soc: FloatArray, values: FloatArray, low: float, high: float) -> None:
        step = 1.0 / _OCV_POINTS
        inside = np.interp(np.linspace(0.0, 1.0, _OCV_POINTS + 1), soc, values)
        # One more interval on each side holds the slope beyond.
        padded = np.concatenate(
            [[inside[0] - low * step], inside, [inside[-1] + high * step]], dtype=np.float64
        )
        self._value = padded[:-1].copy()
        self._rise = np.diff(padded)  # per interval
        area = np.concatenate([[0.0], np.cumsum((inside[1:] + inside[:-1]) * (step / 2))])
        below = -(inside[0] - low * step / 2) * step
        self._area = np.concatenate([[below], area])

    def at(self, place: 'Place') -> FloatArray:
        """Return the values at places, (cells,)."""
        value = self._rise.take(place.index)
        value *= place.fraction
        value += self._value.take(place.index)
        return value

    def integral(self, place: 'Place') -> FloatArray:
        """Return the integral from SOC 0 to places, (cells,)."""
        f = place.fraction
        line = f * self._value.take(place.index) + 0.5 * f * f * self._rise.take(place.index)
        return self._area.take(place.index) + line / _OCV_POINTS


class Place:
    """Where SOCs are on the grid of a Curve: interval, and how far in it."""

    __slots__ = ('fraction', 'index')

    def __init__(self, soc: FloatArray) -> None:
        position = soc * _OCV_POINTS
        position += 1.0
        whole = np.floor(position)
        np.clip(whole, 0.0, _OCV_POINTS + 1.0, out=whole)
        self.index: IntArray = whole.astype(np.intp)
        position -= whole
        self.fraction = position


class Tables:
    """All tables of a CellModel, looked up for all cells at once."""

    def __init__(self, model: CellModel) -> None:
        soc, voltage = model.ocv_soc, model.ocv_voltage
        low = max((voltage[1] - voltage[0]) / (soc[1] - soc[0]), _EDGE_SLOPE)
        high = max((voltage[-1] - voltage[-2]) / (soc[-1] - soc[-2]), _EDGE_SLOPE)
        self._ocv = Curve(soc, voltage, low, high)
        self._entropic = _level(soc, model.entropic)
        self._hysteresis = _level(soc, model.hysteresis_voltage)
        self.hysteresis_soc = model.hysteresis_soc
        self._maps = _Maps(model)
        self.directed = self._maps.directed

    @property
    def has_hysteresis(self) -> bool:
        """Whether the OCV remembers the direction it was reached from."""
        return self._hysteresis is not None

    @property
    def has_entropy(self) -> bool:
        """Whether the OCV changes with temperature."""
        return self._entropic is not None

    def ocv(self, place: Place, temperature: FloatArray) -> FloatArray:
        """Return the open-circuit voltage in V, between charge and discharge, (cells,)."""
        voltage = self._ocv.at(place)
        if self._entropic is not None:
            voltage += self._entropic.at(place) * (temperature - REFERENCE)
        return voltage

    def energy(self, soc: FloatArray) -> FloatArray:
        """Return the integral of the OCV at 25 degC from SOC 0, in V; times charge: energy."""
        return self._ocv.integral(Place(soc))

    def entropic(self, place: Place) -> FloatArray:
        """Return the change of the OCV with temperature in V/K, (cells,)."""
        if self._entropic is None:
            return np.zeros(place.index.shape)
        return self._entropic.at(place)

    def hysteresis(self, place: Place) -> FloatArray:
        """Return half the gap between the OCV after charge and after discharge in V, (cells,)."""
        if self._hysteresis is None:
            return np.zeros(place.index.shape)
        return self._hysteresis.at(place)

    def impedance(self, temperature: FloatArray, soc: FloatArray) -> FloatArray:
        """Return r0, r1, tau1, r2, tau2 and, if `directed`, r0, r1, r2 of charge: (5 or 8, cells).

        Linear between the points, the edge value outside.
        """
        return self._maps.at(temperature, soc)


def _level(soc: FloatArray, values: FloatArray) -> Curve | None:
    """Return a Curve that stays level outside, None where all is 0."""
    if not np.any(values):
        return None
    return Curve(soc, np.broadcast_to(values, soc.shape), 0.0, 0.0)


class _Maps:
    """Impedance over temperature and SOC, resampled: one row of memory per point."""

    def __init__(self, model: CellModel) -> None:
        stack = [model.r0, model.r1, model.tau1, model.r2, model.tau2]
        charge = [model.r0_charge, model.r1_charge, model.r2_charge]
        self.directed = any(table is not None for table in charge)
        if self.directed:
            discharge = (model.r0, model.r1, model.r2)
            stack += [
                there if table is None else table
                for table, there in zip(charge, discharge, strict=True)
            ]
        axis = model.temperatures
        self._first = float(axis[0])
        span = float(axis[-1] - axis[0])
        self._rows = max(1, min(_MAX_ROWS, round(span)))
        self._per_kelvin = self._rows / span if span else 0.0
        grid = np.linspace(axis[0], axis[-1], self._rows + 1)
        columns = np.linspace(0.0, 1.0, _MAP_POINTS + 1)
        fine = np.empty((self._rows + 1, _MAP_POINTS + 1, len(stack)))
        for number, table in enumerate(stack):
            over_soc = np.array([np.interp(columns, model.socs, row) for row in table])
            for column in range(_MAP_POINTS + 1):
                fine[:, column, number] = np.interp(grid, axis, over_soc[:, column])
        self._fine = fine.reshape(-1, len(stack))

    def at(self, temperature: FloatArray, soc: FloatArray) -> FloatArray:
        row = np.clip((temperature - self._first) * self._per_kelvin, 0.0, self._rows)
        column = np.clip(soc * _MAP_POINTS, 0.0, _MAP_POINTS)
        low_row = np.minimum(row.astype(np.intp), self._rows - 1)
        low_column = np.minimum(column.astype(np.intp), _MAP_POINTS - 1)
        row -= low_row
        column -= low_column
        corner = low_row * (_MAP_POINTS + 1) + low_column
        result: FloatArray = np.zeros((len(corner), self._fine.shape[1]))
        for down in (0, 1):
            for right in (0, 1):
                weight = (row if down else 1.0 - row) * (column if right else 1.0 - column)
                point = self._fine.take(corner + (down * (_MAP_POINTS + 1) + right), axis=0)
                point *= weight[:, None]
                result += point
        return np.ascontiguousarray(result.T)
