# SPDX-License-Identifier: Apache-2.0
"""The guard's eye on itself: self-test, cycles that come late, an event log that keeps nothing.

Knows neither ROS nor a clock: times are steady, in s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from dbms_pack import Level

from .contactors import NAMES
from .faults import Fault, Place
from .guard import Guard
from .measurements import Contact

PACK = Place('')
CYCLE_LATE, LOG_LOST = 'CYCLE_LATE', 'EVENT_LOG_LOST'
RECENT = 10.0  # s, that a late cycle is told
PATIENCE = 2.0  # s, for boards and drivers that begin to speak


class Outcome(IntEnum):
    """What became of a check."""

    WAITING = 0
    PASSED = 1
    FAILED = 2


@dataclass(frozen=True)
class Check:
    """One thing that is tested before a pack is relied on."""

    name: str
    outcome: Outcome
    text: str
    remedy: str = ''

    @property
    def line(self) -> str:
        """One sentence for a person."""
        what = f'self-test, {self.name}: {self.text}'
        return f'{what}; {self.remedy}' if self.remedy else what


class CycleWatch:
    """How punctual cycles are. `period` as asked for, `alarm`: a gap worth telling, in s."""

    def __init__(self, period: float, alarm: float) -> None:
        self.period, self.alarm = period, alarm
        self.cycles = 0
        self.overruns = 0  # cycles that began more than a period late
        self.worst = 0.0  # s, the longest gap between two cycles
        self._last: float | None = None
        self._late: tuple[float, float] | None = None  # when, and the gap

    def begin(self, now: float) -> None:
        """Note that a cycle begins."""
        last, self._last = self._last, now
        self.cycles += 1
        if last is None:
            return
        gap = now - last
        self.worst = max(self.worst, gap)
        self.overruns += gap > 2.0 * self.period
        if gap > self.alarm:
            self._late = (now, gap)

    def pause(self) -> None:
        """Note that cycles stop by order: what comes after is not late."""
        self._last = self._late = None

    def trouble(self, now: float) -> str:
        """Say what was late lately; '' if nothing was."""
        if self._late is None or now - self._late[0] > RECENT:
            return ''
        return (
            f'a cycle came after {self._late[1] * 1e3:.0f} ms instead of '
            f'{self.period * 1e3:.0f} ms: the machine is overloaded'
        )


class SelfTest:
    """What has to be seen once after a start: open contactors, drivers and stores that work."""

    def __init__(self, limits: str, log: Check) -> None:
        self.checks: dict[str, Check] = {}
        self._began: float | None = None
        self._news: list[Check] = []
        self._put(Check('limits', Outcome.PASSED, limits))
        self._put(log)

    def begin(self, now: float) -> None:
        """Begin with what can be seen only while the guard is active."""
        self._began = now

    def update(self, guard: Guard, now: float, commands: bool = True) -> list[Check]:
        """Look again at what has not passed; return what has changed.

        `commands`: the guard commands contactors, it does not only look on.
        """
        for index, string in enumerate(guard.strings):
            if not commands or not string.sequence.at_rest:
                continue  # not to be expected open
            name = f'contactors of string {guard.pack.strings[index].name}'
            known = self.checks.get(name)
            if known is None or known.outcome is not Outcome.PASSED:
                self._put(self._contactors(name, guard, index, now))
        news, self._news = self._news, []
        return news

    def _contactors(self, name: str, guard: Guard, index: int, now: float) -> Check:
        string = guard.strings[index]
        contacts = string.data.reading(guard.now).contacts
        text, remedy = '', ''
        closed = [n for n, c in zip(NAMES, contacts, strict=True) if c == Contact.CLOSED]
        if string.driver_unanswered:
            text = 'the driver has not answered an opening'
            remedy = f'start the driver that offers contactors/{string.string.name}/set'
        elif Contact.UNKNOWN in contacts:
            text, remedy = 'no feedback', 'look for the contactor unit, its bus and its driver'
        elif closed:
            text = f'{" and ".join(closed)} read closed, but should be open'
            remedy = 'look for a weld before anything is connected'
        elif Contact.FAULT in contacts:
            text, remedy = 'the unit reports faulty feedback', 'look at the auxiliary contacts'
        if not text:
            return Check(name, Outcome.PASSED, 'all read open, and the driver answers')
        began = now if self._began is None else self._began
        over = now - began > PATIENCE
        return Check(name, Outcome.FAILED if over else Outcome.WAITING, text, remedy)

    def _put(self, check: Check) -> None:
        known = self.checks.get(check.name)
        if check != known:
            self.checks[check.name] = check
            if check.outcome is not Outcome.WAITING:
                self._news.append(check)

    @property
    def outcome(self) -> Outcome:
        """The whole: failed if anything is, else waiting if anything is."""
        outcomes = {check.outcome for check in self.checks.values()}
        for one in (Outcome.FAILED, Outcome.WAITING):
            if one in outcomes:
                return one
        return Outcome.PASSED


def tell(guard: Guard, name: str, trouble: str) -> None:
    """Raise or end a warning that concerns the whole pack."""
    known = guard.book.get(name, Level.MOL, PACK)
    if not trouble:
        guard.book.end(name, Level.MOL, PACK)
    elif known is None or known.cause != trouble:
        now = guard.now
        guard.book.put(
            Fault(name, Level.MOL, PACK, math.nan, math.nan, '', now, now, cause=trouble)
        )


def log_check(path: str, problem: str, wanted: bool) -> Check:
    """Return what is to be said of an event log; `wanted`: events are to be kept."""
    if not wanted:
        return Check('event log', Outcome.PASSED, 'nothing is kept, as event_file says')
    if problem:
        remedy = 'make room or mend rights there, or set event_file to another place'
        return Check('event log', Outcome.FAILED, problem, remedy)
    return Check('event log', Outcome.PASSED, f'{path} can be written')


def summary(checks: Sequence[Check]) -> str:
    """Say in one sentence how a self-test went."""
    failed = [check.line for check in checks if check.outcome is Outcome.FAILED]
    waiting = [check.name for check in checks if check.outcome is Outcome.WAITING]
    if failed:
        return '; '.join(failed)
    return f'waiting for {", ".join(waiting)}' if waiting else 'passed'
