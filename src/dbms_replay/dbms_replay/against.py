# SPDX-License-Identifier: Apache-2.0
"""Comparing the outputs of two versions: two bags with what the nodes said."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .bags import Bag, BagTopic
from .decoding import Decoder, Decoders, Refused
from .outcome import NUMBERS, Event, Outcome, Series, level_name

OUTPUTS = ('protection/state', 'faults', 'limits', 'cells/state')
# What counts as a difference. Times in s.
TIME = 0.1
SAME = 60.0  # between the beginnings of two bags that are of one recording
TOLERANCES = {'soc': 0.005, 'soc_min': 0.005, 'soc_max': 0.005, 'charge_limit': 0.5,
              'discharge_limit': 0.5}  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Lines for a person, and whether anything differs by more than it may."""

    lines: list[str]
    differs: bool


def said(path: Path) -> Outcome:
    """Return what the nodes said in a bag, as events and numbers. Times from its first message."""
    bag = Bag(path)
    outcome = Outcome(problems=bag.problems)
    reader = _Reader(outcome)
    decoders = Decoders(Counter())
    known: dict[BagTopic, tuple[Decoder, Callable[[Any, float], None]] | None] = {}
    start: int | None = None
    for topic, time, data in bag.messages():
        if topic is None:
            continue
        if topic not in known:
            known[topic] = reader.taker(topic, decoders)
        taker = known[topic]
        if taker is None:
            continue
        if start is None:
            start = outcome.start = time
        now = (time - start) * 1e-9
        try:
            taker[1](taker[0](data), now)
        except (Refused, AttributeError) as error:
            outcome.problems[str(error)] += 1
        outcome.duration = max(outcome.duration, now)
    return outcome


class _Reader:
    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._states: dict[str, str] = {}
        self._faults: dict[tuple[Any, ...], Event] = {}
        self._over: set[tuple[Any, ...]] = set()
        self._limits = (float('nan'), float('nan'))

    def taker(
        self, topic: BagTopic, decoders: Decoders
    ) -> tuple[Decoder, Callable[[Any, float], None]] | None:
        takers = dict(zip(OUTPUTS, (self._state, self._fault, self._limit, self._cells),
                          strict=True))  # fmt: skip
        take = next(
            (take for name, take in takers.items() if topic.name.endswith(f'/{name}')), None
        )
        decode = decoders.of(topic) if take is not None else None
        return None if take is None or decode is None else (decode, take)

    def _state(self, message: Any, now: float) -> None:
        for one in message.strings:
            if self._states.get(one.name) != one.state_name:
                self._states[one.name] = one.state_name
                self._outcome.events.append(
                    Event(now, 'state', one.state_name, one.name, '', one.reason)
                )

    def _fault(self, message: Any, now: float) -> None:
        active: dict[tuple[Any, ...], Event] = {}
        over: dict[tuple[Any, ...], Event] = {}
        for one in message.faults:
            place = one.module or one.string_name
            if one.cell or one.sensor:
                place += f':{one.cell}' if one.cell else f':t{one.sensor}'
            event = Event(now, 'fault', one.name, place, level_name(one.level), one.text)
            (active if one.active else over)[event.key] = event
        for key, event in over.items():
            # Latched and over when first told of: it was, between two messages.
            if key not in self._faults and key not in self._over:
                self._outcome.events += [event, replace(event, kind='over', text='')]
        self._over = set(over)
        for key, event in list(self._faults.items()):
            if key not in active:
                del self._faults[key]
                self._outcome.events.append(
                    Event(now, 'over', event.what, event.place, event.level)
                )
        for key, event in active.items():
            if key not in self._faults:
                self._faults[key] = event
                self._outcome.events.append(event)

    def _limit(self, message: Any, now: float) -> None:
        self._limits = message.charge_current, message.discharge_current

    def _cells(self, message: Any, now: float) -> None:
        series = self._outcome.series
        soc = np.asarray(message.soc, float)
        if not series.due(now) or not soc.size:
            return
        values = dict.fromkeys(NUMBERS, float('nan'))
        values.update(
            soc=soc.mean(), soc_min=soc.min(), soc_max=soc.max(),
            soc_sigma=np.max(message.soc_sigma),
            charge_limit=self._limits[0], discharge_limit=self._limits[1],
        )  # fmt: skip
        series.add(now, values)


def compare(new: Outcome, old: Outcome) -> Comparison:
    """Compare what two versions said."""
    # Of one recording both count from the same moment, whichever topic spoke first.
    shift = (old.start - new.start) * 1e-9
    if abs(shift) > SAME:
        shift = 0.0
    then = [replace(event, time=event.time + shift) for event in old.events]
    lines, differs = _events(new.events, then)
    for name, tolerance in TOLERANCES.items():
        worst, at = _worst(new.series, old.series, name, shift)
        beyond = worst > tolerance
        differs |= beyond
        mark = '!' if beyond else ' '
        told = (
            f'at most {worst:.4g} apart, at {at:.1f} s' if worst == worst else 'nothing in common'
        )
        lines.append(f'{mark} {name}: {told} (allowed {tolerance:g})')
    return Comparison(lines, differs)


def _events(new: Iterable[Event], old: Iterable[Event]) -> tuple[list[str], bool]:
    lines, differs = [], False
    left = list(old)
    for event in new:
        then = next((one for one in left if one.key == event.key), None)
        if then is None:
            lines.append(f'! new    {event.time:9.3f} s  {event}')
            differs = True
            continue
        left.remove(then)
        shift = event.time - then.time
        if abs(shift) > TIME:
            lines.append(f'! moved  {event.time:9.3f} s  {event}: {shift:+.3f} s')
            differs = True
    for event in left:
        lines.append(f'! gone   {event.time:9.3f} s  {event}')
        differs = True
    return lines, differs


def _worst(new: Series, old: Series, name: str, shift: float) -> tuple[float, float]:
    """Return the largest difference of a number, and when; NaN if there is none to take."""
    times = new.time
    if not times.size or not old.time.size:
        return float('nan'), float('nan')
    index = np.searchsorted(old.time + shift, times, side='right') - 1
    inside = index >= 0
    gaps = np.abs(new[name][inside] - old[name][index[inside]])
    if not np.isfinite(gaps).any():
        return float('nan'), float('nan')
    worst = int(np.nanargmax(gaps))
    return float(gaps[worst]), float(times[inside][worst])
