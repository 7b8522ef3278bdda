# SPDX-License-Identifier: Apache-2.0
"""The emergency stop: opens everything at once, and forbids to connect while it is pressed.

Knows neither ROS nor a clock: times are steady, in s.
"""

import math

from dbms_pack import Level

from .faults import Fault
from .guard import Guard

PRESSED, LOST = 'EMERGENCY_STOP', 'EMERGENCY_STOP_LOST'


class EmergencyStop:
    """A button that tells where it is, and calls that press it once.

    With a `timeout` in s, a button that is not heard for so long counts as pressed; 0: it may be
    silent. What it opened stays latched until reset_faults; what was open may be connected again
    as soon as it is released.
    """

    def __init__(self, timeout: float, pressed: bool = False) -> None:
        self._timeout = timeout
        self._pressed = pressed
        self._heard: float | None = None
        self._called = ''  # why, until all contactors rest

    def hear(self, guard: Guard, pressed: bool, now: float) -> None:
        """Take what the button says."""
        self._heard, self._pressed = now, pressed
        self.tick(guard, now)

    def press(self, guard: Guard, text: str, now: float) -> None:
        """Stop once, on somebody's call: latched, even when nothing was closed."""
        self._called = text
        _stop(guard, PRESSED, text, True)
        self.tick(guard, now)

    def tick(self, guard: Guard, now: float) -> None:
        """Open what is closed while there is a reason; to be called before leases are renewed."""
        if not guard.active:
            return
        if self._heard is None:
            self._heard = now  # from here on it has its time to be heard
        if all(string.sequence.at_rest for string in guard.strings):
            self._called = ''
        if self._pressed:
            _stop(guard, PRESSED, 'the button is pressed', False)
        elif not self._called:
            _release(guard, PRESSED)
        if self._timeout and now - self._heard > self._timeout:
            _stop(guard, LOST, f'not heard for more than {self._timeout:g} s', False)
        else:
            _release(guard, LOST)


def _stop(guard: Guard, name: str, cause: str, latched: bool) -> None:
    now = guard.now
    for string in guard.strings:
        latch = latched or not string.sequence.at_rest
        guard.book.put(
            Fault(
                name, Level.MSL, string.place, math.nan, math.nan, '', now, now,
                latched=latch, cause=cause, action='open',
            )
        )  # fmt: skip
        if string.trip(now):
            guard.revision += 1


def _release(guard: Guard, name: str) -> None:
    for string in guard.strings:
        guard.book.end(name, Level.MSL, string.place)
