# SPDX-License-Identifier: Apache-2.0
"""The lease of one string's contactors: closed is never a state, only a promise with an end.

Time is an argument, in s on a steady clock.
"""

import math
from dataclasses import dataclass

from dbms_drivers.office import Office

RENEWALS = 3  # the command is sent again every lease / 3
MIN_LEASE = 0.02  # s, shorter ones end before the unit has acted
_HALF = 1 << 31


@dataclass(frozen=True, slots=True)
class Command:
    """What the contactor unit is told; `contacts` are minus, precharge, plus: true is closed."""

    contacts: tuple[bool, bool, bool]
    lease: float  # s
    sequence: int


OPEN = (False, False, False)


class ContactorLease:
    """Grants, renews and ends the lease of one string's contactors.

    Opening is never refused, but to a guard that was deposed. A call that closes is refused if its
    lease is not a number between 20 ms and what the pack allows, or if it is not newer than the
    last call. The order of calls is forgotten some time after the last one, because a caller that
    was restarted counts anew. Which of two guards may call, an `Office` says.

    A call closes one contactor more than is closed, never two: what renewed a lease that has run
    out since (a network may hold calls up and then deliver all of them) would close both mains
    without a precharge.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._memory = 4.0 * longest  # s, how long the sequence of a call is remembered
        self._contacts = OPEN
        self._until = -math.inf
        self._granted = 0.0
        self._resend = math.inf
        self._sequence = 0
        self._called = -math.inf
        self.office = Office()
        self.expired = 0  # how often the lease ran out

    @property
    def closed(self) -> bool:
        """Whether any contactor is told to be closed."""
        return self._contacts != OPEN

    @property
    def sequence(self) -> int:
        """Sequence of the last call that was accepted."""
        return self._sequence

    def deadline(self) -> float:
        """Return when `poll` has to be called next; inf: not before the next call."""
        return min(self._until, self._resend) if self.closed else math.inf

    def remaining(self, now: float) -> float:
        """Return what is left of the lease in s."""
        return max(self._until - now, 0.0) if self.closed else 0.0

    def ask(
        self,
        contacts: tuple[bool, bool, bool],
        lease: float,
        sequence: int,
        now: float,
        guard: str = '',
        term: int = 0,
    ) -> str:
        """Take a call; return '' if it is accepted, else why not. Then `command` is to be sent."""
        closing = contacts != OPEN
        reason = self.office.refusal(guard, term, closing, now)
        if reason:
            return reason
        # Who without a term opens what a guard with one holds is not in office by that.
        newcomer = self.office.newcomer(guard, term) and (term > 0 or closing)
        if newcomer:
            reason = self._no_continuation(contacts, term, now)
        if closing and not reason:
            reason = self._refusal(lease, sequence, now, newcomer) or self._leap(contacts, now)
        if reason:
            return reason
        if newcomer or self._newer(sequence, now):
            self._sequence = sequence  # an old call that opens does not make old calls new
            self._called = now
        valid = MIN_LEASE <= lease <= self._longest * 1.0001
        self.office.enter(guard, term, lease if valid else self._longest, closing, now)
        self._contacts = contacts
        self._granted = lease if closing else 0.0
        self._until = now + self._granted
        self._resend = now + self._granted / RENEWALS
        return ''

    def open(self, now: float) -> None:
        """Open on the driver's own account, whoever is in office."""
        self._contacts, self._until = OPEN, now
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF

    def _no_continuation(self, contacts: tuple[bool, bool, bool], term: int, now: float) -> str:
        """Say why a guard with a term may not enter with `contacts`: only what is may go on."""
        if term == 0 or contacts == OPEN:
            return ''
        held = self._held(now)
        return '' if contacts == held else 'there is nothing closed like that to go on with'

    def _held(self, now: float) -> tuple[bool, bool, bool]:
        return self._contacts if now < self._until else OPEN

    def _leap(self, contacts: tuple[bool, bool, bool], now: float) -> str:
        """Say why contactors cannot be closed like that from what is closed now."""
        more = sum(new and not old for new, old in zip(contacts, self._held(now), strict=True))
        return f'closes {more} contactors at once: the call is old or leaves steps out' * (
            more > 1
        )

    def poll(self, now: float) -> Command | None:
        """Return what has to be sent now: the command again, or that the lease has run out."""
        if not self.closed:
            return None
        if now >= self._until:
            self._contacts = OPEN
            self.expired += 1
            return self.command(now)
        if now >= self._resend:
            self._resend = now + self._granted / RENEWALS
            return self.command(now)
        return None

    def command(self, now: float) -> Command:
        """Return the command that holds now, with what is left of the lease."""
        if self.closed and now < self._until:
            return Command(self._contacts, self._until - now, self._sequence)
        return Command(OPEN, 0.0, self._sequence)

    def _refusal(self, lease: float, sequence: int, now: float, newcomer: bool) -> str:
        # Written so that NaN is refused as well.
        if not MIN_LEASE <= lease <= self._longest * 1.0001:  # a float32 may be just above
            return f'lease {lease:g} s is not within {MIN_LEASE} .. {self._longest:g} s'
        if not newcomer and not self._newer(sequence, now):
            return f'call {sequence} is not newer than call {self._sequence}'
        return ''

    def _newer(self, sequence: int, now: float) -> bool:
        if now - self._called > self._memory:
            return True
        return 0 < (sequence - self._sequence) & 0xFFFFFFFF < _HALF
