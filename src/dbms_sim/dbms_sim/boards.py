# SPDX-License-Identifier: Apache-2.0
"""A virtual monitoring board: measures its module's cells and speaks the reference protocol."""

import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cantools.database.can import Database

from dbms_pack.model import Module
from dbms_sim import wire
from dbms_sim.distortions import Distortion
from dbms_sim.schedule import Schedule
from dbms_sim.wire import Frame, ScanLayout

IDENTITY_PERIOD = 1.0  # s
REBOOTED_SCANS = 10

_FLAG_SIGNALS = {
    'open_wire': 'OpenWire',
    'self_test_failed': 'SelfTestFailed',
    'reference_failed': 'ReferenceFailed',
    'board_hot': 'BoardHot',
    'bleed_refused': 'BleedRefused',
}

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CellOffset:
    """A wrong measurement: `offset` V is added to what the board reads of a cell; NaN: nothing."""

    module: str
    cell: int  # 1-based
    offset: float

    @classmethod
    def parse(cls, text: str) -> 'CellOffset':
        """Read 'm1:3:+0.5' or 'm1:3:nan'; ValueError says what is wrong."""
        try:
            module, cell, offset = text.split(':')
            parsed = cls(module, int(cell), float(offset))
        except ValueError:
            raise ValueError(
                f"cell offset '{text}' is not MODULE:CELL:VOLTS, such as m1:3:+0.5 or m1:3:nan"
            ) from None
        if parsed.cell < 1 or math.isinf(parsed.offset):
            raise ValueError(f"cell offset '{text}': cells count from 1, volts are finite or nan")
        return parsed


class VirtualBoard:
    """One module board. Times in s on a steady clock."""

    def __init__(self, module: Module, db: Database, phase: float, serial: int | None = None):
        self.module = module
        # A serial number that is its own and the same in every run.
        self.serial = zlib.crc32(module.name.encode()) if serial is None else serial
        self.cell_faults: dict[object, Distortion] = {}
        self.temperature_faults: dict[object, Distortion] = {}
        self.flags: dict[object, str] = {}  # what it reports of itself, as in FLAGS
        self.offsets = np.zeros(module.cells)  # V, added to what is measured
        self._layout = ScanLayout(db, module.address, module.cells, module.temperatures)
        self._scans = Schedule(module.period, phase)
        self._identities = Schedule(IDENTITY_PERIOD, phase)
        self._scan = 0
        self._sent_identities = 0
        self._identity = db.get_message_by_frame_id(wire.module_id(0, 0xD))
        self._command = db.get_message_by_frame_id(wire.module_id(0, wire.BLEED))
        self.command_id = wire.module_id(module.address, wire.BLEED)
        self._receiver = wire.Receiver(self.command_id)
        self._bleeding = 0
        self._bleed_until = -math.inf
        self._unplugged: set[str] = set()
        self._paces: dict[str, float] = {}

    @property
    def silent(self) -> bool:
        """Whether it has no power, for whatever reason."""
        return bool(self._unplugged)

    @property
    def frames_key(self) -> tuple[str, int]:
        """Bus and first id of its frames."""
        return self.module.bus, wire.module_id(self.module.address, 0)

    def unplugged(self, reason: str) -> bool:
        """Whether it has no power for this reason, be it alone."""
        return reason in self._unplugged

    def set_pace(self, reason: str, factor: float) -> None:
        """Let its clock be slower by `factor`; several reasons multiply."""
        self._paces[reason] = factor
        pace = math.prod(self._paces.values())
        self._scans.set_period(self.module.period * pace)
        self._identities.set_period(IDENTITY_PERIOD * pace)

    def plug(self, powered: bool, reason: str = 'plug') -> None:
        """Pull the board's plug, or put it in again: it then starts anew."""
        if powered != (reason in self._unplugged):
            return
        if powered:
            self._unplugged.discard(reason)
        else:
            self._unplugged.add(reason)
        self._scan = self._sent_identities = 0
        self._bleed_until = -math.inf

    @property
    def refused(self) -> int:
        """Frames to this board that did not pass the check."""
        return self._receiver.refused

    def bleeding(self, now: float) -> int:
        """Return the bits of the cells whose resistor is on; none once the lease ran out."""
        if now >= self._bleed_until:
            self._bleeding = 0
        return self._bleeding

    def receive(self, data: bytes, now: float) -> None:
        """Take a bleed command, if it passes the check of length, CRC and counter."""
        if self.silent or not self._receiver.accepts(data):
            return
        values = wire.decode(self._command, data)
        self._bleeding = int(values['Cells']) & ((1 << self.module.cells) - 1)
        self._bleed_until = now + values['Lease']

    def step(
        self, now: float, voltages: FloatArray, temperatures: FloatArray, position: float = 0.0
    ) -> list[Frame]:
        """Return the frames that are due; arrays are all cells and sensors of the pack."""
        frames: list[Frame] = []
        if self._scans.due(now) and not self.silent:
            frames = self._measure(now, voltages, temperatures, position)
        if self._identities.due(now) and not self.silent:
            frames.append(self._identify())
        return frames

    def _measure(
        self, now: float, voltages: FloatArray, temperatures: FloatArray, position: float
    ) -> list[Frame]:
        module = self.module
        status = {
            'ProtocolVersion': wire.PROTOCOL_VERSION,
            'Bleeding': self.bleeding(now),
            'Rebooted': int(self._scan < REBOOTED_SCANS),
            'Serial': self.serial & 0xFFFF,
            **{_FLAG_SIGNALS[flag]: 1 for flag in self.flags.values()},
        }
        measured = voltages[module.cell_slice] + self.offsets
        for fault in self.cell_faults.values():
            fault.apply(measured, position)
        warm = temperatures[module.temperature_slice].copy()
        for fault in self.temperature_faults.values():
            fault.apply(warm, position)
        scan = self._layout.pack(
            measured,
            warm,
            self._scan & 0xF,
            status,
        )
        self._scan += 1
        return [Frame(module.bus, can_id, data) for can_id, data in scan]

    def _identify(self) -> Frame:
        module = self.module
        values = {
            'ProtocolVersion': wire.PROTOCOL_VERSION,
            'CellCount': module.cells,
            'TemperatureCount': module.temperatures,
            'Serial': self.serial,
        }
        can_id = wire.module_id(module.address, 0xD)
        data = wire.encode(self._identity, can_id, self._sent_identities, values)
        self._sent_identities += 1
        return Frame(module.bus, can_id, data)
