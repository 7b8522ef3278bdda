# SPDX-License-Identifier: Apache-2.0
"""The step of `CellFilter` as one compiled loop over the cells: the same arithmetic, fused.

It is the floor the filter in arrays is measured against, and it has to give the same numbers. It
leaves out what the benchmark does not meet: NaN, refused readings and more than one hypothesis.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from dbms_estimation.ecm import REFERENCE, SOC_HIGH, SOC_LOW, CellTables
from dbms_estimation.ekf import RESISTANCE_RANGE, CellFilter
from dbms_pack.model import FloatArray

_LOW, _HIGH = RESISTANCE_RANGE
_N = 6


@njit(inline='always')
def _at(table: Any, index: int, fraction: float, column: int) -> float:
    low = table[index, column]
    return low + fraction * (table[index + 1, column] - low)


@njit(inline='always')
def _rank(x: float, places: Any) -> float:
    last = len(places) - 1
    if x <= places[0]:
        return 0.0
    if x >= places[last]:
        return float(last)
    k = 0
    while x >= places[k + 1]:
        k += 1
    return k + (x - places[k]) / (places[k + 1] - places[k])


@njit(inline='always')
def _interp(x: float, places: Any, values: Any) -> float:
    rank = _rank(x, places)
    k = min(int(rank), len(places) - 2)
    return values[k] + (rank - k) * (values[k + 1] - values[k])


@njit
def fused(  # noqa: PLR0913
    ocv_table, entropic, gap_table, impedance, warmths, capacities, shares, error_places,
    error_table, saturation, turn, one_c, o, bias_size, state, p, hysteresis, drift, late, dts,
    charges, voltages, loads, celsius, expected,
):  # fmt: skip
    """Advance and correct every cell; `o` are the options in the order of `OPTIONS`."""
    grid = len(ocv_table)
    for c in range(state.shape[0]):
        x, m = state[c], p[c]
        dt, warm, load = dts[c], celsius[c], loads[c]
        # -- tables
        position = (x[0] - SOC_LOW) * 1000
        index = min(max(int(position), 0), grid - 2)
        fraction = min(max(position - index, 0.0), 1.0)
        rank = _rank(warm, warmths)
        row = int(rank)
        part = rank - row
        index += row * grid
        r0 = _at(impedance, index, fraction, 0)
        r1 = _at(impedance, index, fraction, 1)
        t1 = _at(impedance, index, fraction, 2)
        r2 = _at(impedance, index, fraction, 3)
        t2 = _at(impedance, index, fraction, 4)
        if part > 0:
            index += grid
            r0 += part * (_at(impedance, index, fraction, 0) - r0)
            r1 += part * (_at(impedance, index, fraction, 1) - r1)
            t1 += part * (_at(impedance, index, fraction, 2) - t1)
            r2 += part * (_at(impedance, index, fraction, 3) - r2)
            t2 += part * (_at(impedance, index, fraction, 4) - t2)
        full = 3600.0 * one_c * _interp(warm, capacities, shares)
        rank = _rank(warm, error_places)
        row = min(int(rank), max(len(error_places) - 2, 0))
        place = min(max(int(position), 0), grid - 2)
        above = min(row + 1, len(error_places) - 1)
        low = error_table[row, place]
        low += fraction * (error_table[row, place + 1] - low)
        high = error_table[above, place]
        high += fraction * (error_table[above, place + 1] - high)
        model_error = low + (rank - row) * (high - low)
        # -- prediction
        charge = charges[c] - x[3] * dt
        current = charge / dt
        gained = charge / full
        keep = math.exp(-dt / o[0])
        drift[c] = keep * drift[c] + (1 - keep) * gained / dt
        net = abs(drift[c]) * dt
        a1, a2, held = math.exp(-dt / t1), math.exp(-dt / t2), math.exp(-dt / o[1])
        kept = math.exp(-net / o[2] - dt / o[3])
        same = math.exp(-net / o[4] - dt / o[5])
        decay = (1.0, a1, a2, held, kept, same)
        of_bias = (-dt / full, -(1 - a1) * r1, -(1 - a2) * r2)
        for k in range(_N):
            x[k] *= decay[k]
        x[0] = min(max(x[0] + gained, SOC_LOW), SOC_HIGH)
        x[1] += (1 - a1) * r1 * current
        x[2] += (1 - a2) * r2 * current
        # F P F', of which only one half is computed.
        b = m[3, 3]
        for i in range(3):
            for j in range(i, 3):
                value = decay[i] * decay[j] * m[i, j] + of_bias[i] * of_bias[j] * b
                value += decay[i] * of_bias[j] * m[i, 3] + decay[j] * of_bias[i] * m[j, 3]
                m[i, j] = value
        for i in range(3):
            for j in (4, 5):
                m[i, j] = decay[j] * (decay[i] * m[i, j] + of_bias[i] * m[3, j])
            m[i, 3] = held * (decay[i] * m[i, 3] + of_bias[i] * b)
        for i in range(3, _N):
            for j in range(i, _N):
                m[i, j] *= decay[i] * decay[j]
        m[1, 1] += (1 - a1 * a1) * (o[6] * r1 * current) ** 2
        m[2, 2] += (1 - a2 * a2) * (o[6] * r2 * current) ** 2
        m[0, 0] += o[7] * o[7] * o[8] * abs(gained)
        m[3, 3] += (1 - held * held) * bias_size[c] ** 2
        position = (x[0] - SOC_LOW) * 1000
        index = min(max(int(position), 0), grid - 2)
        fraction = min(max(position - index, 0.0), 1.0)
        gap = gap_table[index] + fraction * (gap_table[index + 1] - gap_table[index])
        m[4, 4] += (1 - kept * kept) * ((o[9] * model_error) ** 2 + (o[10] * gap) ** 2)
        m[5, 5] += (1 - same * same) * o[11] ** 2
        hysteresis[c] = min(max(hysteresis[c] + gained / turn, -1.0), 1.0)
        # -- correction
        off = warm - REFERENCE
        ocv = _at(ocv_table, index, fraction, 0) + _at(entropic, index, fraction, 0) * off
        slope = _at(ocv_table, index, fraction, 1) + _at(entropic, index, fraction, 1) * off
        linear = r0 * (load - x[3])
        if saturation == np.inf:
            ohmic, slope_r = linear, r0
        else:
            bent = linear / saturation
            ohmic, slope_r = saturation * math.asinh(bent), r0 / math.sqrt(1.0 + bent * bent)
        drop = ohmic + x[1] + x[2]
        factor = 1.0 + x[5]
        expected[c] = ocv + gap * hysteresis[c] + factor * drop + x[4]
        innovation = voltages[c] - expected[c]
        h = (slope, factor, factor, -slope_r * factor, 1.0, drop)
        ph0 = ph1 = ph2 = ph3 = ph4 = ph5 = 0.0
        for j in range(_N):
            ph0 += m[0, j] * h[j]
            ph1 += (m[1, j] if j >= 1 else m[j, 1]) * h[j]
            ph2 += (m[2, j] if j >= 2 else m[j, 2]) * h[j]
            ph3 += (m[3, j] if j >= 3 else m[j, 3]) * h[j]
            ph4 += (m[4, j] if j >= 4 else m[j, 4]) * h[j]
            ph5 += m[j, 5] * h[j]
        ph = (ph0, ph1, ph2, ph3, ph4, ph5)
        foretold = 0.0
        for k in range(_N):
            foretold += h[k] * ph[k]
        keep = math.exp(-dt / o[17])
        late[c] = keep * late[c] + (1 - keep) * abs(drop)
        quick = (o[6] * factor * drop) ** 2 + (o[12] * model_error) ** 2 + (o[13] * slope) ** 2
        quick += (o[18] * factor * late[c]) ** 2
        white = o[14] ** 2
        strange = (o[19] * factor * drop) ** 2
        if innovation * innovation <= o[15] ** 2 * (foretold + quick + white + strange):
            noise = white + quick / min(dt / o[16], 1.0)
            weight = 1.0 / (foretold + noise)
            for i in range(_N):
                x[i] += ph[i] * weight * innovation
                for j in range(i, _N):
                    m[i, j] -= weight * ph[i] * ph[j]
            x[0] = min(max(x[0], SOC_LOW), SOC_HIGH)
            x[5] = min(max(x[5], _LOW), _HIGH)


OPTIONS = (
    *('drift_time', 'current_bias_time', 'offset_soc', 'offset_time', 'resistance_soc'),
    *('resistance_time', 'quick_error', 'gain_error', 'gain_error_soc', 'offset_share'),
    *('hysteresis_error', 'resistance_error', 'quick_share', 'soc_axis_error', 'voltage_noise'),
    *('gate', 'quick_time', 'slow_time', 'slow_error', 'gate_error'),
)


class FusedFilter:
    """A compiled twin of a `CellFilter` with the state it has now."""

    def __init__(self, other: CellFilter, tables: CellTables, capacity: float) -> None:
        cells = len(other.soc)
        places = tables._model_errors[0]
        errors = tables._error_by_soc
        if errors is None:  # one value for all SOCs
            known = len(places) > 0
            values = tables._model_errors[1] if known else [other.options.model_error]
            errors = np.repeat(np.reshape(values, (-1, 1)), len(tables._ocv), axis=1)
            places = places if known else [REFERENCE]
        capacities = tables._capacities
        if not len(capacities[0]):
            capacities = (np.array([0.0, 1.0]), np.ones(2))
        self._tables = (
            tables._ocv, tables._entropic, tables._hysteresis, tables._impedance,
            tables._temperatures, *(np.asarray(c, dtype=float) for c in capacities),
            np.asarray(places, dtype=float), np.asarray(errors, dtype=float),
            float(tables._saturation), float(tables._hysteresis_soc), capacity,
            np.array([getattr(other.options, name) for name in OPTIONS], dtype=float),
        )  # fmt: skip
        self._bias_size = other._bias_size.copy()
        self.state = np.ascontiguousarray(other.state.T)
        self.covariance = np.ascontiguousarray(np.moveaxis(other.covariance, 2, 0))
        self.hysteresis = other.hysteresis.copy()
        self._drift, self._load = other._drift.copy(), other._load.copy()
        self.expected = np.zeros(cells)

    def step(
        self,
        dt: FloatArray,
        charge: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        temperature: FloatArray,
    ) -> None:
        """Advance every cell by its `dt` and correct it by its `voltage`."""
        fused(
            *self._tables, self._bias_size, self.state, self.covariance, self.hysteresis,
            self._drift, self._load, dt, charge, voltage, current, temperature, self.expected,
        )  # fmt: skip
