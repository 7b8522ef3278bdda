# SPDX-License-Identifier: Apache-2.0
"""What a replay is expected to bring, as a file, and how it differs from what it brought.

A file says which events within which window and which numbers with which tolerance:

    unexpected: MSL     # faults from this level on that are not listed are a failure; or: ignore
    events:
      - {fault: CELL_OVERVOLTAGE, level: MSL, place: m1:3, within: [1.1, 1.3]}
      - {state: FAULTED, place: a, within: [1.1, 1.4]}
      - {over: CELL_OVERVOLTAGE, level: MSL, place: m1:3, within: [3.5, 3.8]}
    numbers:
      - {soc_min: 0.77, at: 5.0, tolerance: 0.02}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dbms_pack import Level

from .outcome import NUMBERS, Event, Outcome

KINDS = ('fault', 'over', 'state')
LEVELS = ('', *(level.name for level in Level))
IGNORE = 'ignore'


class ExpectError(ValueError):
    """A file of expectations that is wrong, and where."""


@dataclass(frozen=True)
class ExpectedEvent:
    """An event, and the window in s in which it has to happen."""

    event: Event
    first: float
    last: float


@dataclass(frozen=True)
class ExpectedNumber:
    """A number at a time in s."""

    name: str
    at: float
    value: float
    tolerance: float


@dataclass(frozen=True)
class Expectations:
    """All that a file says."""

    events: tuple[ExpectedEvent, ...]
    numbers: tuple[ExpectedNumber, ...]
    unexpected: str  # a level, or 'ignore'


@dataclass(frozen=True)
class Difference:
    """One way in which it came differently."""

    word: str  # MISSING, EARLY, LATE, UNEXPECTED, VALUE
    what: str
    happened: str

    def __str__(self) -> str:
        return f'{self.word:<10}  {self.what}\n{"":<12}{self.happened}'


def load(path: Path) -> Expectations:
    """Read a file; ExpectError says what is wrong with it."""
    try:
        content = yaml.safe_load(path.read_text('utf-8'))
    except OSError as error:
        raise ExpectError(f'{path}: {error.strerror}') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ExpectError(f'{path}: {error}') from None
    if not isinstance(content, dict):
        raise ExpectError(f'{path}: keys are events, numbers, unexpected')
    unknown = set(content) - {'events', 'numbers', 'unexpected'}
    if unknown:
        raise ExpectError(f'{path}: unknown key {", ".join(sorted(map(str, unknown)))}')
    unexpected = content.get('unexpected', 'MSL')
    if unexpected not in (*LEVELS[1:], IGNORE):
        raise ExpectError(f'{path}: unexpected: {unexpected!r}; MOL, RSL, MSL or ignore')
    events = [_event(one, f'{path}: events[{i}]') for i, one in _items(content, 'events', path)]
    numbers = [
        _number(one, f'{path}: numbers[{i}]') for i, one in _items(content, 'numbers', path)
    ]
    if not events and not numbers:
        raise ExpectError(f'{path}: it expects nothing')
    return Expectations(tuple(events), tuple(numbers), unexpected)


def _items(content: Mapping[str, Any], key: str, path: Path) -> list[tuple[int, Any]]:
    items = content.get(key) or []
    if not isinstance(items, list) or not all(isinstance(one, dict) for one in items):
        raise ExpectError(f'{path}: {key}: a list of mappings')
    return list(enumerate(items))


def _event(one: Mapping[str, Any], where: str) -> ExpectedEvent:
    kinds = [kind for kind in KINDS if kind in one]
    unknown = set(one) - {*KINDS, 'place', 'level', 'within'}
    if len(kinds) != 1 or unknown or 'place' not in one:
        raise ExpectError(f'{where}: one of {", ".join(KINDS)}, with place, within, and level')
    level = str(one.get('level', ''))
    if level not in LEVELS:
        raise ExpectError(f'{where}.level: {level!r}; MOL, RSL or MSL')
    window = one.get('within')
    if not (isinstance(window, list) and len(window) == 2 and all(map(_finite, window))):
        raise ExpectError(f'{where}.within: {window!r}; [first, last] in s')
    if window[0] > window[1]:
        raise ExpectError(f'{where}.within: {window!r}; it ends before it begins')
    event = Event(math.nan, kinds[0], str(one[kinds[0]]), str(one['place']), level)
    return ExpectedEvent(event, float(window[0]), float(window[1]))


def _number(one: Mapping[str, Any], where: str) -> ExpectedNumber:
    names = [name for name in NUMBERS if name in one]
    if len(names) != 1 or set(one) != {names[0], 'at', 'tolerance'}:
        raise ExpectError(f'{where}: one of {", ".join(NUMBERS)}, with at and tolerance')
    for key in (names[0], 'at', 'tolerance'):
        if not _finite(one[key]):
            raise ExpectError(f'{where}.{key}: {one[key]!r}; a number')
    return ExpectedNumber(
        names[0], float(one['at']), float(one[names[0]]), float(one['tolerance'])
    )


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def compare(expected: Expectations, outcome: Outcome) -> list[Difference]:
    """Return how the outcome differs, in the order of time."""
    left = list(outcome.events)
    differences: list[tuple[float, Difference]] = []
    for wanted in expected.events:
        same = [event for event in left if event.key == wanted.event.key]
        inside = [event for event in same if wanted.first <= event.time <= wanted.last]
        if inside:
            left.remove(inside[0])
            continue
        found = min(same, key=lambda event: _distance(event, wanted), default=None)
        if found is not None:
            left.remove(found)
        differences.append((wanted.first, _missed(wanted, found, outcome)))
    for event in left:
        if expected.unexpected != IGNORE and event.kind == 'fault':
            if Level[event.level] >= Level[expected.unexpected]:
                told = Difference('UNEXPECTED', f'{event} at {event.time:.3f} s', event.text)
                differences.append((event.time, told))
    for number in expected.numbers:
        value = outcome.series.at(number.name, number.at)
        if not abs(value - number.value) <= number.tolerance:  # NaN is not
            differences.append((number.at, _off(number, value)))
    return [difference for _, difference in sorted(differences, key=lambda pair: pair[0])]


def _distance(event: Event, wanted: ExpectedEvent) -> float:
    return max(wanted.first - event.time, event.time - wanted.last)


def _missed(wanted: ExpectedEvent, found: Event | None, outcome: Outcome) -> Difference:
    what = f'{wanted.event}, expected {wanted.first:.3f} to {wanted.last:.3f} s'
    if found is None:
        what_else = [
            f'{event} at {event.time:.3f} s'
            for event in outcome.events
            if (event.kind, event.what) == (wanted.event.kind, wanted.event.what)
            or (event.kind, event.place) == (wanted.event.kind, wanted.event.place)
        ]
        instead = f'; instead: {", ".join(what_else[:3])}' if what_else else ''
        return Difference('MISSING', what, f'it did not happen{instead}')
    if found.time > wanted.last:
        late = found.time - wanted.last
        return Difference('LATE', what, f'at {found.time:.3f} s, {late:.3f} s too late')
    early = wanted.first - found.time
    return Difference('EARLY', what, f'at {found.time:.3f} s, {early:.3f} s too early')


def _off(number: ExpectedNumber, value: float) -> Difference:
    unit = NUMBERS[number.name].split(',')[0]
    what = f'{number.name} at {number.at:.3f} s: {number.value:g} +- {number.tolerance:g} ({unit})'
    return Difference('VALUE', what, f'{value:.6g}, off by {value - number.value:+.4g}')


# -- writing ----------------------------------------------------------------------------------

WINDOW = 0.15  # s, to either side
TELLING = ('CONNECTED', 'LEAVING', 'FAULTED', 'OPEN')  # states that an expectation is about
TOLERANCES = {'soc': 0.04, 'soc_min': 0.04, 'charge_limit': 1.0, 'discharge_limit': 1.0}
SHARE = 0.3  # of a limit that is not 0: derating is a matter of taste, forbidding is not


def proposal(outcome: Outcome) -> str:
    """Return a file that expects what came, for a person to read and to keep."""
    events = [
        {
            event.kind: event.what,
            **({'level': event.level} if event.level else {}),
            'place': event.place,
            'within': [round(max(event.time - WINDOW, 0.0), 2), round(event.time + WINDOW, 2)],
        }
        for event in outcome.events
        if (event.kind == 'state' and event.what in TELLING)
        or (event.kind != 'state' and event.level != 'MOL')
    ]
    numbers = []
    times = {round(_quiet(outcome, k / 4 * outcome.duration), 2) for k in range(1, 5)}
    for at in sorted(times):
        for name, tolerance in TOLERANCES.items():
            value = outcome.series.at(name, at)
            if np.isfinite(value):
                allowed = max(tolerance, SHARE * value if 'limit' in name else 0.0)
                numbers.append({name: round(value, 4), 'at': at, 'tolerance': round(allowed, 2)})
    lines = ['unexpected: RSL', 'events:', *(f'  - {_flow(one)}' for one in events)]
    if not events:
        lines[1] = 'events: []'
    return '\n'.join([*lines, 'numbers:', *(f'  - {_flow(one)}' for one in numbers), ''])


def _quiet(outcome: Outcome, time: float) -> float:
    """Return a time near `time` that is not near an event: the middle between two at worst."""
    before = max((e.time for e in outcome.events if e.time <= time), default=0.0)
    after = min((e.time for e in outcome.events if e.time > time), default=outcome.duration)
    calm = 2 * WINDOW
    if after - before < 2 * calm:
        return (before + after) / 2
    return min(max(time, before + calm), after - calm)


def _flow(one: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(one), default_flow_style=True, sort_keys=False, width=200).strip()
