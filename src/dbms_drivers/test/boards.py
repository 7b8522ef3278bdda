# SPDX-License-Identifier: Apache-2.0
"""Boards for tests: they encode with cantools from the DBC, never with the code under test."""

from functools import cache
from pathlib import Path

import cantools
from cantools.autosar.end_to_end import compute_profile2_crc

from dbms_pack.model import ContactorUnit, CurrentSensor, Module, Precharge, String

DBC = Path(__file__).parents[3] / 'config' / 'can' / 'dbms.dbc'

Frame = tuple[int, bytes]


@cache
def database() -> cantools.database.Database:
    return cantools.database.load_file(DBC, strict=True)


def reference_crc(data: bytes, can_id: int) -> int:
    odd = data[1] & 1
    return compute_profile2_crc(data, (can_id ^ can_id >> 3 ^ 0x98 if odd else can_id) & 0xFF)


def encode(name: str, address: int, counter: int, **values) -> Frame:
    """Return id and data of a message of the DBC for an address, with its CRC."""
    message = database().get_message_by_name(name)
    signals = {signal.name: 0 for signal in message.signals} | values
    signals['Counter'] = counter & 0xF
    if 'ProtocolVersion' in signals and 'ProtocolVersion' not in values:
        signals['ProtocolVersion'] = 1
    data = bytearray(message.encode(signals, strict=True))
    can_id = message.frame_id + address * message.dbc.attributes['DbmsIdStride'].value
    data[0] = reference_crc(data, can_id)
    return can_id, bytes(data)


def decode(frame: Frame) -> tuple[str, int, dict]:
    """Return name, address and values of a frame, after checking its CRC."""
    can_id, data = frame
    assert reference_crc(data, can_id) == data[0]
    for message in database().messages:
        stride = message.dbc.attributes['DbmsIdStride'].value
        address, rest = divmod(can_id - message.frame_id, stride)
        if rest == 0 and 0 <= address < (64 if stride == 16 else 16):
            return message.name, address, message.decode(data, decode_choices=False)
    raise AssertionError(f'no message for {can_id:#x}')


class Board:
    """A module board; `scan` returns the frames of one scan."""

    def __init__(self, module: Module, serial: int = 0x1234, counter: int = 0) -> None:
        self.module = module
        self.serial = serial
        self.counter = counter

    def scan(self, voltages, temperatures=None, *, bleeding=0, **flags) -> list[Frame]:
        module = self.module
        temperatures = temperatures or [25.0] * module.temperatures
        address, counter = module.address, self.counter
        self.counter += 1
        frames = []
        for kind, signal, width, values in (
            ('ModuleCells', 'Cell', 3, list(voltages)),
            ('ModuleTemperatures', 'Temperature', 4, list(temperatures)),
        ):
            for first in range(0, len(values), width):
                signals = {
                    f'{signal}{i + 1}': values[i] if i < len(values) else 'NotMeasured'
                    for i in range(first, first + width)
                }
                name = f'{kind}{first // width + 1}'
                frames.append(encode(name, address, counter, **signals))
        frames.append(
            encode(
                'ModuleStatus',
                address,
                counter,
                Bleeding=bleeding,
                Serial=self.serial & 0xFFFF,
                **flags,
            )
        )
        return frames

    def identity(self, counter: int, **changes) -> Frame:
        module = self.module
        values = {
            'CellCount': module.cells,
            'TemperatureCount': module.temperatures,
            'Serial': self.serial,
        } | changes
        return encode('ModuleIdentity', module.address, counter, **values)


def make_module(name='m1', address=0, cells=7, temperatures=3, period=0.1, bus='main') -> Module:
    return Module(name, 'a', bus, address, cells, temperatures, 0, 0, period)


def make_string(modules=(), address=0, bus='main', lease=0.25) -> String:
    precharge = Precharge(2.0, 1.0, 0.1, 2.0, 3, 3.0)
    return String(
        name='a',
        modules=tuple(modules) or (make_module(),),
        current_sensor=CurrentSensor(bus, address, 0.02, 0.1, 500.0),
        contactors=ContactorUnit(bus, address, lease, 0.2, 20.0, 1.0, 2.0, precharge),
    )
