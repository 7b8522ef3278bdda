# SPDX-License-Identifier: Apache-2.0
"""What happens to frames on their way: a bus that is off, overloaded, disturbed or garbles."""

import heapq
from dataclasses import dataclass, field

import numpy as np

from dbms_sim.wire import Frame

FRAME_BITS = 125.0  # of a frame with 11-bit id and 8 bytes, pause and usual stuffing included


class Arbitration:
    """A bus whose time others take up to `rate` frames/s; their ids begin at `first`.

    What has a lower id goes before them. The rest shares what they leave, lowest id first. A
    frame that still waits when the next one of its id is due is lost, as in a mailbox.
    """

    def __init__(self, rate: float, first: int, now: float) -> None:
        self._rate = rate
        self._first = first
        self._now = now
        self._room = 0.0  # frames
        self._waiting: dict[int, Frame] = {}

    def send(self, frames: list[Frame], now: float) -> list[Frame]:
        """Return what gets onto the bus until `now` of these frames and of those that wait."""
        # Time in which nothing was to be sent is gone; what a step leaves of a frame is not.
        self._room = min(self._room, 1.0) + self._rate * max(now - self._now, 0.0)
        self._now = max(now, self._now)
        passed = []
        for frame in frames:
            if frame.can_id < self._first:
                passed.append(frame)
            else:
                self._waiting[frame.can_id] = frame
        while self._room >= 1.0 and self._waiting:
            self._room -= 1.0
            passed.append(self._waiting.pop(min(self._waiting)))
        return passed

    def lets_in(self, can_id: int) -> bool:
        """Return whether a frame that somebody else sent gets onto the bus."""
        if can_id < self._first:
            return True
        if self._rate <= 0.0 or any(waiting < can_id for waiting in self._waiting):
            return False
        self._room -= 1.0
        return True


@dataclass
class BusTrouble:
    """What is wrong with one bus."""

    off: bool = False
    delay: float = 0.0  # s, each frame is late by up to this much
    loss: float = 0.0  # share of the frames
    arbitration: Arbitration | None = None


@dataclass
class Troubles:
    """The way of all frames. `crc`: share of wrong CRCs by bus and module id (frame number 0)."""

    random: np.random.Generator
    buses: dict[str, BusTrouble] = field(default_factory=dict)
    crc: dict[tuple[str, int], float] = field(default_factory=dict)
    _late: list[tuple[float, int, Frame]] = field(default_factory=list)
    _count: int = 0
    _latest: dict[str, float] = field(default_factory=dict)  # frames of a bus keep their order

    def bus(self, name: str) -> BusTrouble:
        """Return what is wrong with a bus, to be changed."""
        return self.buses.setdefault(name, BusTrouble())

    def lets_in(self, frame: Frame) -> bool:
        """Return whether a frame that somebody else sent arrives."""
        bus = self.buses.get(frame.bus)
        if bus is None:
            return True
        if bus.off or (bus.loss and self.random.random() < bus.loss):
            return False
        return bus.arbitration is None or bus.arbitration.lets_in(frame.can_id)

    def send(self, frames: list[Frame], now: float) -> list[Frame]:
        """Return what arrives of the frames, and those of before that are due now."""
        if not (self.buses or self.crc or self._late):
            return frames
        arrived = []
        for frame in self._arbitrated(frames, now):
            spoiled = self._spoil(frame)
            bus = self.buses.get(frame.bus)
            if bus is None:
                arrived.append(spoiled)
            elif not self._lost(bus):
                self._count += 1
                due = now + bus.delay * self.random.random()
                due = self._latest[frame.bus] = max(due, self._latest.get(frame.bus, now))
                heapq.heappush(self._late, (due, self._count, spoiled))
        while self._late and self._late[0][0] <= now:
            late = heapq.heappop(self._late)[2]
            bus = self.buses.get(late.bus)
            if bus is None or not bus.off:
                arrived.append(late)
        return arrived

    def _arbitrated(self, frames: list[Frame], now: float) -> list[Frame]:
        """Return the frames that got onto their buses."""
        for name, bus in self.buses.items():
            if bus.arbitration is not None:
                others = [frame for frame in frames if frame.bus != name]
                mine = [frame for frame in frames if frame.bus == name]
                frames = others + bus.arbitration.send(mine, now)
        return frames

    def _lost(self, bus: BusTrouble) -> bool:
        return bus.off or (bus.loss > 0 and self.random.random() < bus.loss)

    def _spoil(self, frame: Frame) -> Frame:
        share = self.crc.get((frame.bus, frame.can_id & ~0xF), 0.0)
        if share <= 0.0 or self.random.random() >= share:
            return frame
        return frame._replace(data=bytes([frame.data[0] ^ 0x5A]) + frame.data[1:])
