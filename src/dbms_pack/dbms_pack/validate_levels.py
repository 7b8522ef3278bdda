# SPDX-License-Identifier: Apache-2.0
"""Checks of the levels of each limited quantity: complete, in order, tables that make sense."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .document import Document, KeyPath
from .errors import Problem
from .limit_loader import LOSSES
from .limits import QUANTITIES, STATES, Quantity
from .schema import describe, load_schema

Data = Mapping[str, Any]

LEVELS = ('mol', 'rsl', 'msl')
NEEDED = (*(key for key, what in QUANTITIES.items() if what.required), *LOSSES, 'rest_current')


def check_levels(document: Document, limits: Data) -> Iterator[Problem]:
    """Yield what is missing, and every level that is wrong beside the others of its quantity."""
    schema = load_schema('pack')
    properties = schema['$defs']['limits']['properties']
    for key in NEEDED:
        if key not in limits:
            needs = f'needs {describe(properties[key], schema)}'
            yield document.problem(('limits', key), 'missing', needs)
    for key, quantity in QUANTITIES.items():
        given = limits.get(key)
        if given is not None:
            yield from _check_presence(document, quantity, given)
            yield from _check_options(document, quantity, given)
            yield from _check_order(document, quantity, given)


def _check_presence(document: Document, quantity: Quantity, given: Data) -> Iterator[Problem]:
    if quantity.required:
        return
    key: KeyPath = ('limits', quantity.key)
    if not any(level in given for level in LEVELS):
        yield document.problem(key, 'no level', 'at least one of mol, rsl, msl')
    rsl = given.get('rsl')
    if rsl and 'derate' not in rsl:
        allowed = 'needs a number from 0 to 1, the factor on the limits while the level stands'
        yield document.problem((*key, 'rsl', 'derate'), 'missing', allowed)


def _check_options(document: Document, quantity: Quantity, given: Data) -> Iterator[Problem]:
    for level in LEVELS:
        limit = given.get(level) or {}
        key: KeyPath = ('limits', quantity.key, level)
        for name, only in (('action', 'msl'), ('derate', 'rsl')):
            if name in limit and level != only:
                yield document.problem((*key, name), f'at {level}', f'only at {only}')
        if limit.get('reset') == 'named' and limit.get('latch') is False:
            allowed = 'with latch: true; what is not latched needs no reset'
            yield document.problem((*key, 'reset'), 'named', allowed)
        if limit.get('by_temperature') and limit.get('by_state'):
            allowed = 'one of by_temperature and by_state'
            yield document.problem((*key, 'by_state'), 'beside by_temperature', allowed)
        yield from _check_table(document, quantity, limit, (*key, 'by_temperature'))


def _check_table(
    document: Document, quantity: Quantity, limit: Data, key: KeyPath
) -> Iterator[Problem]:
    """A table rises in temperature, and `at` is the most careful of its values."""
    table = limit.get('by_temperature')
    if not table:
        return
    temperatures, values = table.get('temperatures'), table.get('at')
    if not temperatures or not values or None in temperatures or None in values:
        return
    if len(temperatures) != len(values):
        found = f'{len(values)} values'
        yield document.problem((*key, 'at'), found, f'{len(temperatures)}, one per temperature')
    if any(
        warmer <= colder for colder, warmer in zip(temperatures, temperatures[1:], strict=False)
    ):
        allowed = 'temperatures that rise'
        yield document.problem((*key, 'temperatures'), 'not in order', allowed)
    careful = max(values) if quantity.under else min(values)
    at = limit.get('at')
    if at is not None and at != careful:
        allowed = f'{careful:g}, the most careful of the table: it holds where no temperature is'
        yield document.problem((*key[:-1], 'at'), f'{at:g}', allowed)


def _check_order(document: Document, quantity: Quantity, given: Data) -> Iterator[Problem]:
    """Levels get worse in order, at every temperature and in every state."""
    # Where there are no tables the order of `at` is all there is to check.
    for condition in ('', *_conditions(given)):
        known = [
            (level, _threshold(given[level], condition)) for level in LEVELS if given.get(level)
        ]
        ordered = [(level, at) for level, at in known if at is not None]
        for (lower, before), (level, at) in zip(ordered, ordered[1:], strict=False):
            if (at > before) == quantity.under or at == before:
                word = 'below' if quantity.under else 'above'
                where = f' {_words(condition)}' if condition != '' else ''
                allowed = f'{word} {lower} at {before:g} {quantity.unit}{where}'
                key = ('limits', quantity.key, level, 'at')
                found = f'{at:g} {quantity.unit}{where}'
                yield document.problem(key, found, f'{allowed}: a worse level begins later')


def _conditions(given: Data) -> list[float | str]:
    levels = [given.get(level) or {} for level in LEVELS]
    temperatures = {
        temperature
        for limit in levels
        for temperature in (limit.get('by_temperature') or {}).get('temperatures') or []
        if temperature is not None
    }
    states = [s for s in STATES if any(s in (limit.get('by_state') or {}) for limit in levels)]
    return [*sorted(temperatures), *states]


def _words(condition: float | str) -> str:
    return f'in state {condition}' if isinstance(condition, str) else f'at {condition:g} degC'


def _threshold(limit: Data, condition: float | str) -> float | None:
    at: float | None = limit.get('at')
    if isinstance(condition, str):
        value = (limit.get('by_state') or {}).get(condition, at)
        return None if value is None else float(value)
    table = limit.get('by_temperature') or {}
    temperatures, values = table.get('temperatures') or [], table.get('at') or []
    if not values or None in values or None in temperatures or len(values) != len(temperatures):
        return at
    return float(np.interp(condition, temperatures, values))
