# SPDX-License-Identifier: Apache-2.0
"""Telling others in a thread of its own, so that telling never delays guarding.

A line of rclpy's log costs most of a millisecond, a report of a large pack several. In the
executor they would stand in the way of the next scan.
"""

import threading
from collections import deque
from collections.abc import Callable

CAPACITY = 1000  # pieces of work that may wait; the oldest give way


class Outbox:
    """Does pieces of work in order, in one thread. `failed` is told of one that raises."""

    def __init__(self, name: str, failed: Callable[[str], None]) -> None:
        self.dropped = 0  # pieces that gave way because too many were waiting
        self._failed = failed
        self._work: deque[Callable[[], None]] = deque()
        self._news = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, work: Callable[[], None]) -> None:
        """Have `work` done soon; never blocks for longer than another `put` takes."""
        with self._news:
            if self._closed:
                return
            if len(self._work) >= CAPACITY:
                self._work.popleft()
                self.dropped += 1
            self._work.append(work)
            self._news.notify()

    def close(self, timeout: float = 2.0) -> None:
        """Finish what waits and end; nothing is taken any more. Timeout in s."""
        with self._news:
            self._closed = True
            self._news.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._work and not self._closed:
                    self._news.wait()
                if not self._work:
                    return
                work = self._work.popleft()
            try:
                work()
            except Exception as error:  # the next piece of work is another matter
                self._failed(f'{error!r}')
