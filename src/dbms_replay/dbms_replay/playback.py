# SPDX-License-Identifier: Apache-2.0
"""A bag at the pace of somebody's clock: what is due, and what time it is there.

Knows no clock itself: elapsed wall time is handed in. Only one message is held ahead, so a bag
may be as long as it likes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from .bags import Bag, BagError, BagTopic, Read, Topics

SECOND = 1_000_000_000
GAP = 60.0  # s in which nothing was recorded: left out
BACK = 1.0  # s; a smaller step back is a message out of order
# s of wall time around a jump in which the clock stands: what was sent before it arrives before.
SETTLE = 0.3
SLOWEST = 0.2  # s of wall time, of which no more is made up after somebody was busy

Due = tuple[BagTopic, bytes]


class Playback:
    """Plays one bag. `time` is that of the recording in ns, and begins at `begun`."""

    def __init__(
        self,
        path: Path,
        wanted: Callable[[BagTopic], bool],
        *,
        rate: float = 1.0,
        start: float = 0.0,
        loop: bool = False,
        topics: Topics | None = None,
    ) -> None:
        """Take topics, and s to leave out at the beginning; BagError if nothing is left."""
        self.rate = rate
        self.paused = False
        self.ended = False
        self.landings = 0  # jumps of the clock, laps too
        self.time = 0
        self._path = path
        self._wanted = wanted
        self._loop = loop
        self._over = False
        self._start = start
        self._settling = SETTLE  # s of wall time left to wait
        self._landing: int | None = None  # ns, where the clock goes after it
        self._topics: Topics = {} if topics is None else topics  # the same in every lap
        self._messages = self._begin()
        self._next = self._first()
        self.time = self.begun = self._next[1]

    def advance(self, elapsed: float) -> list[Due]:
        """Let wall time pass, in s; return what became due. `time` is then the time of it all."""
        if self.paused or self.ended:
            return []
        elapsed = min(elapsed, SLOWEST)
        if self._settling > 0.0:
            self._settle(elapsed)
            return []
        reached = self.time + round(elapsed * self.rate * SECOND)
        due: list[Due] = []
        while self._is_due(reached):
            topic, at, data = self._next
            assert topic is not None
            due.append((topic, data))
            self.time = max(self.time, at)
            following = self._following()
            if following is None:
                self._lap()
                return due
            self._next = following
        if -BACK * SECOND <= self._next[1] - self.time <= GAP * SECOND:
            self.time = max(self.time, reached)
        else:
            self._jump()
        return due

    def _is_due(self, reached: int) -> bool:
        at = self._next[1]
        return self.time - BACK * SECOND <= at <= reached

    def _jump(self) -> None:
        self._landing = self._next[1]
        self._settling = SETTLE

    def _settle(self, elapsed: float) -> None:
        self._settling -= elapsed
        if self._settling > 0.0:
            return
        if self._over:
            self.ended = True
        elif self._landing is not None:
            self.time, self._landing = self._landing, None
            self.landings += 1
            self._settling = SETTLE

    def _lap(self) -> None:
        if not self._loop:
            self._over = True
            self._settling = SETTLE
            return
        self._messages = self._begin()
        self._next = self._first()
        self._jump()

    def _begin(self) -> Iterator[Read]:
        return Bag(self._path, self._topics).messages()

    def _following(self) -> Read | None:
        for read in self._messages:
            if read[0] is not None and self._wanted(read[0]):
                return read
        return None

    def _first(self) -> Read:
        first = self._following()
        if first is None:
            raise BagError(f'{self._path}: nothing in it that could be played')
        begin, read = first[1], first
        while read[1] - begin < self._start * SECOND:
            following = self._following()
            if following is None:
                raise BagError(f'{self._path}: it ends before {self._start:g} s')
            read = following
        return read
