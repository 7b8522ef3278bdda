# SPDX-License-Identifier: Apache-2.0
"""The part of the protection node that tells: state, faults, limits, and the log."""

from functools import partial

from dbms_msgs.msg import Faults, Limits, ProtectionState
from rclpy.node import Node
from rclpy.publisher import Publisher

from dbms_node import qos
from dbms_node.outbox import Outbox

from . import conversions
from .guard import Guard
from .news import news, write

VALID_FOR = 1.5  # s, limits hold without a new message: three heartbeats


class Voice:
    """Tells what a guard has to say: made at once, sent by the outbox.

    As long as it is not open it has no topics: only the log hears of the guard.
    """

    def __init__(self, node: Node, outbox: Outbox) -> None:
        self._node, self._outbox = node, outbox
        self.state: Publisher | None = None
        self._faults: Publisher | None = None
        self._limits: Publisher | None = None
        self._sequence = 0
        self._told: tuple[int, int] = (-1, -1)  # revisions told last
        self._told_limits: object = None
        self._told_states: dict[str, str] = {}

    def open(self) -> None:
        """Speak for the pack."""
        create = self._node.create_publisher
        self.state = create(ProtectionState, 'protection/state', qos.STATE)
        self._faults = create(Faults, 'faults', qos.STATE)
        self._limits = create(Limits, 'limits', qos.STATE)
        self._told = (-1, -1)

    def close(self) -> None:
        """Fall silent: what was said last must not be heard by who comes late."""
        for publisher in (self.state, self._faults, self._limits):
            self._outbox.put(partial(self._node.destroy_publisher, publisher))
        self.state = self._faults = self._limits = None

    @property
    def speaks(self) -> bool:
        """Tell whether it is open."""
        return self.state is not None

    def behind(self, guard: Guard) -> bool:
        """Tell whether anything but the limits has changed since it was told."""
        return (guard.revision, guard.book.version) != self._told

    def tell(self, guard: Guard | None) -> None:
        """Tell state, faults and limits, and log what is new; None: not configured."""
        self._sequence += 1
        stamp = self._node.get_clock().now()
        if guard is not None:
            self._told = (guard.revision, guard.book.version)
        if self.state is not None and self._faults is not None:
            if guard is None:
                message = ProtectionState(state_name='UNCONFIGURED')
            else:
                faults = guard.book.listing()
                message = conversions.state_message(guard, faults)
                told = Faults(sequence=self._sequence)
                told.header.stamp = stamp.to_msg()
                told.faults = conversions.fault_messages(faults, guard.now, stamp.nanoseconds)
            message.header.stamp = stamp.to_msg()
            message.sequence = self._sequence
            self._outbox.put(partial(self.state.publish, message))
            if guard is not None:
                self._outbox.put(partial(self._faults.publish, told))
                self.tell_limits(guard)
        if guard is not None:
            self._log(guard)

    def tell_new_limits(self, guard: Guard) -> None:
        """Tell the limits if they have changed."""
        if guard.limits != self._told_limits:
            self.tell_limits(guard)

    def tell_limits(self, guard: Guard) -> None:
        """Tell the limits."""
        self._told_limits = guard.limits
        if self._limits is None:
            return
        stamp = self._node.get_clock().now().to_msg()
        self._sequence += 1
        message = conversions.limits_message(guard.limits, stamp, self._sequence, VALID_FOR)
        self._outbox.put(partial(self._limits.publish, message))

    def _log(self, guard: Guard) -> None:
        lines = news(guard, self._told_states)
        if lines:
            self._outbox.put(partial(write, self._node.get_logger(), lines))
