# SPDX-License-Identifier: Apache-2.0
"""When a recording is written out, begins a new file, and forgets an old one.

Knows no clock: steady times in s are handed in. Log times are those of the messages, in ns.
"""

from dataclasses import dataclass

from .bag_writer import BagWriter, FileInfo

FLUSH_PERIOD = 0.25  # s; what a kill can lose, with as much again until the timer comes
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Bounds:
    """How much is kept. 0: without bound."""

    size: int = 2 * 1024**3  # bytes, of the whole recording
    time: float = 0.0  # s, older files are forgotten
    file_size: int = 64 * 1024**2  # bytes, after which a file is ended
    file_time: float = 60.0  # s
    before: float = 120.0  # s that are kept before a fault ...
    after: float = 60.0  # ... and after it, however old; the bound of size holds all the same


class Recorder:
    """Writes a bag within its bounds."""

    def __init__(self, writer: BagWriter, bounds: Bounds, now: float) -> None:
        self.writer = writer
        self._bounds = bounds
        self._flushed = now
        self._begun = now
        self._newest = 0  # ns, log time
        self._faults: list[int] = []  # ns
        self.dropped = 0  # files forgotten

    def write(self, number: int, log_time: int, data: bytes) -> None:
        """Write a serialized message."""
        self.writer.write(number, log_time, data)
        self._newest = max(self._newest, log_time)

    def fault(self, log_time: int) -> None:
        """Keep what is around this moment."""
        self._faults.append(log_time)

    def tick(self, now: float) -> None:
        """Do what is due; to be called several times in each FLUSH_PERIOD."""
        if now - self._flushed < FLUSH_PERIOD:
            return
        self._flushed = now
        writer, bounds = self.writer, self._bounds
        writer.flush()
        long = 0.0 < bounds.file_time <= now - self._begun
        if (long and writer.segment.messages) or 0 < bounds.file_size <= writer.segment.size:
            writer.rotate()
            self._begun = now
        self._forget()

    def close(self) -> None:
        """End the recording."""
        self.writer.close()

    def is_kept(self, file: FileInfo) -> bool:
        """Tell whether a file holds something of the time around a fault."""
        before, after = self._bounds.before * SECOND, self._bounds.after * SECOND
        return any(
            file.end >= fault - before and file.start <= fault + after for fault in self._faults
        )

    def _forget(self) -> None:
        writer, bounds = self.writer, self._bounds
        ordinary = [file for file in writer.closed if not self.is_kept(file)]
        if bounds.time > 0.0:
            oldest = self._newest - round(bounds.time * SECOND)
            for file in [file for file in ordinary if file.end < oldest]:
                ordinary.remove(file)
                self._drop(file)
        while bounds.size > 0 and writer.size > bounds.size and writer.closed:
            # The newest moments count more than an old fault: its files go last of the rest.
            self._drop(ordinary.pop(0) if ordinary else writer.closed[0])

    def _drop(self, file: FileInfo) -> None:
        self.writer.drop(file)
        self.dropped += 1
        if not self.writer.closed:
            return
        first = min(one.start for one in self.writer.closed)
        after = round(self._bounds.after * SECOND)
        self._faults = [fault for fault in self._faults if fault + after >= first]
