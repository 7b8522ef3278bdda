# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from cantools.autosar.end_to_end import compute_profile2_crc
from cantools.database.errors import EncodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_sim import wire

STATUS = {'ProtocolVersion': 1, 'Bleeding': 0b101, 'Rebooted': 1, 'Serial': 0xBEEF}


def scan_by_cantools(address, voltages, temperatures, counter):
    """Encode a scan signal by signal, as slow and as plain as it can be."""
    db = wire.database()
    frames = {}
    for k in range(13):
        message = None if k == 11 else db.get_message_by_frame_id(wire.MODULE + k)
        if message is None:
            continue
        values = dict(STATUS) if k == 12 else {}
        fitted = k == 12
        for signal in message.signals:
            for prefix, given_values in (('Cell', voltages), ('Temperature', temperatures)):
                number = signal.name.removeprefix(prefix)
                if number != signal.name and number.isdigit():
                    known = int(number) <= len(given_values)
                    value = given_values[int(number) - 1] if known else math.nan
                    fitted |= known
                    values[signal.name] = 'NotMeasured' if math.isnan(value) else value
        if fitted:
            can_id = wire.module_id(address, k)
            frames[can_id] = wire.encode(message, can_id, counter, values)
    return frames


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 63),
    st.lists(st.one_of(st.floats(0, 6.5533), st.just(math.nan)), min_size=1, max_size=24),
    st.lists(st.one_of(st.floats(-60, 349.3), st.just(math.nan)), min_size=0, max_size=12),
    st.integers(0, 15),
)
def test_a_packed_scan_is_what_cantools_encodes(address, voltages, temperatures, counter):
    # cantools rounds after scaling with other last bits: half-way values would differ.
    voltages = [round(v, 4) for v in voltages]
    temperatures = [round(t, 1) for t in temperatures]
    layout = wire.ScanLayout(wire.database(), address, len(voltages), len(temperatures))
    packed = layout.pack(np.array(voltages), np.array(temperatures), counter, STATUS)
    assert dict(packed) == scan_by_cantools(address, voltages, temperatures, counter)
    assert [can_id for can_id, _ in packed] == sorted(can_id for can_id, _ in packed)


MESSAGES = [0x020, 0x040, 0x060, 0x080, 0x0A0, 0x40C, 0x40D, 0x40E]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(MESSAGES), st.integers(0, 15), st.data())
def test_a_frame_is_what_cantools_encodes(can_id, counter, data):
    message = wire.database().get_message_by_frame_id(can_id)
    values = {}
    for signal in message.signals:
        if signal.name in ('Crc', 'Counter'):
            continue
        # Whole raw values: half-way ones round with other last bits.
        low, high = (round(x / signal.scale) for x in (signal.minimum, signal.maximum))
        raw = data.draw(st.integers(low, high), signal.name)
        values[signal.name] = raw * signal.scale + signal.offset
        names = [str(name) for name in (signal.choices or {}).values()]
        if names and data.draw(st.booleans()):
            values[signal.name] = data.draw(st.sampled_from(names))
    packed = wire.encode(message, can_id, counter, values)
    plain = message.encode({**values, 'Crc': 0, 'Counter': counter}, strict=True)
    assert packed[1:] == plain[1:]
    assert packed[0] == compute_profile2_crc(packed, wire.data_id(can_id, counter))


@pytest.mark.parametrize(
    'values', [{'Current': 3e6}, {'Current': math.nan}, {'Current': 'Lost'}, {'Amperes': 1.0}]
)
def test_what_the_dbc_does_not_allow_is_refused(values):
    message = wire.database().get_message_by_frame_id(wire.CURRENT)
    with pytest.raises((EncodeError, KeyError)):
        wire.encode(message, wire.CURRENT, 0, values)


def test_values_beyond_the_format_are_its_ends_and_never_a_sentinel():
    layout = wire.ScanLayout(wire.database(), 0, 3, 4)
    voltages = np.array([-1.0, 9.0, 6.5534])
    packed = layout.pack(voltages, np.array([-300.0, 1e9, 0.0, np.nan]), 0, STATUS)
    cells = wire.database().get_message_by_frame_id(0x400).decode(packed[0][1])
    assert [cells[f'Cell{i}'] for i in (1, 2, 3)] == pytest.approx([0.0, 6.5533, 6.5533])
    degrees = wire.database().get_message_by_frame_id(0x408).decode(packed[1][1])
    assert [degrees[f'Temperature{i}'] for i in (1, 2, 3)] == pytest.approx([-60, 349.3, 0])
    assert degrees['Temperature4'] == 'NotMeasured'


@pytest.mark.parametrize('bit', range(64))
def test_a_flipped_bit_is_refused(bit):
    layout = wire.ScanLayout(wire.database(), 5, 3, 0)
    can_id, data = layout.pack(np.full(3, 3.7), np.empty(0), 3, STATUS)[0]
    assert wire.Receiver(can_id).accepts(data)
    wrong = (int.from_bytes(data, 'little') ^ 1 << bit).to_bytes(8, 'little')
    assert not wire.Receiver(can_id).accepts(wrong)


def test_a_repeated_short_or_foreign_frame_is_refused():
    layout = wire.ScanLayout(wire.database(), 5, 3, 0)
    can_id, data = layout.pack(np.full(3, 3.7), np.empty(0), 3, STATUS)[0]
    receiver = wire.Receiver(can_id)
    assert receiver.accepts(data)
    assert not receiver.accepts(data)
    assert not receiver.accepts(data[:7])
    assert not receiver.accepts(b'')
    assert receiver.refused == 3
    other = layout.pack(np.full(3, 3.7), np.empty(0), 4, STATUS)[0][1]
    assert not wire.Receiver(can_id + 16).accepts(other)
