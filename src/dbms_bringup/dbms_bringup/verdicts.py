# SPDX-License-Identifier: Apache-2.0
"""Judges a scenario: what was expected, what happened, and when. Knows no ROS and no clock."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dbms_pack import Pack
from dbms_sim.scenario import Expectation
from dbms_sim.scenario_words import VALUES, Condition, Place

from .story import LEVELS, FaultSeen

FloatArray = npt.NDArray[np.float64]


def _nothing() -> FloatArray:
    return np.full(0, np.nan)


@dataclass
class View:
    """What is known of a run at a moment: what the topics say, and the simulator's truth."""

    pack: Pack
    state: str = ''
    strings: dict[str, tuple[str, str]] = field(default_factory=dict)  # state, reason
    faults: Sequence[FaultSeen] = ()
    answer: str = ''  # accepted or refused, of the last command
    answer_text: str = ''
    limits: tuple[float, float] = (math.nan, math.nan)  # A, charge and discharge
    soc_estimate: float = math.nan
    measured: FloatArray = field(default_factory=_nothing)  # (cells,) V
    insulation: dict[str, float] = field(default_factory=dict)  # Ohm by string
    measured_currents: dict[str, float] = field(default_factory=dict)  # A by string
    string_voltages: dict[str, float] = field(default_factory=dict)  # V by string
    scan_rates: dict[str, float] = field(default_factory=dict)  # 1/s by module
    status: dict[str, frozenset[str]] = field(default_factory=dict)  # bits by module or string
    # The truth.
    voltages: FloatArray = field(default_factory=_nothing)  # (cells,) V
    temperatures: FloatArray = field(default_factory=_nothing)  # (cells,) degC
    currents: FloatArray = field(default_factory=_nothing)  # (strings,) A
    soc: float = math.nan
    link_voltage: float = math.nan
    connected: dict[str, bool] = field(default_factory=dict)  # both mains closed, by string

    def values(self, condition: Condition) -> FloatArray:
        """Return the values that a bound is on; none where nothing is known."""
        place = condition.place
        of_cells: Mapping[str, FloatArray] = {
            'cell_voltage': self.voltages,
            'measured_cell': self.measured,
            'measured_error': self._errors(),
            'temperature': self.temperatures,
        }
        of_places: Mapping[str, Mapping[str, float]] = {
            'insulation': self.insulation,
            'measured_current': self.measured_currents,
            'string_drop': self._drops(),
            'scan_rate': self.scan_rates,
        }
        if condition.kind in of_cells:
            array = of_cells[condition.kind]
            values = array[self._cells(place)] if len(array) else array
        elif condition.kind in of_places:
            known = of_places[condition.kind]
            name = place.module or place.string
            values = np.array([known.get(name, math.nan)] if name else list(known.values()))
        else:
            values = np.array([self._value(condition.kind, place)])
        return np.asarray(values[~np.isnan(values)], dtype=np.float64)

    def _value(self, kind: str, place: Place) -> float:
        if kind == 'current':
            if not len(self.currents):
                return math.nan
            names = [string.name for string in self.pack.strings]
            part = self.currents[names.index(place.string)] if place.string else self.currents
            return float(np.sum(part))
        values = {
            'soc': self.soc,
            'soc_error': abs(self.soc_estimate - self.soc),
            'charge_limit': self.limits[0],
            'discharge_limit': self.limits[1],
            'link_voltage': self.link_voltage,
        }
        return values[kind]

    def _errors(self) -> FloatArray:
        known = len(self.measured) == len(self.voltages)
        return self.measured - self.voltages if known else _nothing()

    def _drops(self) -> dict[str, float]:
        if not len(self.measured):
            return {}
        return {
            string.name: float(self.measured[string.cell_slice].sum()) - voltage
            for string in self.pack.strings
            if (voltage := self.string_voltages.get(string.name, math.nan)) == voltage
        }

    def _cells(self, place: Place) -> slice:
        if not place.module:
            return slice(None)
        module = self.pack.module(place.module)
        if not place.cell:
            return module.cell_slice
        first = module.first_cell + place.cell - 1
        return slice(first, first + 1)


def matching(condition: Condition, faults: Iterable[FaultSeen]) -> list[FaultSeen]:
    """Return the faults that a condition names; a place covers what lies in it."""
    place = condition.place
    return [
        fault
        for fault in faults
        if condition.name in ('any', fault.name)
        and condition.level in ('', LEVELS[fault.level])
        and (not place.module or fault.module == place.module)
        and (not place.cell or fault.cell == place.cell)
        and (not place.string or place.module or fault.string == place.string)
    ]


def is_true(condition: Condition, view: View) -> bool:
    """Tell whether a condition is met now; what is not known meets nothing."""
    kind, name, place = condition.kind, condition.name, condition.place
    if kind in VALUES:
        values = view.values(condition)
        above = condition.above is None or bool(np.all(values > condition.above))
        below = condition.below is None or bool(np.all(values < condition.below))
        return len(values) > 0 and above and below
    if kind == 'fault':
        return bool(matching(condition, view.faults))
    if kind == 'no_fault':
        return not matching(condition, view.faults)
    if kind == 'state':
        return view.state == name
    if kind == 'answer':
        return view.answer == name
    if kind == 'status':
        return name in view.status.get(place.module or place.string, frozenset())
    wanted = [place.string] if place.string else [string.name for string in view.pack.strings]
    if kind == 'contactors':
        return all(view.connected.get(one) is (name == 'connected') for one in wanted)
    states = [view.strings.get(one, ('', '')) for one in wanted]
    if kind == 'reason':
        return any(name.lower() in reason.lower() for _, reason in states)
    return all(state == name for state, _ in states)


def what_is(condition: Condition, view: View) -> str:
    """Say how it stands with what a condition is about."""
    kind, place = condition.kind, condition.place
    if kind in VALUES:
        values = view.values(condition)
        if not len(values):
            return 'not known'
        low, high = float(values.min()), float(values.max())
        unit = VALUES[kind]
        text = f'{low:.4g}' if low == high else f'{low:.4g} to {high:.4g}'
        return f'{text} {unit}'.strip()
    if kind in ('fault', 'no_fault'):
        found = matching(condition, view.faults)
        if found:
            return found[0].text
        others = sorted({f'{one.name} {LEVELS[one.level]} at {one.place}' for one in view.faults})
        return 'faults: ' + (', '.join(others) or 'none')
    if kind == 'state':
        return f'state {view.state}'
    if kind == 'answer':
        return f'{view.answer or "no answer"}: {view.answer_text}'
    if kind == 'status':
        bits = view.status.get(place.module or place.string, frozenset())
        return 'status ' + (', '.join(sorted(bits)) or 'clear')
    if kind == 'contactors':
        told = {one: 'connected' if on else 'open' for one, on in view.connected.items()}
        return ', '.join(f'{one} {text}' for one, text in told.items())
    return ', '.join(f'{one} {state} ({why})' for one, (state, why) in view.strings.items())


@dataclass(frozen=True)
class Verdict:
    """How an expectation ended. Time in s of the scenario."""

    time: float
    passed: bool
    expected: str
    happened: str
    line: int

    def __str__(self) -> str:
        word = 'pass' if self.passed else 'FAIL'
        return f'{word}  {self.time:9.2f} s  {self.expected}: {self.happened}'


class Judge:
    """Collects verdicts while a run goes on. Times in s of the scenario."""

    def __init__(self, expectations: Iterable[Expectation], view: View) -> None:
        self._view = view
        self._waiting = sorted(expectations, key=lambda one: one.at)
        self._pending: list[Expectation] = []
        self._seen: dict[int, tuple[float, float]] = {}  # extremes of a bound that holds
        self.verdicts: list[Verdict] = []

    @property
    def done(self) -> bool:
        """Tell whether nothing is expected any more."""
        return not (self._waiting or self._pending)

    def due(self) -> float:
        """Return the time at which something begins or ends next; inf if nothing does."""
        times = [one.until for one in self._pending]
        times += [one.at for one in self._waiting[:1]]
        return min(times, default=math.inf)

    def look(self, now: float) -> None:
        """Judge what is to be judged at `now`; call it whenever the view has changed."""
        while self._waiting and self._waiting[0].at <= now:
            self._pending.append(self._waiting.pop(0))
        for one in list(self._pending):
            verdict = self._judge(one, now)
            if verdict is not None:
                self._pending.remove(one)
                self.verdicts.append(verdict)

    def end(self, now: float, why: str) -> None:
        """Fail all that is still expected because the run ended early."""
        for one in [*self._pending, *self._waiting]:
            self.verdicts.append(Verdict(now, False, _expected(one), why, one.line))
        self._pending, self._waiting = [], []

    def _judge(self, one: Expectation, now: float) -> Verdict | None:
        met = is_true(one.condition, self._view)
        over = now >= one.until
        if one.holds:
            self._remember(one)
            if met and not over:
                return None
        elif not met and not over:
            return None
        happened = what_is(one.condition, self._view)
        if one.holds and met:
            happened = self._extremes(one) or happened
        return Verdict(now, met, _expected(one), happened, one.line)

    def _remember(self, one: Expectation) -> None:
        if one.condition.kind not in VALUES:
            return
        values = self._view.values(one.condition)
        if len(values):
            low, high = self._seen.get(id(one), (math.inf, -math.inf))
            self._seen[id(one)] = min(low, float(values.min())), max(high, float(values.max()))

    def _extremes(self, one: Expectation) -> str:
        if id(one) not in self._seen:
            return ''
        low, high = self._seen[id(one)]
        return f'{low:.4g} to {high:.4g} {VALUES[one.condition.kind]}'.strip()


def _expected(one: Expectation) -> str:
    span = one.until - one.at
    if not one.holds:
        return f'{one.condition} within {span:g} s'
    return f'{one.condition} for {span:g} s' if span else f'{one.condition} at {one.at:g} s'
