# SPDX-License-Identifier: Apache-2.0
"""Limits of a pack file, and of the set that it names, into the values of `limits`."""

from collections.abc import Mapping
from typing import Any

from . import paths, schema
from .document import Document, parse, read_text
from .errors import PackError, Problem
from .limits import (
    QUANTITIES,
    DeratingRules,
    FactorTable,
    Level,
    Limit,
    Limits,
    LossRule,
    Trigger,
)

Data = Mapping[str, Any]

LOSSES = ('module_lost', 'string_lost')
_NUMBERS = ('at', 'debounce', 'hysteresis', 'leak', 'derate')
_TEXTS = ('action', 'reset')


def with_set(document: Document, data: Data) -> tuple[Data, str, list[Problem]]:
    """Return the pack data with the limits of its set filled in, its text, and its problems.

    What the pack says about a quantity replaces what the set says about it, as a whole.
    """
    limits = data.get('limits')
    name = (limits or {}).get('set')
    if name is None:
        return data, '', []
    try:
        path = paths.find('limits', name, beside=document.path.parent)
        text = read_text(path)
    except PackError as error:
        reason = error.problems[0]
        found = f'{name!r}: {reason.found}'
        without = {key: value for key, value in (limits or {}).items() if key != 'set'}
        problem = document.problem(('limits', 'set'), found, reason.allowed)
        return {**data, 'limits': without}, '', [problem]
    filled, problems = _read_set(parse(text, path))
    merged = {**filled, **(limits or {}), 'set': {'name': name, **filled.get('set', {})}}
    return {**data, 'limits': merged}, text, problems


def _read_set(document: Document) -> tuple[dict[str, Any], list[Problem]]:
    data, problems = schema.check(document, 'limits')
    if not isinstance(data, dict):
        return {}, problems
    limits = dict(data.get('limits') or {})
    if limits.pop('set', None) is not None:
        problems.append(document.problem(('limits', 'set'), 'a set', 'none: sets do not nest'))
    return {**limits, 'set': {'chemistry': data.get('chemistry')}}, problems


def limits_of(data: Data) -> Limits:
    """Return the limits of data that were checked."""
    given = {key: value for key, value in data.items() if key in QUANTITIES}
    return Limits(
        module_lost=_loss(data['module_lost']),
        string_lost=_loss(data['string_lost']),
        rest_current=float(data['rest_current']),
        derating=_derating(data['derating']) if 'derating' in data else None,
        more={
            key: Trigger(_levels(value), float(value.get('window', 0.0)))
            for key, value in given.items()
            if not QUANTITIES[key].required
        },
        **{key: _levels(value) for key, value in given.items() if QUANTITIES[key].required},
    )


def _derating(data: Data) -> DeratingRules:
    def pair(what: str) -> tuple[FactorTable | None, FactorTable | None]:
        charge, discharge = (data.get(f'{way}_{what}') for way in ('charge', 'discharge'))
        return _table(charge), _table(discharge)

    return DeratingRules(pair('soc'), pair('temperature'), bool(data.get('power', False)))


def _table(data: Data | None) -> FactorTable | None:
    if data is None:
        return None
    return tuple(map(float, data['at'])), tuple(map(float, data['factor']))


def _levels(data: Data) -> dict[Level, Limit]:
    return {
        level: _limit(data[level.name.lower()]) for level in Level if level.name.lower() in data
    }


def _limit(data: Data) -> Limit:
    options: dict[str, Any] = {name: float(data[name]) for name in _NUMBERS if name in data}
    options |= {name: data[name] for name in _TEXTS if name in data}
    if 'by_temperature' in data:
        table = data['by_temperature']
        options['by_temperature'] = (
            tuple(map(float, table['temperatures'])),
            tuple(map(float, table['at'])),
        )
    if 'by_state' in data:
        options['by_state'] = {state: float(at) for state, at in data['by_state'].items()}
    return Limit(latch=data['latch'], **options)


def _loss(data: Data) -> LossRule:
    return LossRule(**{name: float(value) for name, value in data.items()})
