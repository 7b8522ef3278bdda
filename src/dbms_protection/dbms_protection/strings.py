# SPDX-License-Identifier: Apache-2.0
"""One string: its readings, its contactor sequence, its lease, and the faults of all three."""

import math
from dataclasses import replace

from dbms_pack import Level, String
from dbms_pack.limits import QUANTITIES

from .contactors import FEEDBACK_LOST, Sequence, State, Trouble
from .faults import Fault, FaultBook, Place
from .lease import LeaseKeeper
from .measurements import Contact, Interlock, Reading, StringData, StringSample

# Faults that forbid waiting: everything opens at once, whatever the current. See
# docs/protection.md for the reasons.
IMMEDIATE = frozenset({
    *(key.upper() for key, quantity in QUANTITIES.items() if quantity.urgent),
    'BRIDGED_OVERVOLTAGE',
    'INTERLOCK_OPEN',
    'CONTACTOR_FEEDBACK',
    'CONTACTOR_WELDED',
    'CONTACTOR_DRIVER_LOST',
    'CONTACTOR_REFUSED',
    'LEASE_EXPIRED',
    'PRECHARGE_FAILED',
    'INTERNAL_ERROR',
})  # fmt: skip
# Faults that are an event: their cause is gone once the string is open and at rest.
EVENTS = (
    'PRECHARGE_FAILED',
    'LEASE_EXPIRED',
    'CONTACTOR_DRIVER_LOST',
    'CONTACTOR_REFUSED',
    'INTERNAL_ERROR',
)
# Faults that last as long as the feedback differs from the command.
FEEDBACK = ('CONTACTOR_FEEDBACK', 'CONTACTOR_WELDED', FEEDBACK_LOST)
# String voltage and the sum of its cells may differ by this share before the sensor is doubted.
PLAUSIBLE = 0.05


class StringGuard:
    """Drives the contactors of one string by what is known of it. Times in s, never back."""

    def __init__(
        self,
        string: String,
        book: FaultBook,
        keeper: LeaseKeeper,
        data: StringData,
        sequence: Sequence,
    ) -> None:
        self.string = string
        self.place = Place(string.name)
        self.sequence = sequence
        self.data = data
        self.reading = Reading()
        self._book = book
        self._keeper = keeper
        self._interlock_fitted = False
        self._supply_low = False
        self._had_expired = False

    @property
    def faulted(self) -> bool:
        """Tell whether MSL faults keep it open."""
        return self._book.blocks(self.string.name)

    @property
    def state(self) -> State:
        """State as others see it."""
        state = self.sequence.state
        return State.FAULTED if state is State.OPEN and self.faulted else state

    @property
    def reason(self) -> str:
        """Why it is in this state."""
        if self.state is State.FAULTED:
            return self._book.blocking(self.string.name)[0].text
        return self.sequence.reason

    @property
    def driver_unanswered(self) -> bool:
        """Whether the driver has not answered the opening that holds now."""
        return self._keeper.unanswered

    def lease_held(self, now: float) -> bool:
        """Tell whether a granted lease holds contactors closed."""
        return self._keeper.holds(now)

    def receive(self, sample: StringSample, now: float) -> None:
        """Take over a measurement and the flags in it."""
        self.data.put(sample, now)
        if sample.lease_expired and not self._had_expired and self.sequence.closed:
            self.trouble('LEASE_EXPIRED', 'the contactor unit opened by itself', now)
        self._had_expired = sample.lease_expired
        self._supply_low = sample.supply_low
        self._flag('COIL_FAULT', Level.MSL, sample.coil_fault, now)
        self._flag('SUPPLY_LOW', Level.MOL, sample.supply_low, now)
        self._flag('CURRENT_SENSOR_FAULT', Level.MOL, sample.sensor_fault, now)

    def answer(self, sequence: int, accepted: bool, message: str, now: float) -> None:
        """Take the contactor driver's answer."""
        found = self._keeper.answer(sequence, accepted, message)
        if found is not None:
            self._not_kept(found, now)

    def run(self, now: float, joining: float, cell_sum: float, obstacle: str, renew: bool) -> bool:
        """Do what has to be done now; tell whether anything new was commanded.

        `joining`: Ohm between it and strings on the link, 0: none; `cell_sum`: of the string's
        cells in V, NaN not known; `obstacle`: why it must not go on connecting; `renew`: the
        lease may be renewed.
        """
        sequence = self.sequence
        self.reading = reading = self._read(now, cell_sum)
        self.check_lease(now)
        self._check_interlock(now)
        self.obey(now)
        if obstacle and sequence.connecting:
            sequence.open(now, f'connecting given up: {obstacle}')
        for trouble in sequence.step(now, reading, joining):
            self.trouble(trouble.name, trouble.text, now)
        self.obey(now)
        sent = self._keeper.sync(sequence.command, now, renew)
        self._settle(now)
        return sent

    def check_lease(self, now: float) -> None:
        """Raise a fault when the lease has run out although contactors should be closed."""
        found = self._keeper.lapsed(now)
        if found is not None:
            self._not_kept(found, now)

    def _not_kept(self, found: Trouble, now: float) -> None:
        """Open because the contactors were not kept as commanded.

        On the way to connected that ends the attempt and no more: nothing was carried by them
        yet, and a new `connect` begins with a precharge. Later on it is a fault.
        """
        if self.sequence.connecting:
            self.sequence.open(now, f'connecting given up: {found.text}')
        else:
            self.trouble(found.name, found.text, now)

    def obey(self, now: float) -> None:
        """Leave or open for the faults that stand."""
        if self.sequence.at_rest or not self.faulted:
            return
        faults = self._book.blocking(self.string.name)
        urgent = next((fault for fault in faults if _urgent(fault)), None)
        if urgent is not None:
            self.sequence.open(now, urgent.text)
        else:
            self.sequence.leave(now, faults[0].text, self.data.reading(now))

    def trip(self, now: float) -> bool:
        """Shortest way from a new MSL fault to the wire; tell whether it commanded anything."""
        self.obey(now)
        return self._keeper.sync(self.sequence.command, now, False)

    def shut(self, now: float, reason: str) -> bool:
        """Open at once, whatever the current; tell whether anything new was commanded."""
        self.sequence.open(now, reason)
        return self._keeper.sync(self.sequence.command, now, False)

    def stop(self, now: float, reason: str) -> bool:
        """Open at once and know nothing any more; tell whether anything new was commanded."""
        sent = self.shut(now, reason)
        self.sequence.rest(now)
        self.reading = Reading()
        return sent

    def refusal(self, joining: float, obstacle: str) -> str:
        """Say why it must not be connected now; '' if it may."""
        if not self.sequence.at_rest:
            return f'is {self.sequence.state.name.lower().replace("_", " ")}'
        if self.faulted:
            names = [fault.text for fault in self._book.blocking(self.string.name)[:3]]
            return f'faults stand: {"; ".join(names)}'
        if obstacle:
            return obstacle
        if self.reading.contacts != (Contact.OPEN,) * 3:
            return 'its contactors do not all read open'
        if self._supply_low:
            return 'the supply of its contactor unit is too low'
        most = self.string.contactors.precharge.current
        if abs(self.reading.current) > most:
            return f'{self.reading.current:.2f} A flow though its contactors read open'
        hot = self.sequence.resistor.refusal()
        if hot:
            return hot
        return self.sequence.may_close_on(self.reading, joining) if joining else ''

    def unready(self) -> str:
        """Say what of the string itself is missing for connecting."""
        # Just started, two nodes may hear each other's topics before they reach the services.
        if self._keeper.unanswered and self.sequence.at_rest:
            return 'the contactor driver has not answered yet'
        reading = self.reading
        named = (
            ('current', reading.current),
            ('string voltage', reading.string_voltage),
            ('link voltage', reading.link_voltage),
        )
        missing = [name for name, value in named if math.isnan(value)]
        if missing:
            return f'{" and ".join(missing)} not measured, or not plausible'
        if self._interlock_bad():
            return 'the interlock loop does not read closed'
        return ''

    def way(self, rest: float) -> str:
        """Return its state as limits know it: open, rest, charge, discharge; '' not known."""
        current = self.reading.current
        if not self.sequence.closed:
            return 'open'
        if math.isnan(current):
            return ''
        if abs(current) <= rest:
            return 'rest'
        return 'charge' if current > 0.0 else 'discharge'

    # -- inside -------------------------------------------------------------------------------

    def _read(self, now: float, cell_sum: float) -> Reading:
        reading = self.data.reading(now)
        if self.sequence.state is State.CONNECTED:
            return reading
        # Before plus closes, two sensor wires that are off both read 0 V and look precharged:
        # the cells know better.
        allowed = max(PLAUSIBLE * cell_sum, self.string.contactors.precharge.voltage)
        if abs(reading.string_voltage - cell_sum) <= allowed:
            return reading
        return replace(reading, string_voltage=math.nan)

    def _interlock_bad(self) -> bool:
        interlock = self.reading.interlock
        if interlock == Interlock.UNKNOWN:
            # When nothing is read of the unit at all, that is what is wrong, and not the loop.
            silent = self.reading.contacts == (Contact.UNKNOWN,) * 3
            return self._interlock_fitted and not silent
        return interlock != Interlock.CLOSED

    def _check_interlock(self, now: float) -> None:
        if self.reading.interlock != Interlock.UNKNOWN:
            self._interlock_fitted = True
        moving = not self.sequence.at_rest
        if self.reading.interlock == Interlock.OPEN or (moving and self._interlock_bad()):
            self._put('INTERLOCK_OPEN', Level.MSL, 'interlock loop is not closed', moving, now)
        else:
            self._book.end('INTERLOCK_OPEN', Level.MSL, self.place)

    def trouble(self, name: str, text: str, now: float) -> None:
        """Raise a latched MSL fault of this string."""
        self._put(name, Level.MSL, text, True, now)

    def _flag(self, name: str, level: Level, active: bool, now: float) -> None:
        if active:
            self._put(name, level, 'reported by the unit', level is Level.MSL, now)
        else:
            self._book.end(name, level, self.place)

    def _put(self, name: str, level: Level, cause: str, latched: bool, now: float) -> None:
        self._book.put(
            Fault(
                name, level, self.place, math.nan, math.nan, '', now, now,
                latched=latched, cause=cause,
            )
        )  # fmt: skip

    def _settle(self, now: float) -> None:
        """End the faults whose cause is gone."""
        if not self.sequence.deviating():
            for name in FEEDBACK:
                self._book.end(name, Level.MSL, self.place)
        if self.sequence.at_rest:
            for name in EVENTS:
                self._book.end(name, Level.MSL, self.place)
        if self._keeper.driver_silent(now):
            text = 'contactor driver does not answer'
            self._put('CONTACTOR_DRIVER_LOST', Level.RSL, text, False, now)
        else:
            self._book.end('CONTACTOR_DRIVER_LOST', Level.RSL, self.place)


def _urgent(fault: Fault) -> bool:
    """Tell whether a fault opens at once: the pack says so, or nothing else and its name does."""
    return fault.action == 'open' or (not fault.action and fault.name in IMMEDIATE)
