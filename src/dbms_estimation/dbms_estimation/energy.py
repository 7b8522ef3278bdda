# SPDX-License-Identifier: Apache-2.0
"""What is left: energy and time until empty and full at a given power, for strings of cells.

A string is followed from now to its end in even steps of charge. At each the cells stand at their
OCV less what the current of that power drops, all RC pairs charged; the end is where the first
cell is at its lowest voltage or has no charge left. Time is charge over current, so energy at the
terminals, which losses have been taken from, is power times time. Charging goes on at the highest
cell voltage with less and less current, as a charger does it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .ecm import CellTables
from .sop import Bounds, CellsNow

STEPS = 40
FITTING = 8192  # cells times steps that the caches of a processor hold
FULL_CURRENT = 0.03  # in units of capacity per hour: charging is done below it
NAN = math.nan


@dataclass(frozen=True)
class Way:
    """What a string delivers until it is empty, or takes until it is full; NaN: not known."""

    energy: float = NAN  # Wh at its terminals
    time: float = NAN  # s
    charge: float = NAN  # Ah


class _Steps:
    """Cells of a string over the charge that flowed; arrays (STEPS + 1, n)."""

    def __init__(
        self, tables: CellTables, cells: CellsNow, sign: float, bounds: Bounds, sigmas: float
    ) -> None:
        soc = np.clip(cells.soc - sigmas * cells.soc_sigma, 0.0, 1.0)
        worse = np.minimum(sigmas * cells.capacity_sigma, 0.5)
        capacity = cells.capacity * (1 - worse)
        room = soc - bounds.soc_min if sign < 0 else bounds.soc_max - soc
        most = max(float((capacity * room).min()), 0.0)
        self.charge = np.linspace(0.0, most, STEPS + 1).astype(np.float64)
        worse = cells.resistance + sigmas * cells.resistance_sigma
        self.ocv = np.empty((STEPS + 1, len(soc)))
        self.resistance = np.empty_like(self.ocv)
        at_once = max(1, FITTING // len(soc))
        for first in range(0, STEPS + 1, at_once):
            steps = slice(first, first + at_once)
            gained = sign * self.charge[steps, None] / capacity
            shape = gained.shape
            place = np.clip(soc + gained, 0.0, 1.0).ravel()
            warm = np.broadcast_to(cells.temperature, shape).ravel()
            before = np.broadcast_to(cells.hysteresis, shape).ravel()
            turned = tables.turned(before, gained.ravel())
            ocv = tables.ocv(place, warm)[0] + tables.hysteresis(place) * turned
            z = tables.impedance(place, warm)
            self.ocv[steps] = ocv.reshape(shape)
            self.resistance[steps] = (z.r0 + z.r1 + z.r2).reshape(shape) * worse

    def emptied(self, power: float, bounds: Bounds) -> Way:
        """Return what is delivered at `power` W until the first cell is at its lowest voltage."""
        source, resistance = self.ocv.sum(axis=1), self.resistance.sum(axis=1)
        room = np.square(source) - 4 * resistance * power
        possible = room >= 0
        current = (source - np.sqrt(np.maximum(room, 0.0))) / (2 * resistance)
        lowest = (self.ocv - current[:, None] * self.resistance).min(axis=1)
        margin = np.where(possible, lowest - bounds.voltage_min, -1.0)
        return _until(self.charge, current, np.full(len(current), power), margin)


def to_empty(
    tables: CellTables, cells: CellsNow, power: float, bounds: Bounds, sigmas: float = 0.0
) -> Way:
    """Return what cells in series deliver at `power` W, magnitude, until the first is empty.

    With `sigmas` everything not known counts against it. NaN if a cell is not known.
    """
    return ways_to_empty(tables, cells, (power,), bounds, sigmas)[0]


def ways_to_empty(
    tables: CellTables,
    cells: CellsNow,
    powers: Sequence[float],
    bounds: Bounds,
    sigmas: float = 0.0,
) -> list[Way]:
    """Return `to_empty` for several powers at the cost of one."""
    if not _known(cells) or not max(powers) > 0:
        return [Way()] * len(powers)
    steps = _Steps(tables, cells, -1.0, bounds, sigmas)
    return [steps.emptied(power, bounds) if power > 0 else Way() for power in powers]


def to_full(
    tables: CellTables, cells: CellsNow, power: float, bounds: Bounds, sigmas: float = 0.0
) -> Way:
    """Return what cells in series take at `power` W at most until the first is full."""
    if not _known(cells) or not power > 0:
        return Way()
    steps = _Steps(tables, cells, 1.0, bounds, sigmas)
    source, resistance = steps.ocv.sum(axis=1), steps.resistance.sum(axis=1)
    wanted = (np.sqrt(np.square(source) + 4 * resistance * power) - source) / (2 * resistance)
    taper = ((bounds.voltage_max - steps.ocv) / steps.resistance).min(axis=1)
    current = np.minimum(wanted, taper)
    least = np.minimum(FULL_CURRENT * float(cells.capacity.min()), wanted)
    return _until(
        steps.charge, current, (source + current * resistance) * current, current - least
    )


def _known(cells: CellsNow) -> bool:
    return bool(np.isfinite(np.stack(list(vars(cells).values()))).all())


def _until(charge: FloatArray, current: FloatArray, power: FloatArray, margin: FloatArray) -> Way:
    """Integrate from the first step until `margin` falls below 0."""
    if margin[0] < 0 or charge[-1] <= 0:
        return Way(0.0, 0.0, 0.0)
    ended = np.flatnonzero(margin < 0)
    last = int(ended[0]) - 1 if len(ended) else len(charge) - 1
    pace = 3600.0 / current[: last + 1]  # s per Ah
    dq = np.diff(charge[: last + 1])
    mean = 0.5 * (pace[1:] + pace[:-1])
    drawn = power[: last + 1] * pace / 3600.0  # Wh per Ah: the voltage
    time = float((dq * mean).sum())
    energy = float((dq * 0.5 * (drawn[1:] + drawn[:-1])).sum())
    flowed = float(charge[last])
    if len(ended):
        part = margin[last] / max(margin[last] - margin[last + 1], 1e-12)
        more = float(part * (charge[last + 1] - charge[last]))
        time, energy, flowed = (
            time + more * float(pace[-1]), energy + more * float(drawn[-1]), flowed + more
        )  # fmt: skip
    return Way(energy, time, flowed)


def together(ways: list[Way]) -> Way:
    """Return what strings in parallel give or take together; NaN if one is not known."""
    if not ways:
        return Way()
    energy = sum(way.energy for way in ways)
    charge = sum(way.charge for way in ways)
    # The others carry on when one is empty: the time is that of the mean.
    time = sum(way.time for way in ways) / len(ways)
    return Way(energy, time, charge)


@dataclass(frozen=True)
class Plan:
    """Whether a mission can be done; in the words of dbms_msgs/PlanEnergy."""

    known: bool
    sufficient: bool
    available: float  # Wh
    available_low: float
    left: float  # Wh
    left_low: float
    time: float  # s
    time_low: float
    message: str


def plan(way: Way, low: Way, power: float, energy: float, reserve: float) -> Plan:
    """Return whether `energy` Wh at `power` W can be had from what is left, and `reserve` Wh stay.

    way, low: until empty at that power, as expected and with everything against it.
    """
    if not (power > 0 and math.isfinite(power) and 0 <= energy < math.inf):
        reason = 'power must be above 0 W and energy 0 Wh or more'
        return Plan(False, False, NAN, NAN, NAN, NAN, NAN, NAN, reason)
    left, left_low = way.energy - energy - reserve, low.energy - energy - reserve
    known = math.isfinite(left) and math.isfinite(left_low)
    reason = ''
    if not known:
        reason = 'the state of the cells is not known'
    elif left < 0:
        reason = f'{-left:.0f} Wh are missing'
    elif left_low < 0:
        reason = f'{-left_low:.0f} Wh may be missing: the state of the cells is not known better'
    return Plan(known, known and left_low >= 0, way.energy, low.energy, left, left_low, way.time,
                low.time, reason)  # fmt: skip


class PowerMeter:
    """Power as it is now, smoothed, and as it usually is while discharging."""

    def __init__(self, usual: float, smoothing: float = 60.0, memory: float = 1800.0) -> None:
        """Take the usual power in W to begin with, and both time constants in s."""
        self._smoothing, self._memory = smoothing, memory
        self.now = NAN  # W, positive while charging; NaN: not known
        self.usual = usual  # W, magnitude

    def add(self, dt: float, power: float) -> None:
        """Take `power` in W over the last `dt` s; NaN: not known."""
        if not math.isfinite(power):
            self.now = NAN
            return
        if not dt > 0:
            return
        if not math.isfinite(self.now):
            self.now = power
        self.now += (power - self.now) * -math.expm1(-dt / self._smoothing)
        if power < -0.02 * self.usual:
            self.usual += (-power - self.usual) * -math.expm1(-dt / self._memory)
