# SPDX-License-Identifier: Apache-2.0
"""Contactor sequence of one string: what to command next, from what is read back.

Whatever is missing or wrong ends in all contactors open. A sequence never goes back to closing by
itself, but for the attempts of the precharge that one `connect` allows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from math import isnan

from dbms_pack import ContactorUnit

from .measurements import Contact, Reading
from .resistor import PrechargeResistor

NAMES = ('minus', 'precharge', 'plus')
MINUS, PRECHARGE, PLUS = range(3)


class State(IntEnum):
    """State of a string; numbers of dbms_msgs/StringState."""

    OPEN = 0
    CLOSING_MINUS = 1
    PRECHARGING = 2
    CLOSING_PLUS = 3
    ENDING_PRECHARGE = 4
    CONNECTED = 5
    LEAVING = 6
    OPENING = 7
    FAULTED = 8  # never a state of the sequence: open, and the fault book keeps it so


Contacts = tuple[bool, bool, bool]  # minus, precharge, plus; True: closed
ALL_OPEN: Contacts = (False, False, False)
FEEDBACK_LOST = 'CONTACTOR_FEEDBACK_LOST'
CLOSING = (State.CLOSING_MINUS, State.PRECHARGING, State.CLOSING_PLUS, State.ENDING_PRECHARGE)


@dataclass(frozen=True)
class Trouble:
    """Something that the sequence found wrong and that has to stand as a fault."""

    name: str
    text: str


class Sequence:
    """State machine of the three contactors of one string. Times in s, never stepping back."""

    def __init__(
        self,
        unit: ContactorUnit,
        now: float,
        join_current: float = math.inf,
        resistor: PrechargeResistor | None = None,
    ) -> None:
        self._unit = unit
        self._join_current = join_current  # A, at most predicted when joining
        self.resistor = resistor or PrechargeResistor(unit.precharge, now)
        self.state = State.OPEN
        self.reason = 'not connected yet'
        self.command: Contacts = ALL_OPEN
        self.opened_at: float | None = None  # when a connected string was commanded open last
        self._entered = now
        self._deviates_since: list[float | None] = [None, None, None]
        self._commanded = now  # when the command changed last
        self._attempt = 0
        self._retry_at: float | None = None
        self._first = PLUS  # which main contactor breaks the current
        self._handlers: dict[State, Callable[[float, Reading, float], None]] = {
            State.OPEN: self._open,
            State.CLOSING_MINUS: self._closing_minus,
            State.PRECHARGING: self._precharging,
            State.CLOSING_PLUS: self._closing_plus,
            State.ENDING_PRECHARGE: self._ending_precharge,
            State.CONNECTED: self._connected,
            State.LEAVING: self._leaving,
            State.OPENING: self._opening,
        }
        self._trouble: list[Trouble] = []

    @property
    def closed(self) -> bool:
        """Tell whether any contactor is commanded closed."""
        return self.command != ALL_OPEN

    @property
    def connecting(self) -> bool:
        """Tell whether it is on its way to connected, pauses between attempts included."""
        return self.state in CLOSING or self._retry_at is not None

    @property
    def at_rest(self) -> bool:
        """Tell whether it is open with nothing planned."""
        return self.state is State.OPEN and self._retry_at is None

    def connect(self, now: float, reason: str) -> None:
        """Begin to close. The caller has made sure that it may; only taken up at rest."""
        if self.at_rest:
            self._attempt = 1
            self._start(now, reason)

    def leave(self, now: float, reason: str, reading: Reading) -> None:
        """Open announced: when the current is small enough to break, after the grace at last."""
        if self.state is State.CONNECTED:
            self._to(State.LEAVING, now, reason)
            self._leaving(now, reading, 0.0)
        elif self.state not in (State.LEAVING, State.OPENING):
            self.open(now, reason)

    def open(self, now: float, reason: str) -> None:
        """Open all three at once."""
        self._retry_at = None
        self._set(ALL_OPEN, now)
        if self.state is State.OPEN:
            self.reason = reason
        elif self.state is not State.OPENING:
            self._to(State.OPENING, now, reason)

    def rest(self, now: float) -> None:
        """Take the contactors for open: they are commanded so, and nobody reads them any more."""
        self.open(now, self.reason)
        self._to(State.OPEN, now, self.reason)

    def step(self, now: float, reading: Reading, joining: float) -> list[Trouble]:
        """Go on with what is read now.

        `joining`: Ohm through which the string would equalise with those on the link; 0: none.
        Returns what was found wrong. For everything that is sure the contactors are commanded
        open by then; FEEDBACK_LOST of a connected string is left to the caller's rules.
        """
        self._trouble = []
        gap = reading.string_voltage - reading.link_voltage
        alone = self.command == (True, True, False)
        self.resistor.step(now, gap, reading.current, alone)
        self._check_feedback(now, reading)
        # A contactor that does not say where it is may be closed: then the way out is announced.
        sure = [trouble for trouble in self._trouble if trouble.name != FEEDBACK_LOST]
        if sure or (self._trouble and self.state in CLOSING):
            self.open(now, (sure or self._trouble)[0].text)
        self._handlers[self.state](now, reading, joining)
        return self._trouble

    def may_close_on(self, reading: Reading, joining: float) -> str:
        """Say what of the reading forbids closing plus; '' if nothing."""
        unit, charge = self._unit, self._unit.precharge
        allowed = unit.join_voltage if joining else charge.voltage
        gap = abs(reading.string_voltage - reading.link_voltage)
        if not gap <= allowed:  # NaN is not
            return f'string and link are {gap:.2f} V apart, at most {allowed:.2f} V allowed'
        if not abs(reading.current) <= charge.current:
            return f'current is {reading.current:.2f} A, at most {charge.current:.2f} A allowed'
        if joining and gap > self._join_current * joining:
            return (
                f'it would equalise with {gap / joining:.0f} A, '
                f'at most {self._join_current:.0f} A allowed'
            )
        return ''

    # -- states -------------------------------------------------------------------------------

    def _open(self, now: float, reading: Reading, joining: float) -> None:
        if self._retry_at is None or now < self._retry_at:
            return
        if self.resistor.wait() > 0.0:
            return
        self._retry_at = None
        if reading.contacts == (Contact.OPEN,) * 3:
            self._start(now, f'precharge, attempt {self._attempt}')
        else:
            self.reason = 'precharge given up: contactor feedback does not read open'

    def _closing_minus(self, now: float, reading: Reading, joining: float) -> None:
        if self._missing(now, reading):
            return
        elapsed = now - self._entered
        if reading.contacts != (Contact.CLOSED, Contact.OPEN, Contact.OPEN):
            # Wrong feedback has become a fault by then: this is one that is missing.
            if elapsed > self._unit.feedback_timeout + self._unit.lease:
                self.open(now, 'connecting given up: a contactor does not read open')
            return
        if elapsed < self._unit.coil_pause:
            return
        self._set((True, True, False), now)
        self._to(State.PRECHARGING, now, f'precharge, attempt {self._attempt}')

    def _precharging(self, now: float, reading: Reading, joining: float) -> None:
        if self._missing(now, reading):
            return
        charge, elapsed = self._unit.precharge, now - self._entered
        closed = reading.contacts == (Contact.CLOSED, Contact.CLOSED, Contact.OPEN)
        obstacle = self.may_close_on(reading, joining)
        if self.resistor.too_hot:
            self._attempt = charge.attempts  # something takes up more than a link does
            self._precharge_failed(now, f'its resistor took up more than {charge.energy:.0f} J')
        elif elapsed > charge.timeout and joining and obstacle:
            # The others hold the link, not its resistor: nothing of this string has failed.
            self.open(now, f'not joined: {obstacle}')
        elif elapsed > charge.timeout:
            self._precharge_failed(now, obstacle or 'contactors do not read as they should')
        elif closed and not obstacle and elapsed >= max(charge.min_time, self._unit.coil_pause):
            self._set((True, True, True), now)
            self._to(State.CLOSING_PLUS, now, 'precharged')

    def _precharge_failed(self, now: float, why: str) -> None:
        charge, attempt = self._unit.precharge, self._attempt
        text = f'precharge attempt {attempt} of {charge.attempts} failed: {why}'
        self.open(now, text)
        if attempt >= charge.attempts:
            self._trouble.append(Trouble('PRECHARGE_FAILED', text))
            return
        self._attempt = attempt + 1
        self._retry_at = now + charge.pause

    def _closing_plus(self, now: float, reading: Reading, joining: float) -> None:
        if not self._missing(now, reading) and reading.contacts[PLUS] == Contact.CLOSED:
            self._set((True, False, True), now)
            self._to(State.ENDING_PRECHARGE, now, 'precharged')

    def _ending_precharge(self, now: float, reading: Reading, joining: float) -> None:
        if not self._missing(now, reading) and reading.contacts[PRECHARGE] == Contact.OPEN:
            self._to(State.CONNECTED, now, 'connected')

    def _connected(self, now: float, reading: Reading, joining: float) -> None:
        """Nothing to do: feedback is watched in every state."""

    def _leaving(self, now: float, reading: Reading, joining: float) -> None:
        if abs(reading.current) <= self._unit.break_current:
            self.open(now, self.reason)
        elif now - self._entered >= self._unit.grace:
            self._break_load(now, reading.current)

    def _break_load(self, now: float, current: float) -> None:
        """Open under load: precharge and the contactor that breaks, the other one after it.

        Contactors with arc chutes break better in one direction: plus is fitted to break
        discharge, minus to break charge. The other one opens without current and keeps its
        contacts. With no current known both open at once: two gaps are better than one.
        """
        if isnan(current):
            self.open(now, self.reason)
            return
        self._first = PLUS if current < 0 else MINUS
        self._set((self._first != MINUS, False, self._first != PLUS), now)
        self._to(State.OPENING, now, self.reason)

    def _opening(self, now: float, reading: Reading, joining: float) -> None:
        unit, elapsed = self._unit, now - self._entered
        if self.closed:
            opened = reading.contacts[self._first] == Contact.OPEN
            if opened or elapsed >= unit.feedback_timeout:
                self._set(ALL_OPEN, now)
            return
        if reading.contacts == (Contact.OPEN,) * 3:
            self._to(State.OPEN, now, self.reason)
        elif now - self._commanded > unit.feedback_timeout + unit.lease:
            # A contactor that reads closed has been named by now; here feedback is missing.
            self._to(State.OPEN, now, f'{self.reason}; feedback does not read open')

    # -- checks -------------------------------------------------------------------------------

    def _missing(self, now: float, reading: Reading) -> bool:
        """Abort a sequence whose measurements are missing."""
        missing = [
            name
            for name, value in (
                ('current', reading.current),
                ('string voltage', reading.string_voltage),
                ('link voltage', reading.link_voltage),
            )
            if isnan(value)
        ]
        if missing:
            self.open(now, f'connecting given up: {" and ".join(missing)} not measured')
        return bool(missing)

    def _check_feedback(self, now: float, reading: Reading) -> None:
        for index, (closed, read) in enumerate(zip(self.command, reading.contacts, strict=True)):
            if closed:
                agrees = read == Contact.CLOSED
            else:
                # Missing feedback of an open contactor: nothing to do but not to close it.
                agrees = read in (Contact.OPEN, Contact.UNKNOWN)
            if agrees:
                self._deviates_since[index] = None
                continue
            since = self._deviates_since[index]
            if since is None:
                since = self._deviates_since[index] = now
            # An open command may be lost on its way: then the lease opens, a little later.
            allowed = self._unit.feedback_timeout + (0.0 if closed else self._unit.lease)
            if now - since > allowed:
                self._trouble.append(_deviation(index, closed, read))

    def deviating(self) -> bool:
        """Tell whether any feedback differs from the command."""
        return any(since is not None for since in self._deviates_since)

    # -- doing --------------------------------------------------------------------------------

    def _start(self, now: float, reason: str) -> None:
        self.resistor.begin()
        self._set((True, False, False), now)
        self._to(State.CLOSING_MINUS, now, reason)

    def _set(self, command: Contacts, now: float) -> None:
        if self.command[MINUS] and self.command[PLUS] and not (command[MINUS] and command[PLUS]):
            self.opened_at = now
        for index, (old, new) in enumerate(zip(self.command, command, strict=True)):
            if old != new:
                self._commanded = now
                self._deviates_since[index] = None
        self.command = command

    def _to(self, state: State, now: float, reason: str) -> None:
        self.state, self.reason, self._entered = state, reason, now


def _deviation(index: int, closed: bool, read: int) -> Trouble:
    says = {Contact.OPEN: 'open', Contact.CLOSED: 'closed'}
    reads = says.get(read, 'a faulty feedback')
    if not closed and read == Contact.CLOSED:
        text = f'{NAMES[index]} contactor reads closed although it is commanded open'
        return Trouble('CONTACTOR_WELDED', text)
    if read == Contact.UNKNOWN:
        return Trouble(FEEDBACK_LOST, f'{NAMES[index]} contactor gives no feedback')
    side = 'closed' if closed else 'open'
    return Trouble(
        'CONTACTOR_FEEDBACK',
        f'{NAMES[index]} contactor reads {reads} although it is commanded {side}',
    )
