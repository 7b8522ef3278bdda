# SPDX-License-Identifier: Apache-2.0
"""From serialized messages to what the cores take.

The two messages that make up nearly all of a recording are unpacked by hand, if the recording's
definition is the one that was written for; everything else, other versions of them too, goes
through `rosbags` by the definition that the recording carries.
"""

import struct
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .bags import BagTopic
from .schemas import installed

CELLS = 'dbms_msgs/msg/ModuleCells'
STRING = 'dbms_msgs/msg/StringMeasurement'
STATE = 'dbms_msgs/msg/ProtectionState'
BLEED = 'dbms_msgs/msg/BleedCommand'
NAN = float('nan')
Float32Array = npt.NDArray[np.float32]

# Hashes of the definitions that the functions below unpack.
KNOWN = {
    CELLS: 'RIHS01_1c51b1bf868b5f08cc7e34be60857405a65ede31c36cc556476db9e08ce64ac5',
    STRING: 'RIHS01_bb08e2d0396ded021fd71ce86b1a69082fef7eed10d50250d50acbcaa7931e73',
}


class Refused(ValueError):
    """A message that cannot be used, and why."""


class Scan(NamedTuple):
    """The fields of dbms_msgs/ModuleCells that are used."""

    stamp: float  # s
    place: str
    sequence: int
    voltages: Float32Array
    temperatures: Float32Array
    serial: int
    status: int


class Measurement(NamedTuple):
    """dbms_msgs/StringMeasurement, by the names of its fields."""

    stamp: float  # s
    place: str
    sequence: int
    current: float
    current_age: float
    string_voltage: float
    link_voltage: float
    voltage_age: float
    insulation_resistance: float
    insulation_age: float
    minus: int
    precharge: int
    plus: int
    contactor_age: float
    interlock: int
    lease_remaining: float
    status: int


class Told(NamedTuple):
    """The fields of dbms_msgs/ProtectionState that are used."""

    pack: str
    digest: str
    last_command: str
    strings: list[tuple[str, int]]  # name, state


Decoder = Callable[[bytes], Any]
_HEADER = struct.Struct('<4xiII')
_TWO = struct.Struct('<II')
_TAIL = struct.Struct('<IHxxI')
_LENGTH = struct.Struct('<I')
_STRING = struct.Struct('<I7f3Bxf B3xfI'.replace(' ', ''))


def unpack_cells(data: bytes) -> Scan:
    """Unpack a ModuleCells message; Refused if it is not as long as it says."""
    try:
        sec, nanosec, length = _HEADER.unpack_from(data)
        place = 16 + (length + 3 & ~3)
        sequence, cells = _TWO.unpack_from(data, place)
        place += 8
        voltages = np.frombuffer(data, np.float32, cells, place)
        place += 4 * cells
        (sensors,) = _LENGTH.unpack_from(data, place)
        temperatures = np.frombuffer(data, np.float32, sensors, place + 4)
        _, serial, status = _TAIL.unpack_from(data, place + 4 + 4 * sensors)
        name = str(data[16 : 15 + length], 'utf-8')
    except (struct.error, ValueError) as error:
        raise Refused('messages too short') from error
    return Scan(sec + nanosec * 1e-9, name, sequence, voltages, temperatures, serial, status)


def unpack_string(data: bytes) -> Measurement:
    """Unpack a StringMeasurement message; Refused if it is not as long as it says."""
    try:
        sec, nanosec, length = _HEADER.unpack_from(data)
        values = _STRING.unpack_from(data, 16 + (length + 3 & ~3))
        name = str(data[16 : 15 + length], 'utf-8')
    except (struct.error, ValueError) as error:
        raise Refused('messages too short') from error
    return Measurement(sec + nanosec * 1e-9, name, *values)


class Decoders:
    """Finds the decoder of each topic. `problems` counts what is wrong with the types.

    `notes` gets what another version of a type lacks.
    """

    def __init__(self, problems: Counter[str], notes: list[str] | None = None) -> None:
        self._problems = problems
        self._notes = [] if notes is None else notes
        self._stores: dict[tuple[str, str], tuple[Any, str]] = {}

    def of(self, topic: BagTopic) -> Decoder | None:
        """Return what unpacks the messages of a topic; None if nothing here can."""
        store, digest, _ = self.version(topic)
        if store is None:
            return None
        if KNOWN.get(topic.type) == digest:
            return unpack_cells if topic.type == CELLS else unpack_string
        return _Generic(store, topic.type).decode

    def version(self, topic: BagTopic) -> tuple[Any, str, bool]:
        """Return a typestore that reads a topic (None: nothing here can), the hash of its type
        and whether that is the installed one.
        """
        nothing = None, '', False
        definition = topic.definition
        try:
            current = installed(topic.type)
        except LookupError:
            current = None
        if not definition:
            # Older bags carry no definitions: then the installed one must do.
            if current is None or (topic.digest and topic.digest != current.digest):
                self._problems[f'topics of unknown version of {topic.type}'] += 1
                return nothing
            definition = current.definition
        store, digest = self._store(topic.type, definition)
        if store is None:
            self._problems['topics whose definition is malformed'] += 1
            return nothing
        if topic.digest and topic.digest != digest:
            self._problems['topics with a wrong type hash'] += 1
            return nothing  # what the bytes mean is not known
        if current is None:
            return store, digest, False
        here, ours = self._store(topic.type, current.definition)
        if here is None:  # an installed definition that rosbags does not understand
            return store, digest, digest == current.digest
        if digest != ours:
            self._problems[f'topics of another version of {topic.type}'] += 1
            self._note(topic.type, store, here)
        return store, digest, digest == ours

    def _note(self, name: str, store: Any, here: Any) -> None:
        there = _fields(store, name)
        lacks = [field for field in _fields(here, name) if field not in there]
        text = f'{name} is of another version'
        text += f', without {", ".join(lacks)}' if lacks else ''
        if text not in self._notes:
            self._notes.append(text)

    def _store(self, name: str, definition: str) -> tuple[Any, str]:
        """Return a typestore that knows the definition, and the hash of it."""
        key = (name, definition)
        if key not in self._stores:
            self._stores[key] = _typestore(name, definition)
        return self._stores[key]


def _typestore(name: str, definition: str) -> tuple[Any, str]:
    from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    try:
        types = get_types_from_msg(definition, name)
        known = {kind: fields for kind, fields in types.items() if kind not in store.fielddefs}
        store.register(known)
        return store, store.hash_rihs01(name)
    except (TypesysError, KeyError, ValueError, IndexError):
        return None, ''


def _fields(store: Any, name: str) -> list[str]:
    return [field for field, _ in store.fielddefs[name][1]]


class _Generic:
    def __init__(self, store: Any, name: str) -> None:
        self._store = store
        self._name = name
        self._shape = {CELLS: _scan, STRING: _measurement, STATE: _told}.get(name)

    def decode(self, data: bytes) -> Any:
        try:
            message = self._store.deserialize_cdr(data, self._name)
        except Exception as error:  # generated code: whatever a wrong length leads to
            raise Refused('messages too short') from error
        return message if self._shape is None else self._shape(message)


def _seconds(message: Any) -> float:
    stamp = message.header.stamp
    return float(stamp.sec + stamp.nanosec * 1e-9)


def _scan(message: Any) -> Scan:
    """Take what another version of the message has; Refused without the measurements."""
    try:
        return Scan(
            _seconds(message), message.header.frame_id, message.sequence,
            np.asarray(message.voltages, np.float32), np.asarray(message.temperatures, np.float32),
            getattr(message, 'serial', 0), getattr(message, 'status', 0),
        )  # fmt: skip
    except AttributeError as error:
        raise Refused('messages of an unknown version') from error


_DEFAULTS = {'minus': 0, 'precharge': 0, 'plus': 0, 'interlock': 0, 'status': 0}


def _measurement(message: Any) -> Measurement:
    try:
        first = (_seconds(message), message.header.frame_id, message.sequence, message.current)
    except AttributeError as error:
        raise Refused('messages of an unknown version') from error
    rest = [getattr(message, name, _DEFAULTS.get(name, NAN)) for name in Measurement._fields[4:]]
    return Measurement._make([*first, *rest])


def _told(message: Any) -> Told:
    try:
        strings = [(str(one.name), int(one.state)) for one in message.strings]
    except AttributeError as error:
        raise Refused('messages of an unknown version') from error
    texts = [str(getattr(message, name, '')) for name in ('pack', 'pack_digest', 'last_command')]
    return Told(texts[0], texts[1], texts[2], strings)
