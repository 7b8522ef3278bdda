# SPDX-License-Identifier: Apache-2.0
"""A guard that has a second one: it commands only in office, and otherwise looks on.

Looking on it judges all measurements as in office, but drives nothing, so that it knows the pack
from the first moment. Closed contactors are mirrored from their feedback.
"""

from collections.abc import Collection
from typing import Any

from dbms_pack import Level, Pack

from .contactors import ALL_OPEN, Contacts, State
from .faults import Fault
from .guard import Guard, PackState
from .lease import ContactorCommand, Send
from .measurements import Contact, StringSample

KEPT: Contacts = (True, False, True)  # what a connected string is commanded
READS_KEPT = (Contact.CLOSED, Contact.OPEN, Contact.CLOSED)
READS_OPEN = (Contact.OPEN,) * 3


class PairedGuard(Guard):
    """Guards a pack, or looks on while another one does. Begins by looking on."""

    def __init__(self, pack: Pack, send: Send, **options: Any) -> None:
        self.leading = False
        self._send_on = send
        super().__init__(pack, self._pass_on, **options)
        for keeper in self._keepers:
            keeper.always = True  # open as well, to stay in office

    def _pass_on(self, command: ContactorCommand) -> None:
        if self.leading:
            self._send_on(command)

    # -- office -------------------------------------------------------------------------------

    def wanted(self, index: int) -> Contacts | None:
        """Return what a string has to be taken over with, by its feedback; None: wait."""
        contacts = self.strings[index].data.reading(self.now).contacts
        if contacts == READS_KEPT:
            return KEPT
        return ALL_OPEN if contacts == READS_OPEN else None

    def spent(self) -> float:
        """Return the largest share of a closed string's lease that the driver has not renewed."""
        return max(keeper.spent(self.now) for keeper in self._keepers)

    def next_sequence(self, index: int) -> int:
        """Return the number of the next call for a string."""
        return self._keepers[index].next_sequence()

    def take_over(
        self, granted: dict[int, tuple[Contacts, float]], leaving: Collection[int], now: float
    ) -> None:
        """Enter office: strings granted closed go on, those of `leaving` open announced.

        `granted`: what the driver granted to whom, and when it was asked for, in s of this call.
        """
        offset = self._time.advance(now) - now
        now += offset
        self.leading = True
        for index in range(len(self.strings)):
            contacts, asked = granted.get(index, (ALL_OPEN, now - offset))
            self._keepers[index].adopt(contacts, asked + offset)
            self._mirror(index, contacts == KEPT, 'taken over')
        for index in leaving:
            string = self.strings[index]
            string.sequence.leave(now, 'was leaving', string.data.reading(now))
        for index in range(len(self.strings)):
            self._run(index, now, renew=False)
        self._limits_of = None
        self.revision += 1

    def step_down(self) -> None:
        """Leave office without a word to the contactors: they are another guard's now."""
        self.leading = False
        self._queue.clear()
        self.revision += 1

    def learn(self, latched: list[Fault], now: float) -> None:
        """Take over the latched faults of the guard in office, and forget those it has reset."""
        if self.leading:
            return
        known = {(fault.name, fault.level, fault.place) for fault in latched}
        for fault in latched:
            fault.since = fault.raised = self.now
            self.book.restore(fault)
        for fault in self.book.latched():
            gone = (fault.name, fault.level, fault.place) not in known
            if gone and not fault.active and fault.level is Level.MSL:
                self.book.forget(fault)

    def _mirror(self, index: int, closed: bool, reason: str) -> None:
        sequence = self.strings[index].sequence
        state = State.CONNECTED if closed else State.OPEN
        if sequence.state is not state:
            sequence.state, sequence.reason = state, reason
            sequence.command = KEPT if closed else ALL_OPEN

    # -- looking on ---------------------------------------------------------------------------

    @property
    def state(self) -> PackState:
        """State of the whole."""
        if self.active and not self.leading:
            return PackState.STANDBY
        return super().state

    def on_string(self, index: int, sequence: int, sample: StringSample, now: float) -> None:
        if self.leading or not self.active:
            super().on_string(index, sequence, sample, now)
            return
        now = self._time.advance(now)
        if self._heard[index] == sequence:
            self.judge.refused['string measurement repeated'] += 1
            return
        self._heard[index] = sequence
        string = self.strings[index]
        string.receive(sample, now)
        string.reading = string.data.reading(now)
        if string.reading.contacts in (READS_KEPT, READS_OPEN):
            self._mirror(index, string.reading.contacts == READS_KEPT, 'held by another guard')
        self.judge.sample(index, sample, now)

    def on_answer(
        self, index: int, sequence: int, accepted: bool, message: str, now: float
    ) -> None:
        if self.leading:
            super().on_answer(index, sequence, accepted, message, now)

    def tick(self, now: float) -> None:
        if self.leading or not self.active:
            super().tick(now)
        else:
            self.judge.elapse(self._time.advance(now))

    def fail(self, now: float, text: str) -> None:
        if self.leading:
            super().fail(now, text)

    def command(
        self, kind: str, origin: str, reason: str, strings: Any, now: float
    ) -> tuple[bool, str]:
        if self.active and not self.leading:
            return False, 'this guard stands by'
        return super().command(kind, origin, reason, strings, now)

    def _trip(self, index: int, now: float) -> None:
        if self.leading:
            super()._trip(index, now)
