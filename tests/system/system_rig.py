# SPDX-License-Identifier: Apache-2.0
"""What whole-system tests stand on: a spy on the wire, a log of topics, a rig to run."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import can
from rclpy.context import Context
from rclpy.node import Node

from dbms_bringup.one_process import Spinner
from dbms_bringup.plan import Plan
from dbms_bringup.rig import Rig
from dbms_node import qos
from dbms_pack import Bus, Pack

# Nothing takes nearly as long: what is waited for comes, or the test fails.
DEADLINE = 45.0  # s
COMMAND, FEEDBACK = 0x020, 0x040
OPEN, CLOSED = 1, 2
T = TypeVar('T')


class Log:
    """Things that happened, in order; a test waits for one of them."""

    def __init__(self) -> None:
        self._items: list[tuple[float, Any]] = []
        self._changed = threading.Condition()

    def add(self, item: Any) -> None:
        with self._changed:
            self._items.append((time.monotonic(), item))
            self._changed.notify_all()

    @property
    def mark(self) -> int:
        """Return a place in the log; `wait` and `since` look only at what comes after."""
        with self._changed:
            return len(self._items)

    def since(self, mark: int) -> list[Any]:
        with self._changed:
            return [item for _, item in self._items[mark:]]

    def wait(
        self, wanted: Callable[[Any], Any], what: str, mark: int = 0, deadline: float = DEADLINE
    ) -> tuple[float, Any]:
        """Return when the first wanted item came, and itself."""
        end = time.monotonic() + deadline
        looked = mark
        with self._changed:
            while True:
                for moment, item in self._items[looked:]:
                    if wanted(item):
                        return moment, item
                looked = len(self._items)
                if not self._changed.wait(end - time.monotonic()):
                    last = [item for _, item in self._items[-5:]]
                    raise AssertionError(f'never came: {what}; the last of {looked}: {last}')


class Contacts(tuple):
    """Minus, precharge, plus as a contactor frame has them, and what else it tells."""

    kind: int
    lease_expired: bool

    @property
    def all_open(self) -> bool:
        return self == (OPEN, OPEN, OPEN)

    @property
    def main_closed(self) -> bool:
        return self[0] == CLOSED and self[2] == CLOSED


class Spy(can.Listener):
    """Listens to the contactor frames of string unit 0 on a bus of the pack."""

    def __init__(self, bus: Bus) -> None:
        logging.getLogger('can.interfaces.socketcand').setLevel(logging.CRITICAL)
        self.log = Log()
        self._bus = self._open(bus)
        self._notifier = can.Notifier(self._bus, [self], timeout=0.1)

    @staticmethod
    def _open(bus: Bus) -> can.BusABC:
        end = time.monotonic() + DEADLINE
        while True:  # the hub is a process that has just been started
            try:
                return can.Bus(**bus.can_arguments())
            except (OSError, can.CanError):
                if time.monotonic() > end:
                    raise
                threading.Event().wait(0.05)

    def on_message_received(self, message: can.Message) -> None:
        if message.arbitration_id in (COMMAND, FEEDBACK):
            bits = message.data[2]
            contacts = Contacts(bits >> shift & 3 for shift in (0, 2, 4))
            contacts.kind = message.arbitration_id
            contacts.lease_expired = bool(message.data[3] & 1)
            self.log.add(contacts)

    def on_error(self, error: Exception) -> None:
        """Take the end of the bus as the end."""

    def commanded(self, what: str, mark: int = 0) -> float:
        """Wait for a command of which the property `what` holds; return when it came."""
        found = self.log.wait(
            lambda one: one.kind == COMMAND and getattr(one, what), f'command {what}', mark
        )
        return found[0]

    def reported(
        self, what: str, mark: int = 0, deadline: float = DEADLINE
    ) -> tuple[float, Contacts]:
        """Wait for feedback of which the property `what` holds."""
        return self.log.wait(
            lambda one: one.kind == FEEDBACK and getattr(one, what),
            f'feedback {what}',
            mark,
            deadline,
        )

    def close(self) -> None:
        self._notifier.stop(timeout=2.0)
        self._bus.shutdown()


class Ears:
    """A node that logs topics of a namespace; made while the rig of the test runs."""

    def __init__(
        self,
        namespace: str,
        *,
        name: str = 'ears',
        context: Context | None = None,
        **topics: tuple[type, str, Any],
    ) -> None:
        self.node = Node(name, namespace=namespace, context=context)
        self.logs = {name: Log() for name in topics}
        for name, (kind, topic, profile) in topics.items():
            self.node.create_subscription(kind, topic, self.logs[name].add, profile)
        self._spinner = Spinner([self.node], lambda error: None)
        self._spinner.start()

    def call(self, kind: type, service: str, request: Any, deadline: float = DEADLINE) -> Any:
        """Call a service until it answers; one that was just killed may seem to be there."""
        client = self.node.create_client(kind, service)
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            if not client.wait_for_service(timeout_sec=1.0):
                continue
            future = client.call_async(request)
            future.add_done_callback(lambda done: answers.put(done.result()))
            try:
                return answers.get(timeout=5.0)
            except queue.Empty:
                continue
        raise AssertionError(f'{service} never answered')

    def close(self) -> None:
        self._spinner.stop()


class Running:
    """A rig that runs, and what it told."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.lines = Log()
        self.finished = Log()
        self.failed = Log()

    def wait_connected(self) -> None:
        self.lines.wait(lambda line: line.endswith('pack: CONNECTED'), 'pack: CONNECTED')


@contextmanager
def running(plan: Plan, log: Path) -> Iterator[Running]:
    """Run the graph of a plan for as long as the block lasts."""
    rig = Rig(
        plan, log,
        lambda text: told.lines.add(text),
        lambda text: told.finished.add(text),
        lambda text: told.failed.add(text),
    )  # fmt: skip
    told = Running(rig)
    try:
        rig.start()
        yield told
    finally:
        rig.stop()


@contextmanager
def closing(thing: T) -> Iterator[T]:
    """Close it at the end of the block."""
    try:
        yield thing
    finally:
        thing.close()  # type: ignore[attr-defined]


def spy_on(pack: Pack, plan: Plan) -> Spy:
    """Return a spy on the first bus of the plan's pack, wherever it was redirected to."""
    options = plan.options
    if options.bus_interface == 'socketcand':
        pack = pack.redirected(
            'socketcand', host=options.bus_host, port=options.bus_port, tcp_tune=True
        )
    else:
        pack = pack.redirected(options.bus_interface)
    return Spy(next(iter(pack.buses.values())))


STATE = qos.STATE
MEASUREMENT = qos.MEASUREMENT
DIAGNOSTICS = qos.DIAGNOSTICS
