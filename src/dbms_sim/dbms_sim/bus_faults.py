# SPDX-License-Identifier: Apache-2.0
"""What happens to frames on their way: a bus that is off, overloaded, or garbles them."""

import heapq
from dataclasses import dataclass, field

import numpy as np

from dbms_sim.wire import Frame


@dataclass
class BusTrouble:
    """What is wrong with one bus."""

    off: bool = False
    delay: float = 0.0  # s, each frame is late by up to this much
    loss: float = 0.0  # share of the frames


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
        return bus is None or not (bus.off or (bus.loss and self.random.random() < bus.loss))

    def send(self, frames: list[Frame], now: float) -> list[Frame]:
        """Return what arrives of the frames, and those of before that are due now."""
        if not (self.buses or self.crc or self._late):
            return frames
        arrived = []
        for frame in frames:
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

    def _lost(self, bus: BusTrouble) -> bool:
        return bus.off or (bus.loss > 0 and self.random.random() < bus.loss)

    def _spoil(self, frame: Frame) -> Frame:
        share = self.crc.get((frame.bus, frame.can_id & ~0xF), 0.0)
        if share <= 0.0 or self.random.random() >= share:
            return frame
        return frame._replace(data=bytes([frame.data[0] ^ 0x5A]) + frame.data[1:])
