# SPDX-License-Identifier: Apache-2.0
"""Safe operating area: every measured quantity against its levels, for all elements at once.

A condition begins when a value reaches its limit, is confirmed after its debounce and ends when
the value is back by more than the hysteresis. What is not measured (NaN) is never taken for
fine: it begins nothing, it ends nothing, and a debounce that runs goes on running.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Limit, Limits, Pack

from .faults import Place

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    """A level of one element was confirmed, or has ended."""

    level: Level
    element: int  # index over all elements of the quantity
    active: bool
    since: float  # s, when the condition began


class Quantity:
    """One quantity of all elements of a pack, judged at each of its levels.

    Elements come in groups (the cells of a module): a group is judged when its measurement
    arrives. `groups[g]` is where group g is in the arrays over all elements, `places` names every
    element. Times are in s and never step back (see timebase); debounces are divided by
    `time_scale`.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        limits: Mapping[Level, Limit],
        groups: Sequence[slice],
        places: Sequence[Place],
        *,
        under: bool = False,
        time_scale: float = 1.0,
    ) -> None:
        self.name = name
        self.unit = unit
        self.under = under
        self.limits = dict(limits)
        self.groups = tuple(groups)
        self.places = tuple(places)
        self.levels = tuple(sorted(limits))
        self._sign = -1.0 if under else 1.0
        # Measurements are float32: a limit of 4.22 V is reached by the float32 nearest to it.
        at = np.array([np.float32(limits[level].at) for level in self.levels], dtype=np.float64)
        self._enter = (self._sign * at)[:, None]
        back = np.array([limits[level].hysteresis for level in self.levels])
        self._leave = self._enter - back[:, None]
        wait = np.array([limits[level].debounce for level in self.levels])
        self._wait = (wait / time_scale)[:, None]
        self._first = float(self._enter.min())
        size = len(self.places)
        self._since = np.full((len(self.levels), size), np.nan)
        self.active: BoolArray = np.zeros((len(self.levels), size), dtype=bool)
        self.values = np.full(size, np.nan)  # as judged last
        self.busy = [False] * len(self.groups)  # a condition of the group holds or is debounced

    def quiet(self, group: int, worst: float) -> bool:
        """Tell whether a scan with this worst value can be passed over: nothing is or begins.

        `worst` is the largest value of the group, the smallest for an under-quantity; NaN, when
        one is missing, is never quiet.
        """
        return not self.busy[group] and self._sign * worst < self._first

    def update(
        self, group: int, values: FloatArray, now: float, applies: bool = True
    ) -> Sequence[Change]:
        """Judge the values of one group, shape (elements of the group,), and tell what changed.

        With `applies` false the quantity is of no concern now: its conditions end.
        """
        where = self.groups[group]
        since, active = self._since[:, where], self.active[:, where]
        before = active.copy()
        self.values[where] = values
        if applies:
            signed = self._sign * self.values[where]
            reached = signed >= self._enter  # False for NaN
            begun = reached & np.isnan(since)
            since[begun] = now
            ended = np.where(active, signed < self._leave, signed < self._enter)
            active |= ~np.isnan(since) & (now - since >= self._wait)
            active &= ~ended
        else:
            ended = np.ones_like(active)
            active[:] = False
        starts = since.copy()
        since[ended] = np.nan
        self.busy[group] = not bool(np.isnan(since).all())
        return self._changes(where, before, active, starts)

    def standing(self, group: int) -> list[tuple[Level, int]]:
        """Return level and element of every confirmed condition of a group."""
        where = self.groups[group]
        rows, columns = np.nonzero(self.active[:, where])
        return [
            (self.levels[row], where.start + column)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ]

    def elapse(self, group: int, now: float) -> Sequence[Change]:
        """Confirm what has been pending for its debounce without a new measurement."""
        if not self.busy[group]:
            return ()
        where = self.groups[group]
        since, active = self._since[:, where], self.active[:, where]
        before = active.copy()
        active |= ~np.isnan(since) & (now - since >= self._wait)
        return self._changes(where, before, active, since)

    def _changes(
        self, where: slice, before: BoolArray, after: BoolArray, since: FloatArray
    ) -> Sequence[Change]:
        differs = before != after
        if not differs.any():
            return ()
        # Worst level first: what opens contactors is handled before what only warns.
        return [
            Change(
                level=self.levels[row],
                element=where.start + int(column),
                active=bool(after[row, column]),
                since=float(since[row, column]),
            )
            for row in range(len(self.levels) - 1, -1, -1)
            for column in np.flatnonzero(differs[row])
        ]


class SafeOperatingArea:
    """All quantities of a pack that have limits in its description."""

    def __init__(self, pack: Pack, time_scale: float = 1.0) -> None:
        modules, strings = pack.modules, pack.strings
        cells = [module.cell_slice for module in modules]
        sensors = [module.temperature_slice for module in modules]
        singles = [slice(index, index + 1) for index in range(len(strings))]
        at_cells = cell_places(pack)
        at_sensors = sensor_places(pack)
        at_strings = [Place(string.name) for string in strings]
        limits = pack.limits

        def quantity(
            key: str, unit: str, groups: list[slice], places: list[Place], under: bool = False
        ) -> Quantity:
            levels = getattr(limits, key)
            return Quantity(
                key.upper(), unit, levels, groups, places, under=under, time_scale=time_scale
            )

        self.voltages = (
            quantity('cell_overvoltage', 'V', cells, at_cells),
            quantity('cell_undervoltage', 'V', cells, at_cells, under=True),
        )
        self.charge_temperatures = (
            quantity('overtemperature_charge', 'degC', sensors, at_sensors),
            quantity('undertemperature_charge', 'degC', sensors, at_sensors, under=True),
        )
        self.discharge_temperatures = (
            quantity('overtemperature_discharge', 'degC', sensors, at_sensors),
            quantity('undertemperature_discharge', 'degC', sensors, at_sensors, under=True),
        )
        # In the order of `string_values`.
        self.currents = (
            quantity('short_circuit', 'A', singles, at_strings),
            quantity('overcurrent_charge', 'A', singles, at_strings),
            quantity('overcurrent_discharge', 'A', singles, at_strings),
        )

    @property
    def per_module(self) -> tuple[Quantity, ...]:
        """Quantities whose groups are modules."""
        return (*self.voltages, *self.charge_temperatures, *self.discharge_temperatures)


def string_values(current: float, range_: float, over_range: bool) -> tuple[float, float, float]:
    """Return what the current of a string counts as: short circuit, charge, discharge, in A.

    A sensor beyond its range shows less than flows, or nothing: it counts as at least its range,
    and without a sign as that in both directions. NaN: not measured.
    """
    if not np.isfinite(current):
        return (range_, range_, range_) if over_range else (np.nan, np.nan, np.nan)
    size = max(abs(current), range_) if over_range else abs(current)
    return size, size if current > 0 else 0.0, size if current < 0 else 0.0


def cell_places(pack: Pack) -> list[Place]:
    """Name all cells of the pack, in pack order."""
    return [
        Place(module.string, module.name, cell=number)
        for module in pack.modules
        for number in range(1, module.cells + 1)
    ]


def sensor_places(pack: Pack) -> list[Place]:
    """Name all temperature sensors of the pack, in pack order."""
    return [
        Place(module.string, module.name, sensor=number)
        for module in pack.modules
        for number in range(1, module.temperatures + 1)
    ]


QUANTITIES = (
    'cell_overvoltage',
    'overtemperature_charge',
    'overtemperature_discharge',
    'overcurrent_charge',
    'overcurrent_discharge',
    'cell_undervoltage',
    'undertemperature_charge',
    'undertemperature_discharge',
)


def problems(limits: Limits) -> list[str]:
    """Say what is missing or contradicts itself in the limits: protection has no defaults."""
    found: list[str] = []
    for key in (*QUANTITIES, 'short_circuit'):
        given = getattr(limits, key)
        wanted = [Level.MSL] if key == 'short_circuit' else list(Level)
        absent = [level.name for level in wanted if level not in given]
        if absent:
            found.append(f'{key}: no {", ".join(absent)}')
            continue
        for level in wanted:
            limit = given[level]
            if not np.isfinite([limit.at, limit.debounce, limit.hysteresis]).all():
                found.append(f'{key} {level.name}: not a number')
            elif limit.debounce < 0 or limit.hysteresis < 0:
                found.append(f'{key} {level.name}: debounce and hysteresis must not be negative')
        sign = -1.0 if 'under' in key else 1.0
        at = [sign * given[level].at for level in wanted]
        if not all(milder < worse for milder, worse in zip(at, at[1:], strict=False)):
            found.append(f'{key}: the levels are not in order')
    for key in ('module_lost', 'string_lost'):
        rule = getattr(limits, key)
        if not (rule.timeout > 0 and 0 <= rule.derate <= 1 and rule.open_after >= 0):
            found.append(f'{key}: timeout, derate or open_after out of range')
    return found
