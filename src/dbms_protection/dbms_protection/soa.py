# SPDX-License-Identifier: Apache-2.0
"""Safe operating area: the quantities that every pack limits, and the names of its places."""

import numpy as np

from dbms_pack import Level, Limits, Pack
from dbms_pack.limits import QUANTITIES, levels_of

from .faults import Place
from .quantity import Quantity


class SafeOperatingArea:
    """All quantities of a pack that have limits in its description."""

    def __init__(self, pack: Pack, time_scale: float = 1.0) -> None:
        modules, strings = pack.modules, pack.strings
        cells = [module.cell_slice for module in modules]
        sensors = [module.temperature_slice for module in modules]
        singles = [slice(index, index + 1) for index in range(len(strings))]
        at_cells = cell_places(pack)
        at_sensors = sensor_places(pack)
        at_strings = string_places(pack)
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


def string_places(pack: Pack) -> list[Place]:
    """Name all strings of the pack, in pack order."""
    return [Place(string.name) for string in pack.strings]


def module_places(pack: Pack) -> list[Place]:
    """Name all modules of the pack, in pack order."""
    return [Place(module.string, module.name) for module in pack.modules]


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


def problems(limits: Limits) -> list[str]:
    """Say what is missing or contradicts itself in the limits: protection has no defaults."""
    found: list[str] = []
    for key, given in levels_of(limits).items():
        wanted = list(Level) if QUANTITIES[key].required else sorted(given)
        if key == 'short_circuit':
            wanted = [Level.MSL]
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
        sign = -1.0 if QUANTITIES[key].under else 1.0
        at = [sign * given[level].at for level in wanted]
        if not all(milder < worse for milder, worse in zip(at, at[1:], strict=False)):
            found.append(f'{key}: the levels are not in order')
    for key in ('module_lost', 'string_lost'):
        rule = getattr(limits, key)
        if not (rule.timeout > 0 and 0 <= rule.derate <= 1 and rule.open_after >= 0):
            found.append(f'{key}: timeout, derate or open_after out of range')
    return found
