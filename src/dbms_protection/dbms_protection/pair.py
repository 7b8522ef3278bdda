# SPDX-License-Identifier: Apache-2.0
"""When a guard of a pair asks for office, and when it has lost it. Times in s, steady.

The driver of the contactors is the arbiter: what is decided here is only when to ask it.
"""

import math
from dataclasses import dataclass, field

from .contactors import ALL_OPEN, Contacts

RENEWALS = 3  # per lease
INCOMPLETE = 2.0  # leases, after which office is entered with what was granted


@dataclass
class Pair:
    """One guard's view of the other."""

    name: str
    lease: float  # s, the shortest of the pack
    patience: float  # s, that it waits for another one when it knows of none
    term: int = 0  # of its own office, or of what it asks for
    leading: bool = False
    highest: int = 0
    leaving: tuple[int, ...] = ()  # strings that the other one was opening announced
    granted: dict[int, tuple[Contacts, float]] = field(default_factory=dict)
    other: str = ''  # who was heard last, in office
    _heard: float = -math.inf
    _since: float = -math.inf  # when it began to look on
    _worked: float = -math.inf
    _first: float = -math.inf  # when what was granted first was asked for

    def look_on(self, now: float) -> None:
        """Begin to look on."""
        self.leading = False
        self._since, self._heard = now, -math.inf
        self.granted.clear()
        self.leaving = ()

    def held_up(self, now: float) -> float:
        """Return for how many s it was held up in office, if so long that it must be lost."""
        gap, self._worked = now - self._worked, now
        return gap if self.leading and math.isfinite(gap) and gap > self.lease else 0.0

    def beat(self, guard: str, term: int, leaving: tuple[int, ...], now: float) -> bool:
        """Take a sign of life; tell whether it ends the own office or the asking for it."""
        if guard == self.name:
            return False
        self.highest = max(self.highest, term)
        mine = self.leading or bool(self.granted)
        if mine and (term < self.term or (term == self.term and guard > self.name)):
            return False
        self._heard, self.other, self.leaving = now, guard, leaving
        return mine

    def silent(self, now: float) -> bool:
        """Tell whether nobody seems to be in office."""
        if math.isinf(self._heard):
            return now - self._since > self.patience
        return now - self._heard > self.lease / RENEWALS

    def told(self, now: float) -> tuple[bool, str]:
        """Tell whether this guard does its part, and in words which."""
        if self.leading:
            return True, f'in office, term {self.term}'
        if math.isinf(self._heard):
            return False, 'has heard no guard in office yet'
        if self.silent(now):
            return False, f'hears {self.other} no more, for {now - self._heard:.2f} s'
        return True, f'stands by: {self.other} is in office, term {self.highest}'

    def asks(self, strings: int, now: float) -> list[int]:
        """Return the strings to ask for now; none unless nobody seems to be in office."""
        if self.leading or not (self.granted or self.silent(now)):
            return []
        if not self.granted:
            self.term = self.highest + 1
        again = self.lease / RENEWALS
        return [
            index
            for index in range(strings)
            if index not in self.granted or now - self.granted[index][1] >= again
        ]

    def answer(self, index: int, contacts: Contacts, at: float, accepted: bool, term: int) -> None:
        """Take the driver's answer to what was asked at `at`; `term`: the highest it knows."""
        self.highest = max(self.highest, term)
        if accepted and not self.leading:
            if not self.granted:
                self._first = at
            self.granted[index] = (contacts, at)

    def lapsed(self, now: float) -> bool:
        """Tell whether something granted closed has run out before office was entered."""
        return not self.leading and any(
            contacts != ALL_OPEN and now - at > self.lease
            for contacts, at in self.granted.values()
        )

    def complete(self, strings: int, now: float) -> bool:
        """Tell whether office is to be entered: all granted, or what can be had."""
        if self.leading or not self.granted:
            return False
        return len(self.granted) == strings or now - self._first > INCOMPLETE * self.lease
