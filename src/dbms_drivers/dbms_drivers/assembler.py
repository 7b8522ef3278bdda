# SPDX-License-Identifier: Apache-2.0
"""From frames of a module board to whole scans.

A false value would have to get past all of this: the CRC of its frame, the same counter in all
frames of the scan, their order, no second frame with other content for the same place, a counter
that can follow the last scan's in the time that went by, reserved bits and the serial number.
"""

from dataclasses import dataclass

from dbms_drivers import codec
from dbms_drivers.codec import FloatArray
from dbms_drivers.e2e import PERIODS_TO_RESYNC, CounterCheck
from dbms_drivers.link import SerialWatch
from dbms_drivers.statistics import Statistics
from dbms_pack.model import Module

STATUS_REBOOTED = 1 << 4  # as in dbms_msgs/ModuleCells
STATUS_SCANS_LOST = 1 << 16
STATUS_FRAMES_REJECTED = 1 << 17
SCAN_PERIODS = 1.5  # a scan that is not whole after so many periods is dropped


@dataclass(frozen=True, slots=True)
class ModuleScan:
    """One complete and checked scan of a module."""

    module: str
    time: float  # s, steady, when its last frame arrived
    sequence: int  # a gap tells how many scans were lost
    voltages: FloatArray  # V, NaN: not measured
    temperatures: FloatArray  # degC, NaN: not measured
    bleeding: int
    serial: int
    status: int


class _Open:
    """A scan that is not complete yet. `parts` is None once it cannot become whole any more."""

    __slots__ = ('begin', 'parts')

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.parts: list[bytes] | None = []


class ModuleAssembler:
    """Assembles the scans of one module and counts what was wrong. Times in s, steady."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.statistics = Statistics()
        self.serials = SerialWatch(module.period)
        self.last_scan = float('-inf')
        self.identity: tuple[int, int, int] | None = None
        frames = codec.frames_of(module.cells, module.temperatures)
        self.frames = frames
        self._needed = len(frames)
        self._cell_frames = sum(k < codec.CELL_FRAMES for k in frames)
        self._padding = [_padding_of(k, module) for k in frames]
        self._limit = SCAN_PERIODS * module.period
        self._open: dict[int, _Open] = {}
        self._closed = (-1, float('-inf'))  # counter of the last complete scan, last heard when
        self._completed = float('-inf')
        self._counter = CounterCheck(module.period, confirm=False)
        self._rebooted = False  # the last scan that was used said so
        self._identity_counter = CounterCheck(1.0)
        self._sequence = 0
        self._missed = 0
        self._rejected = 0

    def feed(self, place: int, data: bytes, now: float) -> ModuleScan | None:
        """Take the frame that belongs at `place` of a scan, and return the scan if now whole.

        `data` is 8 bytes whose CRC was checked.
        """
        statistics = self.statistics
        if not self._plausible(place, data):
            statistics.implausible += 1
            return None
        counter = data[1] & 0xF
        scan = self._open.get(counter)
        if scan is None or now - scan.begin > self._limit:
            scan = self._begin(counter, scan, place, data, now)
            if scan is None:
                return None
        parts = scan.parts
        if parts is None:
            return None  # counted when the scan was given up
        if place < len(parts):
            self._again(scan, parts[place], data)
            return None
        if place > len(parts):  # frames before this one are missing
            statistics.incomplete += 1
            scan.parts = None
            return None
        statistics.accepted += 1
        parts.append(bytes(data))
        if len(parts) < self._needed:
            return None
        return self._complete(counter, parts, now)

    def feed_identity(self, data: bytes, now: float) -> None:
        """Take an identity frame."""
        identity = codec.decode_identity(data)
        if identity is None:
            self.statistics.implausible += 1
            return
        lost = self._identity_counter.update(data[1] & 0xF, now)
        if lost < 0:
            self.statistics.refuse(lost)
            return
        self.statistics.accepted += 1
        self.identity = identity
        self.serials.note(identity[2] & 0xFFFF, now)

    @property
    def mismatch(self) -> str:
        """What the board fitted that the pack file does not say; '' if they agree."""
        if self.identity is None:
            return ''
        cells, temperatures, _ = self.identity
        if (cells, temperatures) == (self.module.cells, self.module.temperatures):
            return ''
        return (
            f'board has {cells} cells and {temperatures} temperature sensors, the pack file says '
            f'{self.module.cells} and {self.module.temperatures}'
        )

    def _plausible(self, place: int, data: bytes) -> bool:
        if place == self._needed - 1:
            return codec.decode_status(data, self.module.cells) is not None
        padding = self._padding[place]
        return data[1] <= 0xF and int.from_bytes(data[2:], 'little') & padding == padding

    def _begin(
        self, counter: int, old: _Open | None, place: int, data: bytes, now: float
    ) -> _Open | None:
        if old is not None and old.parts is not None:
            self.statistics.incomplete += 1
        closed, when = self._closed
        if counter == closed and now - when <= PERIODS_TO_RESYNC * self.module.period:
            self._closed = (closed, now)  # a frozen board stays refused for as long as it repeats
            self.statistics.repeated += 1
            status = codec.decode_status(data, self.module.cells)
            if status is not None and place == self._needed - 1:
                self.serials.note(status[2], now)  # two boards in step show here only
            self._open.pop(counter, None)
            return None
        scan = self._open[counter] = _Open(now)
        return scan

    def _again(self, scan: _Open, first: bytes, second: bytes) -> None:
        if first == second:
            self.statistics.repeated += 1
            return
        self.statistics.conflict += 1
        scan.parts = None  # one of the two is false, and which one cannot be known

    def _complete(self, counter: int, parts: list[bytes], now: float) -> ModuleScan | None:
        statistics = self.statistics
        del self._open[counter]
        statistics.incomplete += sum(scan.parts is not None for scan in self._open.values())
        self._open.clear()
        status = codec.decode_status(parts[-1], self.module.cells)
        assert status is not None  # checked when it arrived
        known = self.serials.check(status[2], now)
        rebooted = bool(status[1] & STATUS_REBOOTED)
        # Only of the board that is known: another one that starts here has yet to be trusted.
        restarted = known and rebooted and not self._rebooted
        lost = self._counter.update(counter, now, restarted)
        if lost < 0:
            statistics.refuse(lost)
            return None
        self._rebooted = rebooted
        self._closed = (counter, now)
        silent = (now - self._completed) / self.module.period
        self._completed = now
        if lost == 0 and PERIODS_TO_RESYNC < silent < 1e9:
            self._missed += round(silent) - 1  # not counted as lost: that is the silence
        statistics.lost += lost
        self._missed += lost
        if not known or self.mismatch:
            statistics.duplicate += bool(self.serials.contested(now))
            self._missed += 1
            return None
        return self._publish(parts, status, now)

    def _publish(self, parts: list[bytes], status: tuple[int, int, int], now: float) -> ModuleScan:
        bleeding, flags, serial = status
        statistics = self.statistics
        if self._missed and self._sequence:
            flags |= STATUS_SCANS_LOST
        if statistics.rejected != self._rejected:
            flags |= STATUS_FRAMES_REJECTED
            self._rejected = statistics.rejected
        self._sequence = (self._sequence + 1 + self._missed) & 0xFFFFFFFF
        self._missed = 0
        self.last_scan = now
        statistics.scans += 1
        cells = self._cell_frames
        return ModuleScan(
            module=self.module.name,
            time=now,
            sequence=self._sequence,
            voltages=codec.decode_cells(b''.join(parts[:cells]), self.module.cells),
            temperatures=codec.decode_temperatures(
                b''.join(parts[cells:-1]), self.module.temperatures
            ),
            bleeding=bleeding,
            serial=serial,
            status=flags,
        )


def _padding_of(k: int, module: Module) -> int:
    """Return the bits of the payload of frame k that belong to no cell or sensor: all set."""
    if k < codec.CELL_FRAMES:
        used = 16 * min(module.cells - codec.CELLS_PER_FRAME * k, codec.CELLS_PER_FRAME)
    elif k < codec.STATUS_FRAME:
        first = codec.TEMPERATURES_PER_FRAME * (k - codec.FIRST_TEMPERATURE_FRAME)
        used = 12 * min(module.temperatures - first, codec.TEMPERATURES_PER_FRAME)
    else:
        return 0
    return (1 << 48) - (1 << used)
