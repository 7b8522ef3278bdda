# SPDX-License-Identifier: Apache-2.0
"""The book of faults: what is wrong or was wrong, where, since when, how bad it got."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from dbms_pack import Level


@dataclass(frozen=True, order=True)
class Place:
    """Where a fault is: of a cell or sensor (1-based), a module, a whole string; '': the pack."""

    string: str
    module: str = ''
    cell: int = 0
    sensor: int = 0

    def __str__(self) -> str:
        parts = [f'string {self.string}' if self.string else 'the pack']
        if self.module:
            parts = [f'module {self.module}']
        if self.cell:
            parts.append(f'cell {self.cell}')
        if self.sensor:
            parts.append(f'temperature sensor {self.sensor}')
        return ' '.join(parts)


@dataclass
class Fault:
    """One fault at one level. Times are in s of the guard's time base."""

    name: str
    level: Level
    place: Place
    value: float  # newest measurement; NaN: there was nothing to measure
    limit: float  # NaN: there is no number to it
    unit: str
    since: float  # when the condition began
    raised: float  # when it was confirmed
    under: bool = False  # the limit is one from below
    active: bool = True
    latched: bool = False
    cause: str = ''  # said instead of value and limit where there is more to say
    worst: float = math.nan
    action: str = ''  # of an MSL: 'leave' or 'open'; '': as its name demands
    reset: str = 'over'  # 'named': whoever resets it has to name it

    @property
    def text(self) -> str:
        """One sentence for a person."""
        what = f'{self.name} {self.level.name} at {self.place}'
        if self.cause:
            return f'{what}: {self.cause}'
        if math.isnan(self.limit):
            return what
        side = 'at least' if self.under else 'at most'
        return (
            f'{what}: {self.value:.4g} {self.unit}, {side} {self.limit:.4g} {self.unit} allowed, '
            f'worst {self.worst:.4g} {self.unit}'
        )

    def measure(self, value: float) -> None:
        """Take over a newer value; NaN is not one."""
        if math.isnan(value):
            return
        self.value = value
        if math.isnan(self.worst) or (value < self.worst if self.under else value > self.worst):
            self.worst = value


Key = tuple[str, Level, Place]


class FaultBook:
    """All faults that are active or latched.

    It is bounded by nature: one entry per name, level and place of the pack. `events` collects
    a line for everything that was raised, ended or reset, until the caller takes them.
    """

    def __init__(self) -> None:
        self._faults: dict[Key, Fault] = {}
        self._msl: dict[str, dict[Key, Fault]] = {}
        self.version = 0  # +1 with every change but that of a value
        self.events: list[tuple[Level | None, str]] = []  # None: good news
        # Told of every change at the moment it is made; has to be quick.
        self.listener: Callable[[str, Fault], None] | None = None

    def __len__(self) -> int:
        return len(self._faults)

    def get(self, name: str, level: Level, place: Place) -> Fault | None:
        """Return the fault, or None."""
        return self._faults.get((name, level, place))

    def put(self, fault: Fault) -> Fault:
        """Raise a fault, or take up again the one that stands at the same place and level."""
        key = (fault.name, fault.level, fault.place)
        known = self._faults.get(key)
        if known is not None:
            if not known.active:
                known.active = True
                known.since, known.raised = fault.since, fault.raised
                self._note(known.level, known, 'again')
            known.latched = known.latched or fault.latched
            known.cause = fault.cause
            known.measure(fault.value)
            return known
        fault.worst = fault.value
        self._faults[key] = fault
        if fault.level is Level.MSL:
            self._msl.setdefault(fault.place.string, {})[key] = fault
        self._note(fault.level, fault, 'raised')
        return fault

    def restore(self, fault: Fault) -> None:
        """Take up a latched fault of an earlier run, unless it stands already."""
        key = (fault.name, fault.level, fault.place)
        if key in self._faults:
            return
        self._faults[key] = fault
        if fault.level is Level.MSL:
            self._msl.setdefault(fault.place.string, {})[key] = fault
        self._note(fault.level, fault, 'stands from before')

    def forget(self, fault: Fault) -> None:
        """Drop a fault that was reset elsewhere."""
        self._remove(fault, 'reset at the other guard')

    def latched(self) -> list[Fault]:
        """Return the faults that stay until a reset."""
        return [fault for fault in self._faults.values() if fault.latched]

    def end(self, name: str, level: Level, place: Place) -> None:
        """Say that the condition is over: the fault goes, unless it is latched."""
        fault = self._faults.get((name, level, place))
        if fault is None or not fault.active:
            return
        fault.active = False
        if fault.latched:
            self._note(None, fault, 'over, latched until reset')
        else:
            self._remove(fault, 'over')

    def reset(self, strings: Collection[str], reason: str = '') -> tuple[int, list[Fault]]:
        """Forget latched faults of `strings` whose cause is gone.

        Returns how many went, and the latched ones that stay: because they are still active, or
        because `reason` does not name one that has to be named.
        """
        mine = [f for f in self._faults.values() if f.latched and f.place.string in strings]
        for fault in mine:
            if not fault.active and (fault.reset != 'named' or fault.name in reason.upper()):
                self._remove(fault, 'reset')
        stay = [fault for fault in mine if self.get(fault.name, fault.level, fault.place)]
        return len(mine) - len(stay), sorted(stay, key=_rank)

    def blocking(self, string: str) -> list[Fault]:
        """Return the MSL faults, active or latched, that keep a string open, worst first."""
        return sorted(self._msl.get(string, {}).values(), key=_rank)

    def blocks(self, string: str) -> bool:
        """Tell whether any MSL fault, active or latched, keeps a string open."""
        return bool(self._msl.get(string))

    def listing(self) -> list[Fault]:
        """Return what a person should see, worst first, in an order that does not jump.

        A milder level of something that stands at a worse level too is left out.
        """
        listed: list[Fault] = []
        seen: set[tuple[str, Place]] = set()
        for fault in sorted(self._faults.values(), key=_rank):
            if (fault.name, fault.place) not in seen:
                seen.add((fault.name, fault.place))
                listed.append(fault)
        return listed

    def active(self) -> Iterable[Fault]:
        """Return the faults whose condition holds."""
        return (fault for fault in self._faults.values() if fault.active)

    def _remove(self, fault: Fault, why: str) -> None:
        key = (fault.name, fault.level, fault.place)
        del self._faults[key]
        if fault.level is Level.MSL:
            del self._msl[fault.place.string][key]
        self._note(None, fault, why)

    def _note(self, level: Level | None, fault: Fault, what: str) -> None:
        self.version += 1
        self.events.append((level, f'{what}: {fault.text}'))
        if self.listener is not None:
            self.listener(what, fault)


def _rank(fault: Fault) -> tuple[int, bool, float, str, Place]:
    return (-fault.level, not fault.active, fault.raised, fault.name, fault.place)
