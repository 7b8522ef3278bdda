# SPDX-License-Identifier: Apache-2.0
"""Serializing messages so that the same message gives the same bytes.

The serializer of ROS 2 leaves what was in memory in the bytes that only align (Fast CDR), so two
runs of one replay would differ. Plain CDR, little endian (OMG DDS-XTypes 7.4.1, encoding 1).
"""

import importlib
import re
import struct
from array import array
from collections.abc import Callable
from functools import lru_cache
from typing import Any

Put = Callable[[bytearray, Any], None]
HEADER = b'\x00\x01\x00\x00'  # what alignment does not count
_FORMATS = {
    'boolean': '?', 'octet': 'B', 'uint8': 'B', 'int8': 'b', 'uint16': 'H', 'int16': 'h',
    'uint32': 'I', 'int32': 'i', 'uint64': 'Q', 'int64': 'q', 'float': 'f', 'double': 'd',
}  # fmt: skip
_SEQUENCE = re.compile(r'sequence<(.+?)(, \d+)?>')
_LENGTH = struct.Struct('<I')


def serialize(message: Any) -> bytes:
    """Return the serialized form of a ROS message; TypeError for a field of an unknown kind."""
    buffer = bytearray(HEADER)
    _message(type(message))(buffer, message)  # type: ignore[arg-type]
    return bytes(buffer)


def _align(buffer: bytearray, size: int) -> None:
    buffer += bytes(-(len(buffer) - len(HEADER)) % size)


@lru_cache
def _message(kind: type) -> Put:
    fields = [
        (name, _putter(field))
        for name, field in kind.get_fields_and_field_types().items()  # type: ignore[attr-defined]
    ]

    def put(buffer: bytearray, message: Any) -> None:
        for name, putter in fields:
            putter(buffer, getattr(message, name))

    return put


def _putter(field: str) -> Put:
    sequence = _SEQUENCE.fullmatch(field)
    if sequence is not None:
        return _sequence(sequence[1])
    if field in _FORMATS:
        return _primitive(_FORMATS[field])
    if field == 'string':
        return _string
    if '/' in field and '[' not in field:
        package, name = field.split('/')
        return _message(getattr(importlib.import_module(f'{package}.msg'), name))
    raise TypeError(f'field of type {field}')


def _primitive(letter: str) -> Put:
    packer = struct.Struct(f'<{letter}')
    size = packer.size

    def put(buffer: bytearray, value: Any) -> None:
        _align(buffer, size)
        buffer += packer.pack(value)

    return put


def _string(buffer: bytearray, value: str) -> None:
    data = value.encode()
    _align(buffer, 4)
    buffer += _LENGTH.pack(len(data) + 1) + data + b'\0'


def _sequence(element: str) -> Put:
    letter = _FORMATS.get(element)
    putter = _putter(element)

    def put(buffer: bytearray, values: Any) -> None:
        _align(buffer, 4)
        buffer += _LENGTH.pack(len(values))
        if letter is not None and len(values):
            _align(buffer, struct.calcsize(f'<{letter}'))
            plain = isinstance(values, array) and values.typecode == letter
            buffer += (
                values.tobytes() if plain else struct.pack(f'<{len(values)}{letter}', *values)
            )
            return
        for value in values:
            putter(buffer, value)

    return put
