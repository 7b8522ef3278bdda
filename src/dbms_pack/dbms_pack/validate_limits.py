# SPDX-License-Identifier: Apache-2.0
"""Checks of protection limits against each other, the cell, and the sensors."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from .document import Document
from .errors import Problem
from .limits import QUANTITIES
from .model import CellModel
from .validate_levels import LEVELS, check_levels

Data = Mapping[str, Any]

PAIRS = (
    ('cell_overvoltage', 'cell_undervoltage'),
    ('overtemperature_charge', 'undertemperature_charge'),
    ('overtemperature_discharge', 'undertemperature_discharge'),
)
# A trip further outside of the cell's service voltages than this protects nothing.
OVERVOLTAGE_MARGIN = 0.15  # V
UNDERVOLTAGE_MARGIN = 0.3  # V


def unit_of(quantity: str) -> str:
    """Return the unit of a limited quantity."""
    return QUANTITIES[quantity].unit


def check_limits(document: Document, data: Data, cell: CellModel | None) -> Iterator[Problem]:
    """Yield every limit that is right by itself and wrong beside the others."""
    limits = data.get('limits') or {}
    if data.get('limits') is not None:
        yield from check_levels(document, limits)
    for over, under in PAIRS:
        yield from _check_window(document, limits, over, under)
    yield from _check_currents(document, data, limits)
    yield from _check_derating(document, limits)
    if cell is not None:
        yield from _check_cell(document, limits, cell)
        yield from _check_chemistry(document, limits, cell)


def _check_derating(document: Document, limits: Data) -> Iterator[Problem]:
    """Tables of factors have as many points as factors, and their points rise."""
    for name, table in (limits.get('derating') or {}).items():
        if not isinstance(table, Mapping):
            continue
        at, factor = table.get('at') or [], table.get('factor') or []
        if not at or not factor or None in at:
            continue
        if len(at) != len(factor):
            where = ('limits', 'derating', name, 'factor')
            yield document.problem(where, f'{len(factor)} factors', f'{len(at)}, one per point')
        if any(after <= before for before, after in zip(at, at[1:], strict=False)):
            where = ('limits', 'derating', name, 'at')
            yield document.problem(where, 'not in order', 'points that rise')


def _get(limits: Data, quantity: str, level: str, key: str = 'at') -> float | None:
    value = ((limits.get(quantity) or {}).get(level) or {}).get(key)
    return None if value is None else float(value)


def _check_window(document: Document, limits: Data, over: str, under: str) -> Iterator[Problem]:
    """Between over and under there is a range in which every level has ended.

    Without it, a limit could only end where its opposite has begun.
    """
    ceiling = _release(limits, over, -1.0)
    floor = _release(limits, under, 1.0)
    if ceiling and floor and min(ceiling)[0] <= max(floor)[0]:
        (high, high_level), (low, low_level) = min(ceiling), max(floor)
        unit = unit_of(over)
        yield document.problem(
            ('limits', over, high_level, 'hysteresis'),
            f'{over} {high_level} ends at {high:g} {unit}',
            f'above {low:g} {unit}, where {under} {low_level} ends: '
            'change `at` or `hysteresis` of either',
        )


def _release(limits: Data, quantity: str, sign: float) -> list[tuple[float, str]]:
    ends = []
    for level in LEVELS:
        at, hysteresis = _get(limits, quantity, level), _get(limits, quantity, level, 'hysteresis')
        if at is not None and hysteresis is not None:
            ends.append((at + sign * hysteresis, level))
    return ends


def _check_currents(document: Document, data: Data, limits: Data) -> Iterator[Problem]:
    quantities = ('overcurrent_charge', 'overcurrent_discharge', 'short_circuit')
    for quantity in quantities:
        for level in LEVELS:
            at = _get(limits, quantity, level)
            hysteresis = _get(limits, quantity, level, 'hysteresis')
            if at is not None and hysteresis is not None and hysteresis >= at:
                allowed = f'less than `at` of {at:g} A, else the level never ends'
                key = ('limits', quantity, level, 'hysteresis')
                yield document.problem(key, f'{hysteresis:g} A', allowed)
    short = _get(limits, 'short_circuit', 'msl')
    rest = limits.get('rest_current')
    for quantity in quantities[:2]:
        trip, first = _get(limits, quantity, 'msl'), _get(limits, quantity, 'mol')
        if short is not None and trip is not None and short <= trip:
            allowed = f'above {quantity} msl at {trip:g} A'
            key = ('limits', 'short_circuit', 'msl', 'at')
            yield document.problem(key, f'{short:g} A', allowed)
        if rest is not None and first is not None and rest >= first:
            allowed = f'below {quantity} mol at {first:g} A'
            yield document.problem(('limits', 'rest_current'), f'{rest:g} A', allowed)
    yield from _check_ranges(document, data, limits, quantities)


def _check_ranges(
    document: Document, data: Data, limits: Data, quantities: tuple[str, ...]
) -> Iterator[Problem]:
    """What no sensor can see, no limit can stop."""
    spans = [
        (string['current_sensor']['range'], string.get('name') or '')
        for string in data.get('strings') or []
        if string and (string.get('current_sensor') or {}).get('range') is not None
    ]
    if not spans:
        return
    span, name = min(spans)
    for quantity in quantities:
        at = _get(limits, quantity, 'msl')
        if at is not None and at > span:
            allowed = f'at most {span:g} A, the range of the current sensor of string {name}'
            yield document.problem(('limits', quantity, 'msl', 'at'), f'{at:g} A', allowed)


def _check_cell(document: Document, limits: Data, cell: CellModel) -> Iterator[Problem]:
    """Voltage limits are about this cell and not another chemistry."""
    # Half a millivolt of tolerance: 4.2 + 0.15 is not 4.35 in binary.
    top = cell.voltage_max + OVERVOLTAGE_MARGIN + 5e-4
    bottom = cell.voltage_min - UNDERVOLTAGE_MARGIN - 5e-4
    middle = cell.voltage_nominal
    above = f'at most {top:.2f} V, {OVERVOLTAGE_MARGIN} V above the highest service voltage'
    below = f'at least {bottom:.2f} V, {UNDERVOLTAGE_MARGIN} V below the lowest service voltage'
    rules = (
        ('cell_overvoltage', 'msl', -inf, top, above),
        ('cell_overvoltage', 'mol', middle, inf, f'above {middle:g} V, the nominal voltage'),
        ('cell_undervoltage', 'msl', bottom, inf, below),
        ('cell_undervoltage', 'mol', -inf, middle, f'below {middle:g} V, the nominal voltage'),
    )
    for quantity, level, low, high, allowed in rules:
        at = _get(limits, quantity, level)
        if at is not None and not low < at < high:
            key = ('limits', quantity, level, 'at')
            yield document.problem(key, f'{at:g} V', f'{allowed} of cell {cell.name}')


def _check_chemistry(document: Document, limits: Data, cell: CellModel) -> Iterator[Problem]:
    """A set is for cells of its own chemistry."""
    chosen = limits.get('set') or {}
    fits = [name.strip() for name in (chosen.get('chemistry') or '').split(',') if name.strip()]
    if fits and cell.chemistry not in fits:
        allowed = f'a set for {cell.chemistry}, the chemistry of cell {cell.name}'
        found = f'{chosen["name"]!r} is for {", ".join(fits)}'
        yield document.problem(('limits', 'set'), found, allowed)
