# SPDX-License-Identifier: Apache-2.0
"""A virtual contactor unit: three contactors that hold only as long as their lease is renewed."""

import math

from cantools.database.can import Database

from dbms_pack.model import ContactorUnit
from dbms_sim import wire
from dbms_sim.schedule import Schedule
from dbms_sim.wire import Frame

FEEDBACK_PERIOD = 0.05  # s
MECHANICAL_DELAY = 0.02  # s, from the coil to the auxiliary contact
CONTACTORS = ('Minus', 'Precharge', 'Plus')
CLOSE = 2  # of a command; 0 and 3 are invalid and mean open, as 1 does
AUX_OPEN, AUX_CLOSED = 1, 2
INTERLOCK_CLOSED = 1


class Contactor:
    """One contactor: its contact follows its coil after the mechanical delay."""

    def __init__(self) -> None:
        self.coil = False
        self.closed = False
        self._moves_at = math.inf

    def drive(self, coil: bool, now: float) -> None:
        """Switch the coil."""
        if coil == self.coil:
            return
        self.coil = coil
        self._moves_at = math.inf if coil == self.closed else now + MECHANICAL_DELAY

    def step(self, now: float) -> bool:
        """Move the contact when it is time; return whether it moved."""
        if now < self._moves_at:
            return False
        self._moves_at = math.inf
        self.closed = self.coil
        return True


class VirtualContactorUnit:
    """The contactors of one string. Times in s on a steady clock."""

    def __init__(self, unit: ContactorUnit, db: Database) -> None:
        self._unit = unit
        self._command = db.get_message_by_frame_id(wire.CONTACTOR_COMMAND)
        self._feedback = db.get_message_by_frame_id(wire.CONTACTOR_FEEDBACK)
        self.command_id = wire.CONTACTOR_COMMAND + unit.address
        self._receiver = wire.Receiver(self.command_id)
        self._periodic = Schedule(FEEDBACK_PERIOD)
        self._contactors = {name: Contactor() for name in CONTACTORS}
        self._lease_until = -math.inf
        self._changed = False
        self._sent = 0
        self._sequence = 0
        self.lease_expired = False

    @property
    def refused(self) -> int:
        """Commands that did not pass the check."""
        return self._receiver.refused

    @property
    def main_closed(self) -> bool:
        """Whether the string is on the link without the precharge resistor."""
        return self._contactors['Minus'].closed and self._contactors['Plus'].closed

    @property
    def precharge_closed(self) -> bool:
        """Whether the string is on the link, be it through the precharge resistor."""
        return self._contactors['Minus'].closed and self._contactors['Precharge'].closed

    @property
    def closed(self) -> str:
        """Name the contactors that are closed, for a person."""
        names = [name.lower() for name, one in self._contactors.items() if one.closed]
        return '+'.join(names) or 'open'

    def receive(self, data: bytes, now: float) -> None:
        """Follow a command, if it passes the check of length, CRC and counter.

        The lease is capped at the unit's own: no frame can hold the contactors for longer. Once
        a lease has run out only a command that opens all is obeyed: a closing one that comes
        late would close the main contactors without precharge.
        """
        if not self._receiver.accepts(data):
            return
        values = wire.decode(self._command, data)
        lease = min(values['Lease'] * 1e-3, self._unit.lease)
        close = {name: values[name] == CLOSE and lease > 0 for name in CONTACTORS}
        if self.lease_expired and any(close.values()):
            return
        for name, contactor in self._contactors.items():
            contactor.drive(close[name], now)
        self._lease_until = now + lease if any(close.values()) else -math.inf
        self._sequence = int(values['Sequence'])
        self.lease_expired = False
        self._changed = True

    def step(self, now: float) -> list[Frame]:
        """Let the lease run out and the contacts move; return the feedback that is due."""
        holding = any(contactor.coil for contactor in self._contactors.values())
        if holding and now >= self._lease_until:
            for contactor in self._contactors.values():
                contactor.drive(False, now)
            self.lease_expired = self._changed = True
        moved = [contactor.step(now) for contactor in self._contactors.values()]
        periodic = self._periodic.due(now)
        if not (periodic or self._changed or any(moved)):
            return []
        self._changed = False
        return [self._report(now)]

    def _report(self, now: float) -> Frame:
        remaining = max(0.0, self._lease_until - now)
        values: dict[str, float | str] = {
            name: AUX_CLOSED if contactor.closed else AUX_OPEN
            for name, contactor in self._contactors.items()
        }
        values['Interlock'] = INTERLOCK_CLOSED
        values['LeaseExpired'] = int(self.lease_expired)
        values['LeaseRemaining'] = int(remaining * 1e3)
        values['Sequence'] = self._sequence
        can_id = wire.CONTACTOR_FEEDBACK + self._unit.address
        data = wire.encode(self._feedback, can_id, self._sent, values)
        self._sent += 1
        return Frame(self._unit.bus, can_id, data)
