# SPDX-License-Identifier: Apache-2.0
"""Layouts of the frames of the reference protocol: bytes to values and back.

The same as config/can/dbms.dbc, written out: all values of a scan become numbers in a few array
operations, and reserved bits are checked.
Decoders take 8 bytes whose CRC was checked. They return None where reserved bits are set or a code
has no meaning: such a frame is refused as a whole. NaN stands for "not measured".
"""

import math
import struct

import numpy as np
import numpy.typing as npt

from dbms_drivers.e2e import protect

PROTOCOL_VERSION = 1
CONTACTOR_COMMAND = 0x020
CONTACTOR_FEEDBACK = 0x040
STRING_CURRENT = 0x060
STRING_VOLTAGES = 0x080
STRING_INSULATION = 0x0A0
MODULE = 0x400
MODULE_STRIDE = 16
CELL_FRAMES = 8
CELLS_PER_FRAME = 3
FIRST_TEMPERATURE_FRAME = 8
TEMPERATURES_PER_FRAME = 4
STATUS_FRAME = 0xC
IDENTITY_FRAME = 0xD
BLEED_FRAME = 0xE
MAX_BLEED_LEASE = 25.5  # s

_CURRENT = struct.Struct('<xBiBB')
_FEEDBACK = struct.Struct('<xBBBHH')
_INSULATION = struct.Struct('<xBHI')
_COMMAND = struct.Struct('<BBHH')
_CURRENT_NOT_MEASURED = 0x7FFFFFFF
_U24_NOT_MEASURED = 0xFFFFFF
_TEMPERATURE_SHIFTS = np.array([16, 28, 40, 52], np.uint64)

FloatArray = npt.NDArray[np.float32]


def frames_of(cells: int, temperatures: int) -> tuple[int, ...]:
    """Return which frames make up a scan of a module, in the order in which they are sent."""
    cell_frames = math.ceil(cells / CELLS_PER_FRAME)
    temperature_frames = math.ceil(temperatures / TEMPERATURES_PER_FRAME)
    first = FIRST_TEMPERATURE_FRAME
    return (*range(cell_frames), *range(first, first + temperature_frames), STATUS_FRAME)


def decode_current(data: bytes) -> tuple[float, int] | None:
    """Return current in A (positive while charging) and flags: bit 0 fault, bit 1 over range."""
    head, raw, flags, reserved = _CURRENT.unpack(data)
    if head > 0xF or flags > 3 or reserved:
        return None
    return (math.nan if raw == _CURRENT_NOT_MEASURED else raw * 0.001), flags


def decode_voltages(data: bytes) -> tuple[float, float] | None:
    """Return the voltages of string and link in V."""
    if data[1] > 0xF:
        return None
    string = data[2] | data[3] << 8 | data[4] << 16
    link = data[5] | data[6] << 8 | data[7] << 16
    return (
        math.nan if string == _U24_NOT_MEASURED else string * 0.001,
        math.nan if link == _U24_NOT_MEASURED else link * 0.001,
    )


def decode_insulation(data: bytes) -> float | None:
    """Return the insulation resistance in Ohm; inf: more than the monitor can tell."""
    head, raw, reserved = _INSULATION.unpack(data)
    if head > 0xF or reserved:
        return None
    if raw == 0xFFFF:
        return math.nan
    return math.inf if raw == 0xFFFE else raw * 1000.0


def decode_feedback(data: bytes) -> tuple[int, int, int, int, int, float, int] | None:
    """Return minus, precharge, plus, interlock, flags, remaining lease in s, sequence.

    Contacts: 0 unknown, 1 open, 2 closed, 3 fault. Interlock: 0 unknown, 1 closed, 2 open.
    Flags: bit 0 lease expired, bit 1 coil fault, bit 2 supply low.
    """
    head, contacts, flags, lease, sequence = _FEEDBACK.unpack(data)
    interlock = contacts >> 6
    if head > 0xF or interlock == 3 or flags > 7:
        return None
    minus, precharge, plus = contacts & 3, contacts >> 2 & 3, contacts >> 4 & 3
    return minus, precharge, plus, interlock, flags, lease * 0.001, sequence


def decode_status(data: bytes, cells: int) -> tuple[int, int, int] | None:
    """Return bleeding bits, status flags (as in dbms_msgs/ModuleCells) and serial number."""
    bleeding = data[2] | data[3] << 8 | data[4] << 16
    flags = data[5]
    if data[1] >> 4 != PROTOCOL_VERSION or bleeding >> cells or flags > 0x3F:
        return None
    return bleeding, flags, data[6] | data[7] << 8


def decode_identity(data: bytes) -> tuple[int, int, int] | None:
    """Return the numbers of cells and of temperature sensors, and the serial number."""
    if data[1] >> 4 != PROTOCOL_VERSION or not 1 <= data[2] <= 24 or data[3] > 12:
        return None
    return data[2], data[3], int.from_bytes(data[4:8], 'little')


def decode_cells(frames: bytes, cells: int) -> FloatArray:
    """Return the voltages in V from the joined cell frames (8 bytes each) of a scan."""
    raw = np.frombuffer(frames, '<u2').reshape(-1, 4)[:, 1:].ravel()[:cells]
    return np.where(raw >= 0xFFFE, np.nan, raw * 1e-4).astype(np.float32)


def decode_temperatures(frames: bytes, temperatures: int) -> FloatArray:
    """Return the temperatures in degC from the joined temperature frames of a scan."""
    words = np.frombuffer(frames, '<u8')[:, np.newaxis]
    raw = (words >> _TEMPERATURE_SHIFTS & np.uint64(0xFFF)).ravel()[:temperatures]
    return np.where(raw >= 0xFFE, np.nan, raw * 0.1 - 60.0).astype(np.float32)


def encode_contactor_command(
    address: int, counter: int, contacts: tuple[bool, bool, bool], lease: float, sequence: int
) -> tuple[int, bytes]:
    """Return id and data that set minus, precharge and plus for `lease` seconds."""
    minus, precharge, plus = (2 if closed else 1 for closed in contacts)
    milliseconds = min(int(lease * 1000.0), 0xFFFF)  # rounded down: never longer than granted
    payload = _COMMAND.pack(minus | precharge << 2 | plus << 4, 0, milliseconds, sequence & 0xFFFF)
    can_id = CONTACTOR_COMMAND + address
    return can_id, protect(can_id, counter, 0, payload)


def encode_bleed_command(
    address: int, counter: int, cells: int, lease: float
) -> tuple[int, bytes]:
    """Return id and data that balance the cells of the bits of `cells` for `lease` seconds."""
    tenths = int(min(lease, MAX_BLEED_LEASE) * 10.0 + 1e-6)  # 0.3 s in float32 are 3 tenths
    can_id = MODULE + MODULE_STRIDE * address + BLEED_FRAME
    payload = cells.to_bytes(3, 'little') + bytes((tenths, 0, 0))
    return can_id, protect(can_id, counter, 0, payload)
