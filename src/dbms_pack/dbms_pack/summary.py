# SPDX-License-Identifier: Apache-2.0
"""A pack in numbers, for people and for scripts."""

from typing import Any

from . import busload
from .limits import QUANTITIES, Limits, LossRule, levels_of
from .model import Pack


def bus_loads(pack: Pack) -> dict[str, tuple[float, float]]:
    """Return the frames per second on every bus, and its load at its bit rate, 1 being full."""
    rates: dict[str, list[float]] = {name: [] for name in pack.buses}
    for string in pack.strings:
        sensor, unit = string.current_sensor, string.contactors
        rates[sensor.bus].append(busload.sensor_rate(sensor.period, sensor.voltage_period))
        rates[unit.bus].append(busload.contactor_rate(unit.lease))
        for module in string.modules:
            rate = busload.module_rate(module.cells, module.temperatures, module.period)
            rates[module.bus].append(rate)
    return {
        name: (sum(rates[name]), busload.load(rates[name], bus.bitrate))
        for name, bus in pack.buses.items()
    }


def loss_rules(limits: Limits) -> dict[str, LossRule]:
    """Return the rules for lost sources, by source."""
    return {'module_lost': limits.module_lost, 'string_lost': limits.string_lost}


def as_json(pack: Pack) -> dict[str, Any]:
    """Return the summary as plain data; units are those of the pack file."""
    cell, series = pack.cell, pack.strings[0].cells
    loads = bus_loads(pack)
    return {
        'name': pack.name,
        'description': pack.description,
        'path': str(pack.path),
        'digest': pack.digest,
        'cell': {
            'name': cell.name,
            'chemistry': cell.chemistry,
            'capacity': cell.capacity,
            'path': str(cell.path),
        },
        'cells': pack.cells,
        'temperatures': pack.temperatures,
        'series': series,
        'parallel': pack.parallel,
        'capacity': pack.capacity,
        'energy': energy(pack),
        'voltage': {
            'min': series * cell.voltage_min,
            'nominal': series * cell.voltage_nominal,
            'max': series * cell.voltage_max,
        },
        'buses': {
            name: {
                'interface': bus.interface,
                'channel': bus.channel,
                'bitrate': bus.bitrate,
                'frames_per_second': loads[name][0],
                'load': loads[name][1],
            }
            for name, bus in pack.buses.items()
        },
        'strings': [_string_json(string) for string in pack.strings],
        'limits': _limits_json(pack.limits),
    }


def energy(pack: Pack) -> float:
    """Return the energy of the pack at nominal voltage in Wh."""
    return pack.capacity * pack.strings[0].cells * pack.cell.voltage_nominal


def _string_json(string: Any) -> dict[str, Any]:
    sensor, unit = string.current_sensor, string.contactors
    return {
        'name': string.name,
        'cells': string.cells,
        'current_sensor': {'bus': sensor.bus, 'address': sensor.address, 'range': sensor.range},
        'contactors': {'bus': unit.bus, 'address': unit.address, 'lease': unit.lease},
        'modules': [
            {
                'name': module.name,
                'bus': module.bus,
                'address': module.address,
                'cells': module.cells,
                'temperatures': module.temperatures,
                'redundant_temperatures': [list(group) for group in module.redundant],
                'period': module.period,
            }
            for module in string.modules
        ],
    }


def _limits_json(limits: Limits) -> dict[str, Any]:
    data: dict[str, Any] = {
        name: {'unit': QUANTITIES[name].unit}
        | {level.name.lower(): dict(vars(limit)) for level, limit in levels.items()}
        for name, levels in levels_of(limits).items()
    }
    data.update({name: dict(vars(rule)) for name, rule in loss_rules(limits).items()})
    return {**data, 'rest_current': limits.rest_current}
