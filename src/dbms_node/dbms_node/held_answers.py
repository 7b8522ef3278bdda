# SPDX-License-Identifier: Apache-2.0
"""Services whose answers leave later than their callbacks return, without anybody waiting.

rclpy sends what a callback returns as soon as it returns, and its EventsExecutor awaits no
coroutines. Both executors send through `Service.send_response`, in the callback's thread: there
an answer that is to be held is caught.
"""

import threading
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.service import Service

HELD = 100  # answers at once; further ones are not held


class Held:
    """An answer that waits to be released; it leaves once, whoever releases it first."""

    def __init__(self, deadline: float, overdue: Callable[[], None]) -> None:
        self.deadline = deadline
        self.overdue = overdue  # called before it leaves unreleased
        self._lock = threading.Lock()
        self._send: Callable[[], None] | None = None
        self.released = False

    def release(self, change: Callable[[], None] | None = None) -> bool:
        """Let it leave, after `change`; from any thread. Tell whether this was the first call."""
        with self._lock:
            if self.released:
                return False
            self.released = True
            if change is not None:
                change()
            send = self._send
        if send is not None:
            send()
        return True

    def bind(self, send: Callable[[], None]) -> None:
        """Say how it is sent; at once if it has been released already."""
        with self._lock:
            self._send = send
            if not self.released:
                return
        send()


class HeldAnswers:
    """Makes services whose callbacks may hold their answers, and sends those that are overdue."""

    def __init__(self, node: Node, failed: Callable[[str], None]) -> None:
        self._node = node
        self._failed = failed
        self._fresh: dict[int, Held] = {}  # by the id of an answer that rclpy has not got yet
        self._held: list[Held] = []

    def create_service(self, kind: type, name: str, callback: Callable[..., Any]) -> Service:
        """Make a service like `Node.create_service`."""
        service = self._node.create_service(kind, name, callback)
        send_now = service.send_response

        def send(response: Any, header: Any) -> None:
            held = self._fresh.pop(id(response), None)
            if held is None:
                send_now(response, header)
            else:
                held.bind(lambda: self._send(send_now, response, header))

        service.send_response = send  # type: ignore[method-assign]
        return service

    def _send(self, send_now: Callable[[Any, Any], None], response: Any, header: Any) -> None:
        try:
            send_now(response, header)
        except Exception as error:  # the service is gone, and who asked hears nothing
            self._failed(f'an answer was not sent: {error!r}')

    def hold(self, response: Any, deadline: float, overdue: Callable[[], None]) -> Held | None:
        """Hold the answer that the running callback returns until the steady time `deadline`.

        None if too many are held: then it leaves as always.
        """
        self._held = [held for held in self._held if not held.released]
        self._fresh.clear()  # callbacks come one by one: what is left there was never answered
        if len(self._held) >= HELD:
            return None
        held = Held(deadline, overdue)
        self._fresh[id(response)] = held
        self._held.append(held)
        return held

    def tick(self, now: float) -> None:
        """Let go what is overdue, and forget what has left; `now` in s, steady."""
        waiting = []
        for held in self._held:
            if held.released:
                continue
            if now < held.deadline:
                waiting.append(held)
            else:
                held.release(held.overdue)
        self._held = waiting

    @property
    def waiting(self) -> bool:
        """Tell whether any answer has not left yet."""
        return not all(held.released for held in self._held)
