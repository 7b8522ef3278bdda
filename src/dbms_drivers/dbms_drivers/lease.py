# SPDX-License-Identifier: Apache-2.0
"""The lease of one string's contactors: closed is never a state, only a promise with an end.

Time is an argument, in s on a steady clock.
"""

import math
from dataclasses import dataclass

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

    Opening is never refused. A call that closes is refused if its lease is not a number between
    20 ms and what the pack allows, or if it is not newer than the last call. The order of calls is
    forgotten some time after the last one, because a caller that was restarted counts anew.
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
        self, contacts: tuple[bool, bool, bool], lease: float, sequence: int, now: float
    ) -> str:
        """Take a call; return '' if it is accepted, else why not. Then `command` is to be sent."""
        closing = contacts != OPEN
        if closing:
            reason = self._refusal(lease, sequence, now)
            if reason:
                return reason
        if self._newer(sequence, now):
            self._sequence = sequence  # an old call that opens does not make old calls new
            self._called = now
        self._contacts = contacts
        self._granted = lease if closing else 0.0
        self._until = now + self._granted
        self._resend = now + self._granted / RENEWALS
        return ''

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

    def _refusal(self, lease: float, sequence: int, now: float) -> str:
        # Written so that NaN is refused as well.
        if not MIN_LEASE <= lease <= self._longest * 1.0001:  # a float32 may be just above
            return f'lease {lease:g} s is not within {MIN_LEASE} .. {self._longest:g} s'
        if not self._newer(sequence, now):
            return f'call {sequence} is not newer than call {self._sequence}'
        return ''

    def _newer(self, sequence: int, now: float) -> bool:
        if now - self._called > self._memory:
            return True
        return 0 < (sequence - self._sequence) & 0xFFFFFFFF < _HALF
