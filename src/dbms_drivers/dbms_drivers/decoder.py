# SPDX-License-Identifier: Apache-2.0
"""From the frames of one bus to scans and string measurements: which frame goes where."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

import can

from dbms_drivers import codec, e2e
from dbms_drivers.assembler import ModuleAssembler, ModuleScan
from dbms_drivers.statistics import BusStatistics, Statistics
from dbms_drivers.strings import StringTracker

Output: TypeAlias = ModuleScan | StringTracker | None
Handler: TypeAlias = Callable[[bytes, float], Output]


class BusDecoder:
    """Checks and routes the frames of one bus. Holds no clock and raises nothing."""

    def __init__(
        self, bus: str, assemblers: Iterable[ModuleAssembler], trackers: Iterable[StringTracker]
    ) -> None:
        self.bus = bus
        self.statistics = BusStatistics()
        self.last_heard = float('-inf')  # when a frame with a right CRC came
        self._routes: dict[int, tuple[Statistics, Handler]] = {}
        self._foreign: set[int] = set()
        self.sources: list[Statistics] = []
        for assembler in assemblers:
            if assembler.module.bus == bus:
                self._add_module(assembler)
        for tracker in trackers:
            self._add_string(tracker)

    def feed(self, can_id: int, data: bytes, now: float) -> Output:
        """Take a data frame with an 11-bit id; `now` in s, steady.

        Returns a scan that became complete, a string with news, or None.
        """
        route = self._routes.get(can_id)
        if route is None:
            if can_id in self._foreign:
                self.statistics.foreign += 1
            else:
                self.statistics.unknown += 1
            return None
        statistics, handler = route
        if len(data) != 8:
            statistics.dlc += 1
            return None
        if e2e.crc(data, can_id) != data[0]:
            statistics.crc += 1
            return None
        self.last_heard = now
        return handler(data, now)

    def feed_message(self, message: can.Message, now: float) -> Output:
        """Take whatever python-can received."""
        if message.is_error_frame:
            self.statistics.error += 1
        elif message.is_extended_id:
            self.statistics.extended += 1
        elif message.is_remote_frame:
            self.statistics.remote += 1
        elif message.is_fd:
            self.statistics.fd += 1
        else:
            return self.feed(message.arbitration_id, bytes(message.data), now)
        return None

    def _add_module(self, assembler: ModuleAssembler) -> None:
        base = codec.MODULE + codec.MODULE_STRIDE * assembler.module.address
        statistics = assembler.statistics
        self.sources.append(statistics)
        for place, k in enumerate(assembler.frames):
            self._routes[base + k] = (statistics, _scan_handler(assembler, place))
        self._routes[base + codec.IDENTITY_FRAME] = (statistics, assembler.feed_identity)
        self._foreign.add(base + codec.BLEED_FRAME)

    def _add_string(self, tracker: StringTracker) -> None:
        sensor, unit = tracker.string.current_sensor, tracker.string.contactors
        if sensor.bus == self.bus:
            statistics = tracker.sensor_statistics
            self.sources.append(statistics)
            for base, feed in (
                (codec.STRING_CURRENT, tracker.feed_current),
                (codec.STRING_VOLTAGES, tracker.feed_voltages),
                (codec.STRING_INSULATION, tracker.feed_insulation),
            ):
                self._routes[base + sensor.address] = (statistics, _string_handler(tracker, feed))
        if unit.bus == self.bus:
            statistics = tracker.unit_statistics
            self.sources.append(statistics)
            handler = _string_handler(tracker, tracker.feed_feedback)
            self._routes[codec.CONTACTOR_FEEDBACK + unit.address] = (statistics, handler)
            self._foreign.add(codec.CONTACTOR_COMMAND + unit.address)


def _scan_handler(assembler: ModuleAssembler, place: int) -> Handler:
    feed = assembler.feed
    return lambda data, now: feed(place, data, now)


def _string_handler(tracker: StringTracker, feed: Callable[[bytes, float], bool]) -> Handler:
    return lambda data, now: tracker if feed(data, now) else None
