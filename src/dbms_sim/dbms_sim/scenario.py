# SPDX-License-Identifier: Apache-2.0
"""Scenarios as values: a run of the whole system on a simulated pack and what is expected of it.

A file that cannot be run as it is meant is refused with file, line, key, value and remedy.
What the keys mean: docs/simulation.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbms_pack import PackError, load_pack, paths
from dbms_pack.document import Document, KeyPath, parse, read_text, shown
from dbms_pack.errors import Problem
from dbms_pack.model import Pack
from dbms_pack.schema import check
from dbms_sim.current_sensor import PERFECT, SensorQuality
from dbms_sim.loads import make_load
from dbms_sim.scenario_words import Condition, Words

DEFAULT_WITHIN = 1.0  # s
LONGEST = 400 * 86400.0  # s
COMMANDS = ('connect', 'disconnect', 'reset')
ACTIONS = ('inject', 'clear', *COMMANDS, 'load')
STARTS = ('connected', 'standby')


@dataclass(frozen=True)
class Action:
    """Something done to the pack at a time in s."""

    at: float
    kind: str  # one of ACTIONS
    name: str  # of the fault or load; of commands: the string, '' for all
    place: str = ''
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        place = f' at {self.place}' if self.place else ''
        return f'{self.kind} {self.name or "all"}{place}'


@dataclass(frozen=True)
class Expectation:
    """A condition that comes true from `at` to `until`, or holds all that time; s."""

    at: float
    until: float
    holds: bool
    condition: Condition
    line: int


@dataclass(frozen=True)
class Scenario:
    """A scenario whose every name and number was checked. Times in s of battery time."""

    path: Path
    purpose: str
    pack: Pack
    load: str
    initial_soc: float
    temperature: float  # degC, of the cells at the start
    ambient: float  # degC
    seed: int
    time_scale: float
    duration: float
    connected: bool  # its clock starts when all strings are connected
    actions: tuple[Action, ...]  # by time
    expectations: tuple[Expectation, ...]  # by the line they are on
    current_sensor: SensorQuality = PERFECT

    @property
    def name(self) -> str:
        """Name of its file."""
        return self.path.stem

    @property
    def has_faults(self) -> bool:
        """Whether something is broken in it."""
        return any(action.kind == 'inject' for action in self.actions)


def load_scenario(path_or_name: str | Path) -> Scenario:
    """Load a scenario by path or by the name of a shipped one; PackError if it is not right."""
    path = paths.find('scenarios', path_or_name)
    return load_scenario_text(read_text(path), path)


def load_scenario_text(text: str, path: Path) -> Scenario:
    """Load a scenario from text that came from `path`."""
    document = parse(text, path)
    data, problems = check(document, 'scenario', 'dbms_sim')
    if not isinstance(data, dict):
        raise PackError(problems)
    reader = _Reader(document, data, problems)
    scenario = reader.read()
    if problems or scenario is None:
        raise PackError(sorted(problems, key=lambda problem: problem.line))
    return scenario


class _Reader:
    """Reads a document whose every value has the right type, or is None."""

    def __init__(self, document: Document, data: Mapping[str, Any], problems: list[Problem]):
        self._document = document
        self._data = data
        self._problems = problems
        self._pack = self._load_pack()
        self._words: Words | None = None
        if self._pack is not None:
            self._words = Words(self._pack, self._complain)
        self._actions: list[Action] = []
        self._expectations: list[Expectation] = []

    def read(self) -> Scenario | None:
        """Return the scenario, or None where there are problems."""
        data = self._data
        duration = self._time(('duration',), data.get('duration'))
        self._end = duration or LONGEST
        self._entries(data.get('timeline') or [])
        for key, begin in (('always', 0.0), ('finally', self._end)):
            for index, value in enumerate(data.get(key) or []):
                self._expect((key, index), value, begin, self._end, holds=True)
        start = data.get('start') or 'connected'
        if start not in STARTS:
            self._complain(('start',), shown(start), f'one of: {", ".join(STARTS)}')
        load = self._load(('load',), data.get('load', 'rest'))
        self._must_expect_something()
        if self._problems or self._pack is None or duration is None:
            return None
        ambient = float(data.get('ambient', 25.0))
        return Scenario(
            path=self._document.path,
            purpose=data['purpose'],
            pack=self._pack,
            load=load,
            initial_soc=float(data.get('initial_soc', 0.8)),
            temperature=float(data.get('temperature', ambient)),
            ambient=ambient,
            seed=int(data.get('seed', 0)),
            time_scale=float(data.get('time_scale', 1.0)),
            duration=duration,
            connected=start == 'connected',
            actions=tuple(sorted(self._actions, key=lambda action: action.at)),
            expectations=tuple(sorted(self._expectations, key=lambda one: one.line)),
            current_sensor=SensorQuality(**(data.get('current_sensor') or {})),
        )

    def _complain(self, key: KeyPath, found: str, allowed: str) -> None:
        self._problems.append(self._document.problem(key, found, allowed))

    def _load_pack(self) -> Pack | None:
        name = self._data.get('pack')
        if name is None:
            return None
        try:
            return load_pack(paths.find('packs', name, beside=self._document.path.parent))
        except PackError as error:
            first = error.problems[0]
            self._complain(('pack',), f'{name!r}: {first.found}', first.allowed)
            return None

    def _time(self, key: KeyPath, value: Any) -> float | None:
        if value is None:
            return None
        try:
            seconds = parse_time(value)
        except ValueError as error:
            self._complain(key, shown(value), str(error))
            return None
        if not 0.0 <= seconds <= LONGEST or (key == ('duration',) and seconds == 0.0):
            allowed = 'a time from 0 on' if seconds < 0.0 else f'at most {LONGEST:g} s, above 0'
            self._complain(key, shown(value), allowed)
            return None
        return seconds

    def _entries(self, entries: list[Any]) -> None:
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                continue
            key: KeyPath = ('timeline', index)
            at = self._time((*key, 'at'), entry.get('at'))
            if at is None:
                continue
            if at > self._end:
                self._complain(
                    (*key, 'at'), shown(entry['at']),
                    f'at most the duration, {self._end:g} s: make the duration longer',
                )  # fmt: skip
            self._entry(key, entry, at)

    def _entry(self, key: KeyPath, entry: Mapping[str, Any], at: float) -> None:
        kinds = [kind for kind in ACTIONS if kind in entry]
        if len(kinds) > 1:
            self._complain(
                (*key, kinds[1]), f'{kinds[0]} and {kinds[1]}', 'one action: make two entries'
            )
        elif kinds and entry[kinds[0]] is not None:
            self._action(key, entry, at, kinds[0])
        elif not kinds and not entry.get('expect'):
            self._complain(key, 'nothing to do', f'one of: {", ".join(ACTIONS)}, expect')
        for name in ('place', 'with'):
            if name in entry and not ({'inject', 'clear'} & set(kinds)):
                self._complain((*key, name), f'{name} without inject or clear', 'leave it out')
        if 'within' in entry and 'during' in entry:
            self._complain((*key, 'during'), 'within and during', 'one of them')
        until = self._until(key, entry, at)
        for index, value in enumerate(entry.get('expect') or []):
            where = (*key, 'expect', index)
            self._expect(where, value, at, until, holds='during' in entry)

    def _until(self, key: KeyPath, entry: Mapping[str, Any], at: float) -> float:
        name = 'during' if 'during' in entry else 'within'
        if name in entry and not entry.get('expect'):
            self._complain((*key, name), f'{name} without expect', 'what is expected')
        span = self._time((*key, name), entry.get(name, DEFAULT_WITHIN)) or 0.0
        if entry.get('expect') and at <= self._end < at + span:
            self._complain(
                (*key, name), f'until {at + span:g} s',
                f'an end within the duration, {self._end:g} s',
            )  # fmt: skip
        return at + span

    def _action(self, key: KeyPath, entry: Mapping[str, Any], at: float, kind: str) -> None:
        name, place = entry[kind], entry.get('place') or ''
        parameters = entry.get('with') or {}
        if self._words is None:
            return
        if kind in ('inject', 'clear'):
            self._words.check_fault(key, kind, name, place, parameters)
        elif kind == 'load':
            name = self._load((*key, 'load'), name)
        else:
            name = '' if name == 'all' else self._words.string((*key, kind), name)
        self._actions.append(Action(at, kind, name, place, parameters))

    def _load(self, key: KeyPath, name: Any) -> str:
        if not isinstance(name, str) or self._pack is None:
            return 'rest'
        beside = self._document.path.parent / name
        if name.endswith(('.csv', '.csv.gz')) and beside.is_file():
            name = str(beside.resolve())
        try:
            make_load(name, self._pack)
        except (ValueError, OSError) as error:
            self._complain(key, shown(name), str(error))
        return name

    def _expect(self, key: KeyPath, value: Any, at: float, until: float, *, holds: bool) -> None:
        if self._words is None or not isinstance(value, dict):
            return
        condition = self._words.condition(key, value)
        if condition is not None:
            line = self._document.line(key)
            self._expectations.append(Expectation(at, until, holds, condition, line))

    def _must_expect_something(self) -> None:
        if not (self._expectations or self._problems):
            self._complain((), 'nothing is expected', 'an expect, always or finally')


def parse_time(value: Any) -> float:
    """Return a time in s: a number, or a text with a unit; ValueError says what is right."""
    units = {'ms': 1e-3, 's': 1.0, 'min': 60.0, 'h': 3600.0, 'd': 86400.0}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        number, _, unit = value.strip().partition(' ')
        try:
            seconds = float(number) * units[unit.strip()]
        except (ValueError, KeyError):
            pass
        else:
            if seconds == seconds and abs(seconds) != float('inf'):
                return seconds
    raise ValueError(f'a time: seconds, or a text with a unit ({", ".join(units)}), as 5 min')
