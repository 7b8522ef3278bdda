# SPDX-License-Identifier: Apache-2.0
"""The reference CAN protocol as the DBC says it, for virtual units.

On purpose independent of the drivers' codec: layouts come from config/can/dbms.dbc through
cantools, so that a mistake in one of the two shows as a disagreement.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cantools
import numpy as np
import numpy.typing as npt
from cantools.database.can import Database, Message
from cantools.database.errors import EncodeError

from dbms_pack import paths

CONTACTOR_COMMAND = 0x020
CONTACTOR_FEEDBACK = 0x040
CURRENT = 0x060
VOLTAGES = 0x080
INSULATION = 0x0A0
MODULE = 0x400
BLEED = 0xE
PROTOCOL_VERSION = 1

CELLS_PER_FRAME = 3
TEMPERATURES_PER_FRAME = 4
NOT_MEASURED = 'NotMeasured'  # the DBC's name of it


class Frame(NamedTuple):
    """One classic CAN data frame with an 11-bit id, and the bus of the pack file it is on."""

    bus: str
    can_id: int
    data: bytes


@lru_cache
def database(path: Path | None = None) -> Database:
    """Return the protocol's DBC, by default the shipped one."""
    loaded = cantools.database.load_file(
        path or paths.find('can', 'dbms.dbc'), database_format='dbc'
    )
    assert isinstance(loaded, Database)
    return loaded


def module_id(address: int, frame: int) -> int:
    """Return the CAN id of frame 0..15 of the module at `address`."""
    return MODULE + 16 * address + frame


def data_id(can_id: int, counter: int) -> int:
    """Return the AUTOSAR E2E profile 2 data id of a CAN id at a counter value."""
    return (can_id ^ can_id >> 3 ^ 0x98) & 0xFF if counter & 1 else can_id & 0xFF


def checksum(can_id: int, data: bytes | bytearray) -> int:
    """Return what byte 0 of `data` has to be under `can_id`."""
    crc = 0xFF
    for byte in data[1:]:
        crc = _CRC_BYTES[crc ^ byte]
    return _CRC_BYTES[crc ^ data_id(can_id, data[1] & 0xF)] ^ 0xFF


def encode(
    message: Message, can_id: int, counter: int, values: Mapping[str, float | str]
) -> bytes:
    """Encode `values` (physical, or choice names) as the 8 bytes of `message` under `can_id`.

    `can_id` differs from the message's own by the address of the unit. Signals that are not
    given are 0. A value outside of the DBC's range is refused with cantools' EncodeError.
    """
    layout = _LAYOUTS.get(message.frame_id)
    if layout is None or layout[0] is not message:
        layout = _LAYOUTS[message.frame_id] = message, _FrameLayout(message)
    data = bytearray(layout[1].pack(values, counter & 0xF))
    data[0] = checksum(can_id, data)
    return bytes(data)


class _FrameLayout:
    """Packs one message of the DBC as cantools does, which takes ten times longer for it."""

    def __init__(self, message: Message) -> None:
        self._name = message.name
        self._places = {}
        for signal in message.signals:
            names = {str(name): raw for raw, name in (signal.choices or {}).items()}
            low, high = signal.minimum, signal.maximum
            bounds = (-math.inf if low is None else low, math.inf if high is None else high)
            size = (signal.start, (1 << signal.length) - 1)
            self._places[signal.name] = (*size, signal.scale, signal.offset, *bounds, names)

    def pack(self, values: Mapping[str, float | str], counter: int) -> bytes:
        word = counter << self._places['Counter'][0]
        for name, value in values.items():
            start, mask, scale, offset, low, high, names = self._places[name]
            if isinstance(value, str) and value in names:
                raw = names[value]
            elif not isinstance(value, str) and low <= value <= high:
                raw = round((value - offset) / scale)
            else:
                raise EncodeError(f'{self._name}.{name}: {value!r} is not within the DBC')
            word |= (raw & mask) << start
        return word.to_bytes(8, 'little')


_LAYOUTS: dict[int, tuple[Message, _FrameLayout]] = {}


def decode(message: Message, data: bytes) -> dict[str, float]:
    """Decode to physical numbers; choices such as NotMeasured stay raw-scaled numbers."""
    return message.decode_simple(bytes(data), decode_choices=False)  # type: ignore[return-value]


class Receiver:
    """The check of a received id: length, CRC, repeated counter. Counts what it refused."""

    def __init__(self, can_id: int) -> None:
        self.can_id = can_id
        self.refused = 0
        self._last: int | None = None

    def accepts(self, data: bytes) -> bool:
        """Return whether the frame may be used."""
        if len(data) != 8 or data[0] != checksum(self.can_id, data):
            self.refused += 1
            return False
        counter = data[1] & 0xF
        if counter == self._last:
            self.refused += 1
            return False
        self._last = counter
        return True


def _crc_table() -> npt.NDArray[np.uint8]:
    table: npt.NDArray[np.uint16] = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        table = np.where(table & 0x80, (table << 1) ^ 0x12F, table << 1)
    return (table & 0xFF).astype(np.uint8)


_CRC_TABLE = _crc_table()
_CRC_BYTES = _CRC_TABLE.tobytes()


def checksums(rows: npt.NDArray[np.uint8], ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return byte 0 for each row of frames (n, 8) and data ids (n,): `checksum`, vectorised."""
    crc = np.full(len(rows), 0xFF, dtype=np.uint8)
    for column in range(1, 8):
        crc = _CRC_TABLE[crc ^ rows[:, column]]
    return _CRC_TABLE[crc ^ ids] ^ np.uint8(0xFF)


class ScanLayout:
    """Packs a board's whole scan at once; the bit positions and scales are those of the DBC.

    Every signal of the protocol is little endian, so a frame is one 64-bit number and a scan is
    shifts and sums. cantools' own encoder would cost 15 times more.
    """

    def __init__(self, db: Database, address: int, cells: int, temperatures: int) -> None:
        frames = [*range(-(-cells // CELLS_PER_FRAME))]
        frames += [8 + k for k in range(-(-temperatures // TEMPERATURES_PER_FRAME))]
        frames.append(0xC)
        messages = [db.get_message_by_frame_id(MODULE + frame) for frame in frames]
        self.can_ids = [module_id(address, frame) for frame in frames]
        self._cells = _Signals(messages, 'Cell', cells)
        self._temperatures = _Signals(messages, 'Temperature', temperatures)
        self._status = messages[-1]
        self._status_rows: dict[tuple[object, ...], npt.NDArray[np.uint8]] = {}
        self._unused = self._cells.unused(len(frames)) | self._temperatures.unused(len(frames))
        ids = np.array(self.can_ids)
        odd = (ids ^ ids >> 3 ^ 0x98) & 0xFF
        self._data_ids = [(ids & 0xFF).astype(np.uint8), odd.astype(np.uint8)]

    def pack(
        self,
        voltages: npt.NDArray[np.float64],
        temperatures: npt.NDArray[np.float64],
        counter: int,
        status: Mapping[str, float],
    ) -> list[tuple[int, bytes]]:
        """Return (id, data) of each frame of one scan.

        `voltages` (cells,) V and `temperatures` (sensors,) degC; NaN goes out as NotMeasured,
        infinite as Fault, what exceeds the range of the format as its end. `status`: signals of
        ModuleStatus.
        """
        words = self._unused.copy()
        self._cells.add(words, voltages)
        self._temperatures.add(words, temperatures)
        words |= np.uint64((counter & 0xF) << 8)
        rows = words.astype('<u8').view(np.uint8).reshape(-1, 8)
        rows[-1] = self._status_row(counter & 0xF, status)
        rows[:, 0] = checksums(rows, self._data_ids[counter & 1])
        data = rows.tobytes()
        return [(can_id, data[8 * i : 8 * i + 8]) for i, can_id in enumerate(self.can_ids)]

    def _status_row(self, counter: int, status: Mapping[str, float]) -> npt.NDArray[np.uint8]:
        key = (counter, *status.items())
        row = self._status_rows.get(key)
        if row is None:
            if len(self._status_rows) > 64:  # a status changes rarely: 16 counters are in use
                self._status_rows.clear()
            data = encode(self._status, self.can_ids[-1], counter, status)
            row = self._status_rows[key] = np.frombuffer(data, dtype=np.uint8)
        return row


class _Signals:
    """Where the numbered signals `prefix`1..n of some messages are, as arrays."""

    def __init__(self, messages: Sequence[Message], prefix: str, fitted: int) -> None:
        found = [
            (int(signal.name[len(prefix) :]), row, signal)
            for row, message in enumerate(messages)
            for signal in message.signals
            if signal.name.startswith(prefix) and signal.name[len(prefix) :].isdigit()
        ]
        found.sort(key=lambda item: item[0])
        self._rows = np.array([row for _, row, _ in found], dtype=np.intp)
        self._shifts = np.array([signal.start for *_, signal in found], dtype=np.uint64)
        self._missing = np.array([(1 << signal.length) - 1 for *_, signal in found], np.uint64)
        first = found[0][2] if found else None
        self._scale = float(first.scale) if first else 1.0
        self._offset = float(first.offset) if first else 0.0
        # The two highest raw values are NotMeasured and Fault.
        self._top = float(self._missing[0]) - 2 if found else 0.0
        self._fitted = fitted

    def unused(self, frames: int) -> npt.NDArray[np.uint64]:
        """Return the frames as words with NotMeasured at the positions that are not fitted."""
        words = np.zeros(frames, dtype=np.uint64)
        free = slice(self._fitted, None)
        np.bitwise_or.at(words, self._rows[free], self._missing[free] << self._shifts[free])
        return words

    def add(self, words: npt.NDArray[np.uint64], values: npt.NDArray[np.float64]) -> None:
        """Put the physical `values` (fitted,) into `words`, in place."""
        if not self._fitted:
            return
        fit = slice(0, self._fitted)
        known = np.isfinite(values)
        scaled = np.rint((np.where(known, values, 0.0) - self._offset) / self._scale)
        raw = np.where(
            known,
            np.clip(scaled, 0.0, self._top).astype(np.uint64),
            self._missing[fit] - np.isinf(values).astype(np.uint64),
        )
        np.bitwise_or.at(words, self._rows[fit], raw << self._shifts[fit])
