# SPDX-License-Identifier: Apache-2.0
"""From measurements to a cell model, and how far the model is off them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dbms_pack.model import FloatArray

from .circuit import COLDEST, SOCS, CircuitFit
from .hysteresis import ENTROPIC_SIGMA, REFERENCE, Branches
from .laboratory import Layout, Measurement
from .model_error import ErrorTable, Residual, error_table
from .ocv import REST, Leg, Ocv, rising

FULL = 0.93  # SOC by its first voltage from which on a file is taken to begin full
REST_CURRENT = 0.02  # per capacity, 1/h
_CAPACITIES = np.linspace(0.8, 1.1, 151)  # of the nominal one, that are tried
MOST = 1.0  # Ohm, in a cell file
IN_FIT = 1.5  # times the error inside the fit is that outside: 1.3 to 1.9 for the LG cell
_STEP = 5.0  # K between the rows of the tables


@dataclass(frozen=True)
class Identified:
    """A cell model and its residuals."""

    ocv: Ocv
    voltage: FloatArray  # V, corrected, at ocv.soc
    fit: CircuitFit
    temperatures: FloatArray  # of the tables
    tables: FloatArray  # Ohm, (3, temperatures, SOCS)
    capacities: dict[float, float]  # Ah at degC; empty where one does for all
    errors: ErrorTable
    residuals: tuple[Residual, ...]


def identify(
    ocv: Ocv,
    pulses: Sequence[Measurement],
    cycles: Sequence[Measurement],
    layout: Layout,
    legs: Sequence[Leg] = (),
) -> Identified:
    """Fit the circuit to all files at once.

    With slow `legs` at several temperatures, or where the layout says so, it is also found how
    much of the gap between charge and discharge is hysteresis, and how the OCV goes with
    temperature.
    """
    files = [discharge_of(m) for m in (*pulses, *cycles)]
    places = sorted({rounded(m) for m in pulses or files})
    capacities = {float(place): float(q) for place, q in (layout.capacities or {}).items()}
    if layout.match_capacity:
        for m in pulses:
            capacities[rounded(m)] = matched_capacity(discharge_of(m), ocv)
    change = layout.ocv_by_temperature or ENTROPIC_SIGMA
    branches = None
    if legs or layout.ocv_by_temperature:
        branches = Branches(tuple(legs), change, layout.hysteresis)
    taus = (float(layout.time_constants[0]), float(layout.time_constants[1]))
    fit = CircuitFit(
        ocv,
        ocv.capacity,
        np.array(places),
        taus,
        saturation=layout.saturation,
        hysteresis_soc=layout.hysteresis_soc,
        activation=layout.activation,
        branches=branches,
        by_steepness=bool(legs) or layout.ocv_from_rests,
    )
    socs = [soc_of(m, ocv, capacities) for m in files]
    for m, soc in zip(files, socs, strict=True):
        fit.add(m, soc)
    fit.solve()
    residuals = []
    warmth = [rounded(m) for m in files]
    for number, (m, soc) in enumerate(zip(files, socs, strict=True)):
        # Without the only cycle at a temperature the rest would have to tell what is there.
        others = warmth[len(pulses) :].count(warmth[number]) > 1
        left_out = layout.left_out and number >= len(pulses) and others
        unseen = IN_FIT if layout.left_out and not left_out else 1.0
        residuals.append(Residual(m, soc, *fit.residual(m, soc, left_out), unseen))
    rows = np.unique(np.r_[places, np.arange(COLDEST, places[-1] + 0.1, _STEP)])
    nearest = [_nearest(places, rounded(r.measurement)) for r in residuals]
    errors = error_table(residuals, nearest, layout.activation)
    tables = np.clip(fit.tables(rows), 1e-5, MOST)
    voltage = fit.corrected_ocv()
    return Identified(ocv, voltage, fit, rows, tables, capacities, errors, tuple(residuals))


def _nearest(places: Sequence[float], wanted: float) -> float:
    return min(places, key=lambda place: abs(place - wanted))


def rounded(m: Measurement) -> float:
    """Return the temperature of a file, to 5 K: the chamber's rather than the cell's."""
    return 5.0 * round(float(np.percentile(m.temperature, 10)) / 5.0)


def discharge_of(m: Measurement) -> Measurement:
    """Return the rows up to where the counter is reset, and no charge that ends the file.

    A file that tells its SOC is taken as it is.
    """
    if np.isfinite(m.begins):
        return m
    rate = np.abs(np.diff(m.charge)) * 3600.0 / np.maximum(np.diff(m.time), 1.0)
    resets = np.flatnonzero(rate > 3.0 * np.abs(m.current).max() + 1.0)
    m = m.rows(slice(0, int(resets[0]) + 1)) if len(resets) else m
    last = int(m.charge.argmin())
    charged = m.charge[-1] - m.charge[last] > 0.5 * abs(m.charge[last])
    return m.rows(slice(0, last + 1)) if charged and last > 10 else m


def soc_of(m: Measurement, ocv: Ocv, capacities: dict[float, float]) -> FloatArray:
    """Return the SOC of every row by the tester's counter.

    A file begins where it says, or full if its first row is a discharge, or where the OCV of its
    first voltage is.
    """
    capacity = ocv.capacity
    if capacities:
        places = sorted(capacities)
        capacity = float(np.interp(rounded(m), places, [capacities[p] for p in places]))
    if np.isfinite(m.begins):
        return m.begins + m.charge / capacity
    first = float(np.interp(m.voltage[0], ocv.voltage, ocv.soc))
    discharging = m.current[0] < -REST_CURRENT * capacity
    return (1.0 if first > FULL or discharging else first) + m.charge / capacity


def matched_capacity(m: Measurement, ocv: Ocv) -> float:
    """Return the capacity in Ah with which the rests of a pulse test lie best on the OCV."""
    loaded = np.abs(m.current) > 0.01 * ocv.capacity
    since = m.time - np.maximum.accumulate(np.where(loaded, m.time, m.time[0]))
    ends = np.flatnonzero(~loaded[:-1] & (loaded[1:] | (np.diff(m.time) > 60.0)))
    rests = ends[since[ends] > REST]
    rests = rests[m.voltage[rests] > ocv.voltage[np.searchsorted(ocv.soc, 0.1)]]
    if len(rests) < 4:
        return ocv.capacity
    tried = ocv.capacity * _CAPACITIES
    errors = [
        np.square(
            np.interp(1 + m.charge[rests] / q, ocv.soc, ocv.voltage) - m.voltage[rests]
        ).mean()
        for q in tried
    ]
    return float(tried[int(np.argmin(errors))])


def matched(ocv: Ocv, pulses: Sequence[Measurement]) -> Ocv:
    """Return the OCV over the charge that the pulse test nearest to 25 degC counts.

    A slow discharge takes more out of a cell than the load does that full and empty refer to.
    """
    if not pulses:
        return ocv
    nearest = min(pulses, key=lambda m: abs(rounded(m) - REFERENCE))
    scale = ocv.capacity / matched_capacity(discharge_of(nearest), ocv)
    # Beyond the slow discharge it would go on as steep as it ends.
    soc = 1.0 - (1.0 - ocv.soc) * scale
    end = (ocv.voltage[1] - ocv.voltage[0]) / (ocv.soc[1] - ocv.soc[0])
    voltage, gap = (np.interp(soc, ocv.soc, values) for values in (ocv.voltage, ocv.gap))
    voltage += np.minimum(soc - ocv.soc[0], 0.0) * end
    return replace(ocv, voltage=rising(voltage), gap=gap)


__all__ = ['SOCS', 'Identified', 'Residual', 'identify', 'matched', 'rounded']
