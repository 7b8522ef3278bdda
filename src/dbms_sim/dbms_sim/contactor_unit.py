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
INTERLOCK_CLOSED, INTERLOCK_OPEN = 1, 2
_READINGS = {'unknown': 0, 'open': 1, 'closed': 2, 'fault': 3}


class Contactor:
    """One contactor: its contact follows its coil after the mechanical delay, if it can.

    `reads` is what the auxiliary contact says if it lies, as in `faults.READINGS`.
    """

    def __init__(self) -> None:
        self.coil = False
        self.welded = False
        self.stuck_open = False
        self.reads = ''
        self._contact = False
        self._told = False
        self._moves_at = math.inf

    @property
    def closed(self) -> bool:
        """Whether the contact is closed."""
        return self.welded or (self._contact and not self.stuck_open)

    @property
    def feedback(self) -> int:
        """What the auxiliary contact says."""
        if self.reads:
            return _READINGS[self.reads]
        return AUX_CLOSED if self.closed else AUX_OPEN

    def drive(self, coil: bool, now: float) -> None:
        """Switch the coil."""
        if coil == self.coil:
            return
        self.coil = coil
        self._moves_at = math.inf if coil == self._contact else now + MECHANICAL_DELAY

    def step(self, now: float) -> bool:
        """Move the contact when it is time; return whether it is another now."""
        if now >= self._moves_at:
            self._moves_at = math.inf
            self._contact = self.coil
        before, self._told = self._told, self.closed
        return before != self._told


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
        self.coil_fault = False
        self.supply_low = False
        self.interlock_open = False
        self.resistor_open = False  # the one of precharge

    @property
    def contactors(self) -> dict[str, Contactor]:
        """The contactors by their names in the protocol."""
        return self._contactors

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
        closed = self._contactors['Minus'].closed and self._contactors['Precharge'].closed
        return closed and not self.resistor_open

    @property
    def poles(self) -> tuple[bool, bool]:
        """Whether the string's minus and plus pole are on the link, be it through a resistor."""
        plus = self._contactors['Plus'].closed
        through = self._contactors['Precharge'].closed and not self.resistor_open
        return self._contactors['Minus'].closed, plus or through

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
            name: contactor.feedback for name, contactor in self._contactors.items()
        }
        values['Interlock'] = INTERLOCK_OPEN if self.interlock_open else INTERLOCK_CLOSED
        values['CoilFault'] = int(self.coil_fault)
        values['SupplyLow'] = int(self.supply_low)
        values['LeaseExpired'] = int(self.lease_expired)
        values['LeaseRemaining'] = int(remaining * 1e3)
        values['Sequence'] = self._sequence
        can_id = wire.CONTACTOR_FEEDBACK + self._unit.address
        data = wire.encode(self._feedback, can_id, self._sent, values)
        self._sent += 1
        return Frame(self._unit.bus, can_id, data)
