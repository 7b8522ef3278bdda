# SPDX-License-Identifier: Apache-2.0
"""Keeping the contactor driver told: every change at once, a closed command again and again."""

from collections.abc import Callable
from dataclasses import dataclass

from .contactors import ALL_OPEN, Contacts, Trouble

# Renewals per lease: two may be lost.
RENEWALS = 3
# A driver that answers no opening call for this long is named, in s.
SILENT_AFTER = 2.0
_SEQUENCES = 1 << 32
_REMEMBERED = 32


@dataclass(frozen=True)
class ContactorCommand:
    """What to send to the contactor driver of a string now."""

    string: int  # index in the pack
    contacts: Contacts
    lease: float  # s
    sequence: int  # uint32, +1 per command


Send = Callable[[ContactorCommand], None]


class LeaseKeeper:
    """Sends the commands of one string and watches that they are answered in time.

    A lease counts from the sending of the newest command that was granted. Once it has run out
    the contactors must be taken for open, so it may not be renewed: closing both mains again
    would leave out the precharge.
    """

    def __init__(self, string: int, lease: float, send: Send, first_sequence: int) -> None:
        self._string = string
        self._lease = lease
        self._send = send
        self._sequence = first_sequence % _SEQUENCES
        self._contacts: Contacts | None = None  # as sent last
        self._sent_at = 0.0
        self._granted_at = 0.0  # when the newest granted closing command was sent
        self._unanswered_since: float | None = None
        self._waiting: dict[int, tuple[float, Contacts]] = {}
        self.always = False  # renew an opening too: with a second guard, to stay in office

    def holds(self, now: float) -> bool:
        """Tell whether contactors are held closed by a lease that is granted."""
        closed = self._contacts not in (None, ALL_OPEN)
        return closed and now - self._granted_at <= self._lease

    def sync(self, contacts: Contacts, now: float, renew: bool) -> bool:
        """Send `contacts` if they are new, or again with `renew` if it is time to.

        Returns whether they were new.
        """
        if contacts != self._contacts:
            if self._contacts in (None, ALL_OPEN):
                self._granted_at = now  # the first answer has a whole lease of time
            self._transmit(contacts, now)
            return True
        wanted = self.always or contacts != ALL_OPEN or self._unanswered_since is not None
        if renew and wanted and now - self._sent_at >= self._lease / RENEWALS:
            self._transmit(contacts, now)
        return False

    def next_sequence(self) -> int:
        """Return the number of the next command."""
        self._sequence = (self._sequence + 1) % _SEQUENCES
        return self._sequence

    def adopt(self, contacts: Contacts, at: float) -> None:
        """Go on with what was asked for at `at` and granted, as if it had been sent from here."""
        self._contacts, self._sent_at, self._granted_at = contacts, at, at
        self._unanswered_since = None
        self._waiting.clear()

    def lapsed(self, now: float) -> Trouble | None:
        """Say why the lease has run out although contactors are commanded closed."""
        if self._contacts in (None, ALL_OPEN):
            return None
        late = now - self._sent_at
        if late > self._lease:
            return Trouble('LEASE_EXPIRED', f'protection was held up for {late:.2f} s')
        silent = now - self._granted_at
        if silent > self._lease:
            text = f'contactor driver has granted nothing for {silent:.2f} s'
            return Trouble('CONTACTOR_DRIVER_LOST', text)
        return None

    def spent(self, now: float) -> float:
        """Return the share of a closed lease that has passed since something was granted."""
        closed = self._contacts not in (None, ALL_OPEN)
        return (now - self._granted_at) / self._lease if closed else 0.0

    @property
    def unanswered(self) -> bool:
        """Whether the driver has not answered the opening that holds now."""
        return self._unanswered_since is not None

    def driver_silent(self, now: float) -> bool:
        """Tell whether an opening command has gone unanswered for long."""
        since = self._unanswered_since
        return since is not None and now - since >= SILENT_AFTER

    def answer(self, sequence: int, accepted: bool, message: str) -> Trouble | None:
        """Take the driver's answer to one command; a refusal to close is a trouble."""
        sent = self._waiting.pop(sequence, None)
        if sent is None:
            return None
        at, contacts = sent
        if contacts == ALL_OPEN:
            if accepted and self._contacts == ALL_OPEN:
                self._unanswered_since = None
            return None
        if accepted:
            self._granted_at = max(self._granted_at, at)
            return None
        if self._contacts == ALL_OPEN:
            return None  # opened since: the refusal is of no concern any more
        return Trouble('CONTACTOR_REFUSED', f'contactor driver refused to close: {message}')

    def _transmit(self, contacts: Contacts, now: float) -> None:
        self._waiting[self.next_sequence()] = (now, contacts)
        while len(self._waiting) > _REMEMBERED:
            del self._waiting[next(iter(self._waiting))]
        if contacts != ALL_OPEN:
            self._unanswered_since = None
        elif self._contacts != ALL_OPEN:
            self._unanswered_since = now
        self._contacts, self._sent_at = contacts, now
        self._send(ContactorCommand(self._string, contacts, self._lease, self._sequence))
