# SPDX-License-Identifier: Apache-2.0
"""All boards, sensors and contactor units of the benchmark pack, with frames made beforehand."""

import itertools
import struct
import threading
import time
from collections.abc import Callable, Iterator

import can

from dbms_drivers.e2e import protect
from dbms_pack import Module, Pack

GOOD = 3.7  # V
BAD = 4.5  # V
TOO_MUCH = -200.0  # A, for a string of which the current is made bad
TEMPERATURE = 25.0  # degC
STATUS = 0xC
OPEN, CLOSED = 1, 2
MARK = 1  # board flag of a bad scan, for a peer that decodes nothing else


def scan_frames(module: Module, counter: int, bad: bool) -> list[can.Message]:
    """Return the frames of one scan; in a bad one the first cell is over its limit."""
    base = 0x400 + 16 * module.address
    voltages = [round(GOOD * 1e4)] * module.cells
    if bad:
        voltages[0] = round(BAD * 1e4)
    voltages += [0xFFFF] * (-len(voltages) % 3)
    frames = [
        (base + k, struct.pack('<3H', *voltages[3 * k : 3 * k + 3]))
        for k in range(len(voltages) // 3)
    ]
    raw = round((TEMPERATURE + 60) * 10)
    for k in range(0, module.temperatures, 4):
        fitted = [raw if k + i < module.temperatures else 0xFFF for i in range(4)]
        packed = sum(value << 12 * i for i, value in enumerate(fitted))
        frames.append((base + 8 + k // 4, packed.to_bytes(6, 'little')))
    frames.append((base + STATUS, bytes([0, 0, 0, MARK if bad else 0, module.address, 0])))
    return [
        message(can_id, counter, payload, high=can_id & 0xF == STATUS)
        for can_id, payload in frames
    ]


def message(can_id: int, counter: int, payload: bytes, high: int = 0) -> can.Message:
    """Return a frame protected as the reference protocol asks."""
    data = protect(can_id, counter, int(high), payload)
    return can.Message(arbitration_id=can_id, data=data, is_extended_id=False)


Place = tuple[str, int]  # what is bad: ('cell', module) or ('current', string)


class Traffic:
    """Plays the whole pack on a bus, in time, and answers contactor commands at once."""

    def __init__(self, pack: Pack, bus: can.BusABC, opened: Callable[[int, float], None]) -> None:
        """`opened(string, time)` is called when a command to open arrives for a closed string."""
        self._pack = pack
        self._bus = bus
        self._opened = opened
        self._lock = threading.Lock()
        self._scans = {
            (m, bad): [scan_frames(module, c, bad) for c in range(16)]
            for m, module in enumerate(pack.modules)
            for bad in (False, True)
        }
        self._string_of = [
            s for s, string in enumerate(pack.strings) for _ in range(len(string.modules))
        ]
        self._counters: dict[int, int] = {}
        self._bad: dict[Place, float | None] = {}
        self.closed = [False] * len(pack.strings)
        self._feedback = [(OPEN, OPEN, OPEN)] * len(pack.strings)
        self._running = threading.Event()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send_loop, daemon=True),
            threading.Thread(target=self._current_loop, daemon=True),
            threading.Thread(target=self._receive_loop, daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def run(self, running: bool) -> None:
        """Let frames flow, or not."""
        (self._running.set if running else self._running.clear)()

    def stop(self) -> None:
        self._stop.set()
        self._running.set()
        for thread in self._threads:
            thread.join(5.0)

    def make_bad(self, place: Place) -> None:
        """Send bad values of this place from its next frame on, until `sent_bad` is taken."""
        self._bad[place] = None

    def sent_bad(self, place: Place) -> float | None:
        """Return when the first bad value went out, and send good ones again."""
        return self._bad.pop(place, None)

    def _goes_out(self, place: Place) -> bool:
        """Tell whether a place is bad now, and note when that went out first."""
        if place not in self._bad:
            return False
        if self._bad.get(place, 0.0) is None:
            self._bad[place] = time.monotonic()
        return True

    def _count(self, can_id: int) -> int:
        value = self._counters.get(can_id, -1) + 1 & 0xF
        self._counters[can_id] = value
        return value

    def _send(self, can_id: int, payload: bytes) -> None:
        with self._lock:
            self._bus.send(message(can_id, self._count(can_id), payload))

    def _send_loop(self) -> None:
        modules = len(self._pack.modules)
        per_string = modules // len(self._pack.strings)
        for tick in self._ticks(self._pack.modules[0].period / modules):
            self._send_scan(tick % modules, tick // modules)
            if tick % per_string == 0:
                self._send_string(tick // per_string % len(self._pack.strings))

    def _current_loop(self) -> None:
        strings = self._pack.strings
        for tick in self._ticks(strings[0].current_sensor.period / len(strings)):
            self._send_current(tick % len(strings))

    def _ticks(self, step: float) -> Iterator[int]:
        """Yield a number every `step` s while frames flow."""
        due = time.monotonic()
        for tick in itertools.count():
            if not self._running.is_set():
                self._running.wait()
                due = time.monotonic()
            if self._stop.is_set():
                return
            yield tick
            due += step
            self._stop.wait(max(0.0, due - time.monotonic()))

    def _send_scan(self, module: int, number: int) -> None:
        with self._lock:
            bad = self._goes_out(('cell', module))
            for frame in self._scans[module, bad][number & 0xF]:
                self._bus.send(frame)

    def _send_current(self, s: int) -> None:
        with self._lock:
            amperes = TOO_MUCH if self._goes_out(('current', s)) else 0.0
            can_id = 0x60 + self._pack.strings[s].current_sensor.address
            payload = struct.pack('<iBB', round(amperes * 1e3), 0, 0)
            self._bus.send(message(can_id, self._count(can_id), payload))

    def _send_string(self, s: int) -> None:
        string = self._pack.strings[s]
        millivolts = round(GOOD * string.cells * 1e3)
        energised = any(CLOSED in feedback[1:] for feedback in self._feedback)
        link = millivolts if energised else 0
        address = string.current_sensor.address
        self._send(0x80 + address, millivolts.to_bytes(3, 'little') + link.to_bytes(3, 'little'))
        self._send_feedback(s)

    def _send_feedback(self, s: int, sequence: int = 0) -> None:
        minus, precharge, plus = self._feedback[s]
        bits = minus | precharge << 2 | plus << 4 | 1 << 6
        payload = struct.pack('<BBHH', bits, 0, 500, sequence)
        self._send(0x40 + self._pack.strings[s].contactors.address, payload)

    def _receive_loop(self) -> None:
        units = {
            0x20 + string.contactors.address: s for s, string in enumerate(self._pack.strings)
        }
        while not self._stop.is_set():
            frame = self._bus.recv(0.1)
            now = time.monotonic()
            if frame is None or frame.arbitration_id not in units:
                continue
            s = units[frame.arbitration_id]
            bits = frame.data[2]
            minus, precharge, plus = (
                CLOSED if bits >> n & 3 == CLOSED else OPEN for n in (0, 2, 4)
            )
            states = (minus, precharge, plus)
            if self.closed[s] and states[2] == OPEN:
                self._opened(s, now)
            self.closed[s] = states[2] == CLOSED
            if states != self._feedback[s]:
                self._feedback[s] = states
                self._send_feedback(s, frame.data[6] | frame.data[7] << 8)
                self._send_string(s)
