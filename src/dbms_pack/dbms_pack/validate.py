# SPDX-License-Identifier: Apache-2.0
"""Checks of a pack that a schema cannot express.

They run on data of which every value is as the schema says; what was missing or wrong is None or
absent, has been named already, and is passed over here.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from . import busload
from .document import Document, KeyPath
from .errors import Problem
from .model import CellModel
from .schema import nearest
from .validate_limits import check_limits

Data = Mapping[str, Any]

MODULE_KEYS = ('bus', 'cells', 'temperatures', 'period')
# Interfaces without a bit rate of their own.
SOFT_INTERFACES = ('virtual', 'socketcand', 'udp_multicast')
# Above this share of the string's nominal voltage, precharge and joining would check nothing.
VOLTAGE_SHARE = 0.2


def check_pack(document: Document, data: Data, cell: CellModel | None) -> list[Problem]:
    """Return everything that is wrong with a pack whose values are each right by themselves."""
    problems = [
        *_check_names(document, data),
        *_check_places(document, data),
        *_check_modules(document, data),
        *_check_redundant(document, data),
        *_check_strings(document, data, cell),
        *_check_loads(document, data),
        *check_limits(document, data, cell),
    ]
    return list(dict.fromkeys(problems))


def strings_of(data: Data) -> Iterator[tuple[KeyPath, Data]]:
    """Yield key and value of every string that is there."""
    for index, string in enumerate(data.get('strings') or []):
        if string is not None:
            yield ('strings', index), string


def modules_of(data: Data, key: KeyPath, string: Data) -> Iterator[tuple[KeyPath, Data]]:
    """Yield key and value of every module of a string, defaults filled in."""
    default = data.get('modules_default') or {}
    for index, module in enumerate(string.get('modules') or []):
        if module is not None:
            yield (*key, 'modules', index), {**default, **module}


def _check_names(document: Document, data: Data) -> Iterator[Problem]:
    strings: dict[str, KeyPath] = {}
    modules: dict[str, KeyPath] = {}
    for key, string in strings_of(data):
        yield from _once(document, strings, string.get('name'), (*key, 'name'))
        for module_key, module in modules_of(data, key, string):
            yield from _once(document, modules, module.get('name'), (*module_key, 'name'))


def _once(
    document: Document, seen: dict[Any, KeyPath], value: Any, key: KeyPath, what: str = 'name'
) -> Iterator[Problem]:
    if value is None:
        return
    first = seen.setdefault(value, key)
    if first != key:
        shown = value if isinstance(value, str) else f'{value[-1]} on bus {value[0]}'
        allowed = f'the {what} once; the first is on line {document.line(first)}'
        yield document.problem(key, f'{shown} a second time', allowed)


def _check_places(document: Document, data: Data) -> Iterator[Problem]:
    """Buses exist, and no two units of a kind share an address on one."""
    seen: dict[str, dict[Any, KeyPath]] = defaultdict(dict)
    buses = data.get('buses')
    for kind, key, unit in _units(data):
        bus, address = unit.get('bus'), unit.get('address')
        if bus is None:
            continue
        if buses is not None and bus not in buses:
            where = _given(document, key, 'bus')
            yield document.problem(where, repr(bus), f'a bus of this pack; {nearest(bus, buses)}')
        elif address is not None:
            yield from _once(document, seen[kind], (bus, address), (*key, 'address'), 'address')


def _units(data: Data) -> Iterator[tuple[str, KeyPath, Data]]:
    for key, string in strings_of(data):
        for kind in ('current_sensor', 'contactors'):
            if string.get(kind) is not None:
                yield kind, (*key, kind), string[kind]
        for module_key, module in modules_of(data, key, string):
            yield 'modules', module_key, module


def _given(document: Document, key: KeyPath, name: str) -> KeyPath:
    """Return where the value of a unit is written: at the unit, or in the defaults."""
    node = document.root
    for part in key:
        node = node.children[part]
    return (*key, name) if name in node.children else ('modules_default', name)


def _check_modules(document: Document, data: Data) -> Iterator[Problem]:
    for key, string in strings_of(data):
        temperatures: list[int | None] = []
        for module_key, module in modules_of(data, key, string):
            for name in MODULE_KEYS:
                if name not in module:
                    allowed = 'give it here, or for all modules under modules_default'
                    yield document.problem((*module_key, name), 'missing', allowed)
            temperatures.append(module.get('temperatures'))
        if temperatures and all(count == 0 for count in temperatures):
            yield document.problem(
                (*key, 'modules'),
                'no temperature sensor in the string',
                'at least one: its temperature limits could not be guarded',
            )


def _check_redundant(document: Document, data: Data) -> Iterator[Problem]:
    """Sensors that measure the same spot exist, belong to one group, and are compared at all."""
    fitted = False
    for key, string in strings_of(data):
        for module_key, module in modules_of(data, key, string):
            where = _given(document, module_key, 'redundant_temperatures')
            groups = [group for group in module.get('redundant_temperatures') or [] if group]
            numbers = [number for group in groups for number in group if number is not None]
            count = module.get('temperatures')
            fitted |= bool(numbers)
            if count is not None and max(numbers, default=0) > count:
                yield document.problem(where, f'sensor {max(numbers)}', f'1 to {count}')
            twice = [number for number in numbers if numbers.count(number) > 1]
            if twice:
                yield document.problem(where, f'sensor {twice[0]} twice', 'each in one group')
    if (data.get('limits') or {}).get('temperature_mismatch') is not None and not fitted:
        yield document.problem(
            ('limits', 'temperature_mismatch'),
            'no module has redundant_temperatures',
            'name the sensors that measure the same spot, or leave the limit out',
        )


def _check_strings(document: Document, data: Data, cell: CellModel | None) -> Iterator[Problem]:
    first: tuple[int, int] | None = None
    for key, string in strings_of(data):
        cells = _series(data, key, string)
        if cells is not None and first is None:
            first = cells, document.line((*key, 'modules'))
        elif cells is not None and first is not None and cells != first[0]:
            allowed = f'{first[0]} as in the string of line {first[1]}: they are in parallel'
            yield document.problem((*key, 'modules'), f'{cells} cells in series', allowed)
        yield from _check_sensor(document, data, key, string)
        voltage = cells * cell.voltage_nominal if cells is not None and cell is not None else None
        yield from _check_contactors(document, key, string, voltage)


def _series(data: Data, key: KeyPath, string: Data) -> int | None:
    """Return the cells in series, None unless every module says how many it has."""
    counts = [module.get('cells') for _, module in modules_of(data, key, string)]
    known = [int(count) for count in counts if count is not None]
    return sum(known) if known and len(known) == len(string['modules']) else None


def _check_sensor(document: Document, data: Data, key: KeyPath, string: Data) -> Iterator[Problem]:
    """Silence is told from the pause between two frames."""
    limits = data.get('limits') or {}
    sensor = string.get('current_sensor') or {}
    timeout = (limits.get('string_lost') or {}).get('timeout')
    period = sensor.get('period')
    if timeout is not None and period is not None and timeout < 2 * period:
        allowed = f'at least {2 * period:g} s, two periods of the sensor of the string'
        yield document.problem(('limits', 'string_lost', 'timeout'), f'{timeout:g} s', allowed)
    timeout = (limits.get('module_lost') or {}).get('timeout')
    for _, module in modules_of(data, key, string):
        period = module.get('period')
        if timeout is not None and period is not None and timeout < 2 * period:
            allowed = f'at least {2 * period:g} s, two periods of a module'
            yield document.problem(('limits', 'module_lost', 'timeout'), f'{timeout:g} s', allowed)
            return


def _check_contactors(
    document: Document, key: KeyPath, string: Data, voltage: float | None
) -> Iterator[Problem]:
    unit = string.get('contactors') or {}
    sensor = string.get('current_sensor') or {}
    precharge = unit.get('precharge') or {}
    base = (*key, 'contactors')
    span, timeout = sensor.get('range'), precharge.get('timeout')
    breaking = unit.get('break_current')
    if span is not None and breaking is not None and breaking > span:
        allowed = f'at most {span:g} A, the range of the current sensor'
        yield document.problem((*base, 'break_current'), f'{breaking:g} A', allowed)
    least = precharge.get('min_time')
    if timeout is not None and least is not None and least >= timeout:
        allowed = f'less than the timeout of {timeout:g} s'
        yield document.problem((*base, 'precharge', 'min_time'), f'{least:g} s', allowed)
    period = sensor.get('voltage_period')
    if timeout is not None and period is not None and 2 * period > timeout:
        allowed = f'at most {timeout / 2:g} s, half of the precharge timeout: its end must be seen'
        where = (*key, 'current_sensor', 'voltage_period')
        yield document.problem(where, f'{period:g} s', allowed)
    if voltage is None:
        return
    most = VOLTAGE_SHARE * voltage
    for where, value in (
        ((*base, 'precharge', 'voltage'), precharge.get('voltage')),
        ((*base, 'join_voltage'), unit.get('join_voltage')),
    ):
        if value is not None and value > most:
            allowed = f'at most {most:.3g} V, {VOLTAGE_SHARE:.0%} of the string of {voltage:.4g} V'
            yield document.problem(where, f'{value:g} V', allowed)


def _check_loads(document: Document, data: Data) -> Iterator[Problem]:
    """A bus cannot carry more than all of it."""
    rates: dict[str, list[float]] = defaultdict(list)
    for kind, _, unit in _units(data):
        rate = _rate(kind, unit)
        if rate is not None and unit.get('bus') is not None:
            rates[unit['bus']].append(rate)
    for name, bus in (data.get('buses') or {}).items():
        if bus is None or bus.get('interface') in (None, *SOFT_INTERFACES):
            continue
        bitrate = bus.get('bitrate', 500_000)
        load = busload.load(rates[name], bitrate) if bitrate is not None else 0.0
        if load > 1.0:
            yield document.problem(
                ('buses', name, 'bitrate'),
                f'{bitrate} bit/s, of which the units on it need {load:.0%}',
                'a faster bus, longer periods, or units on more buses',
            )


def _rate(kind: str, unit: Data) -> float | None:
    if kind == 'modules':
        values = [unit.get(name) for name in ('cells', 'temperatures', 'period')]
        return None if None in values else busload.module_rate(*values)  # type: ignore[arg-type]
    if kind == 'current_sensor':
        values = [unit.get(name) for name in ('period', 'voltage_period')]
        return None if None in values else busload.sensor_rate(*values)  # type: ignore[arg-type]
    lease = unit.get('lease')
    return None if lease is None else busload.contactor_rate(lease)
