# SPDX-License-Identifier: Apache-2.0
"""The open-circuit voltage from slow discharges and charges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dbms_pack.model import FloatArray

from .laboratory import LaboratoryError, Measurement

_ENDS = np.array([0, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08])
GRID = np.r_[_ENDS, np.linspace(0.1, 0.9, 41), (1.0 - _ENDS)[::-1]]
SLOW = 0.12  # current per charge moved, 1/h, up to which a leg tells the OCV
REST = 1500.0  # s, after which a rest tells the OCV
_SETTLED = 600.0  # s of a slow part, after which its voltage has the shape of the OCV
LEAST_RISE = 2e-5  # V between points: the filter inverts the curve
_TOP = 0.85  # SOC from which on that of another campaign is made to end at full as well


@dataclass(frozen=True)
class Ocv:
    """OCV over SOC; arrays of the shape (len(soc),)."""

    soc: FloatArray
    voltage: FloatArray  # V, mean of both directions, or what there is
    gap: FloatArray  # V, half of what the OCV after charge is above that after discharge
    capacity: float  # Ah, mean over the slow legs


@dataclass(frozen=True)
class Leg:
    """One slow discharge or charge between full and empty."""

    measurement: Measurement
    soc: FloatArray
    begin: float  # state of the hysteresis before: 1 for a discharge, -1 for a charge


def slow_legs(measurements: Sequence[Measurement]) -> tuple[Leg, ...]:
    """Return every slow leg with its SOC: none if all are at one temperature.

    A leg begins at full or empty, where the cell was brought at room temperature. One that is
    cold stops short of the other end: what the longest of a direction moved is the capacity.
    """
    found = [
        (sign, leg)
        for measurement in measurements
        for sign in (-1, 1)
        if (leg := _slow_leg(measurement, sign)) is not None
    ]
    places = [float(leg.temperature.mean()) for _, leg in found]
    if not found or max(places) - min(places) < 5.0:
        return ()
    legs = []
    for sign, leg in found:
        whole = max(abs(other.charge[-1] - other.charge[0]) for s, other in found if s == sign)
        moved = np.abs(leg.charge - leg.charge[0]) / whole
        legs.append(Leg(leg, moved if sign > 0 else 1.0 - moved, -float(sign)))
    return tuple(legs)


def from_measurements(measurements: Sequence[Measurement]) -> Ocv:
    """Return the OCV of the slow legs nearest to 25 degC, each from its beginning to its end."""
    legs: dict[int, tuple[float, Measurement]] = {}
    charges = []
    for measurement in measurements:
        for sign in (-1, 1):
            leg = _slow_leg(measurement, sign)
            if leg is None:
                continue
            off = abs(float(leg.temperature.mean()) - 25.0)
            if sign not in legs or off < legs[sign][0]:
                legs[sign] = (off, leg)
    if -1 not in legs:
        names = ', '.join(m.path.name for m in measurements)
        raise LaboratoryError(f'{names}: no discharge below {SLOW:g} of the charge per hour')
    curves: dict[int, FloatArray] = {}
    for sign, (_, leg) in legs.items():
        moved = np.abs(leg.charge - leg.charge[0])
        charges.append(moved[-1])
        soc = moved / moved[-1] if sign > 0 else 1.0 - moved / moved[-1]
        order = np.argsort(soc, kind='stable')
        curves[sign] = np.asarray(np.interp(GRID, soc[order], leg.voltage[order]))
    down, up = curves[-1], curves.get(1, curves[-1])
    return Ocv(GRID, rising(0.5 * (up + down)), 0.5 * (up - down), float(np.mean(charges)))


def counted_from_empty(
    ocv: Ocv, legs: Sequence[Leg], capacity: float
) -> tuple[Ocv, tuple[Leg, ...]]:
    """Return both over the SOC of a cell of another `capacity` in Ah, as it is by now.

    What an ageing cell loses is lithium: the steps that graphite gives to the OCV stay where they
    are in Ah above empty, and come closer to full.
    """
    ratio = ocv.capacity / capacity

    def moved(soc: FloatArray) -> FloatArray:
        above = np.clip((soc - _TOP) / (1.0 - _TOP), 0.0, 1.0)
        return np.asarray(ratio * np.minimum(soc, _TOP) + above * (1.0 - ratio * _TOP))

    there = moved(ocv.soc)
    voltage, gap = (np.interp(ocv.soc, there, values) for values in (ocv.voltage, ocv.gap))
    kept = replace(ocv, voltage=rising(voltage), gap=np.asarray(gap), capacity=capacity)
    return kept, tuple(replace(leg, soc=moved(leg.soc)) for leg in legs)


def from_rests(measurement: Measurement) -> Ocv:
    """Return the OCV of a pulse test from full to empty, with rests between slow parts.

    It goes through the ends of the rests; between them it has the shape of the slow parts, each
    from where its polarisation has settled.
    """
    m = measurement
    capacity = -float(m.charge.min())
    soc = 1.0 + m.charge / capacity
    resting = np.abs(m.current) < 0.02 * capacity
    load = -float(np.median(m.current[m.current < -0.02 * capacity]))
    slow = np.abs(m.current + load) < 0.2 * load
    began = np.maximum.accumulate(np.where(slow, m.time[0], m.time))  # of the slow part
    ends = np.flatnonzero(resting[:-1] & ~resting[1:])
    loaded = np.maximum.accumulate(np.where(resting, 0, np.arange(len(soc))))  # row before
    ends = ends[m.time[ends] - m.time[loaded[ends]] > REST]
    rests = ends[slow[loaded[ends]]]
    if len(rests) < 4:
        raise LaboratoryError(f'{m.path}: {len(rests)} rests of {REST:g} s; 4 are needed')
    shift = m.voltage[rests] - m.voltage[loaded[rests]]
    settled = np.flatnonzero(slow & (m.time - began > _SETTLED))
    shape = m.voltage[settled] + np.interp(soc[settled], soc[rests][::-1], shift[::-1])
    known = np.r_[soc[settled], soc[ends]]
    voltage = np.r_[shape, m.voltage[ends]]
    order = np.argsort(known, kind='stable')
    curve = rising(np.asarray(np.interp(GRID, known[order], voltage[order])))
    return Ocv(GRID, curve, np.zeros(len(GRID)), capacity)


def from_table(soc: FloatArray, up: FloatArray, down: FloatArray, capacity: float) -> Ocv:
    """Return the OCV of a table measured elsewhere."""
    up = np.asarray(np.interp(GRID, soc, up))
    down = np.asarray(np.interp(GRID, soc, down))
    return Ocv(GRID, rising(0.5 * (up + down)), 0.5 * (up - down), capacity)


def _slow_leg(measurement: Measurement, sign: int) -> Measurement | None:
    """Return the rows of the longest run of slow current of one direction."""
    strongest = np.abs(measurement.current).max()
    running = np.sign(measurement.current) * (np.abs(measurement.current) > 0.2 * strongest)
    edges = np.flatnonzero(np.diff(np.r_[0, running == sign, 0].astype(int)))
    best = None
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        leg = measurement.rows(slice(first, last))
        if best is None or len(leg.time) > len(best.time):
            best = leg
    if best is None or len(best.time) < 50:
        return None
    moved = abs(best.charge[-1] - best.charge[0])
    return best if np.abs(best.current).max() <= SLOW * moved else None


def rising(voltage: FloatArray) -> FloatArray:
    """Return the curve with what little falls, by noise, made to rise."""
    steps = np.arange(len(voltage)) * LEAST_RISE
    return np.maximum.accumulate(voltage - steps) + steps
