# SPDX-License-Identifier: Apache-2.0
"""What a board in a process of its own overhears: its string's current and contactors."""

import math

from cantools.database.can import Database

from dbms_pack.model import String
from dbms_sim import wire
from dbms_sim.contactor_unit import AUX_CLOSED

HEARD_FOR = 0.25  # s, what was heard counts


class Listener:
    """Follows one string's current sensor and contactor unit. Times in s on a steady clock."""

    def __init__(self, string: String, db: Database) -> None:
        self.current_id = wire.CURRENT + string.current_sensor.address
        self.feedback_id = wire.CONTACTOR_FEEDBACK + string.contactors.address
        self._current_message = db.get_message_by_frame_id(wire.CURRENT)
        self._feedback_message = db.get_message_by_frame_id(wire.CONTACTOR_FEEDBACK)
        self._current_receiver = wire.Receiver(self.current_id)
        self._feedback_receiver = wire.Receiver(self.feedback_id)
        self._not_measured = 0x7FFF_FFFF * 1e-3
        self._current = (-math.inf, 0.0)
        self._closed = (-math.inf, False)

    def receive_current(self, data: bytes, now: float) -> None:
        """Take a frame of the current sensor."""
        if not self._current_receiver.accepts(data):
            return
        current = wire.decode(self._current_message, data)['Current']
        if current < self._not_measured:
            self._current = now, current

    def receive_feedback(self, data: bytes, now: float) -> None:
        """Take a frame of the contactor unit."""
        if not self._feedback_receiver.accepts(data):
            return
        values = wire.decode(self._feedback_message, data)
        self._closed = now, values['Minus'] == AUX_CLOSED and values['Plus'] == AUX_CLOSED

    def current(self, now: float) -> float:
        """Return the string's current in A; 0 when nobody tells: then nothing is known to flow."""
        heard, current = self._current
        return current if now - heard <= HEARD_FOR else 0.0

    def main_closed(self, now: float) -> bool:
        """Return whether the string was last heard to be connected."""
        heard, closed = self._closed
        return closed and now - heard <= HEARD_FOR
