# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from boards import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from dbms_drivers import codec

u2 = st.integers(0, 3)


@given(st.integers(-(2**31), 2**31 - 2), st.booleans(), st.booleans())
def test_current(raw, fault, over):
    _, data = encode('StringCurrent', 3, 5, Current=raw / 1000, SensorFault=fault, OverRange=over)
    current, flags = codec.decode_current(data)
    assert current == pytest.approx(raw / 1000, abs=1e-6)
    assert flags == fault | over << 1


@given(st.integers(0, 2**24 - 2), st.integers(0, 2**24 - 2))
def test_voltages(string, link):
    values = {'StringVoltage': string / 1000, 'LinkVoltage': link / 1000}
    _, data = encode('StringVoltages', 0, 1, **values)
    assert codec.decode_voltages(data) == pytest.approx((string / 1000, link / 1000))


@given(st.integers(0, 65533))
def test_insulation(kiloohm):
    _, data = encode('StringInsulation', 0, 1, Resistance=kiloohm)
    assert codec.decode_insulation(data) == kiloohm * 1000.0


def test_insulation_above_the_scale_is_infinite():
    _, data = encode('StringInsulation', 0, 1, Resistance='AtLeast65534kOhm')
    assert codec.decode_insulation(data) == math.inf


@given(
    u2, u2, u2, st.integers(0, 2), st.integers(0, 7), st.integers(0, 65535), st.integers(0, 65535)
)
def test_feedback(minus, precharge, plus, interlock, flags, lease, sequence):
    _, data = encode(
        'ContactorFeedback',
        1,
        9,
        Minus=minus,
        Precharge=precharge,
        Plus=plus,
        Interlock=interlock,
        LeaseExpired=flags & 1,
        CoilFault=flags >> 1 & 1,
        SupplyLow=flags >> 2,
        LeaseRemaining=lease,
        Sequence=sequence,
    )
    found = codec.decode_feedback(data)
    assert found == (minus, precharge, plus, interlock, flags, lease * 0.001, sequence)


@given(st.integers(0, 0x7F), st.integers(0, 0x3F), st.integers(0, 0xFFFF))
def test_status(bleeding, flags, serial):
    names = (
        'OpenWire',
        'SelfTestFailed',
        'ReferenceFailed',
        'BoardHot',
        'Rebooted',
        'BleedRefused',
    )
    values = {name: flags >> i & 1 for i, name in enumerate(names)}
    _, data = encode('ModuleStatus', 0, 1, Bleeding=bleeding, Serial=serial, **values)
    assert codec.decode_status(data, 7) == (bleeding, flags, serial)


@given(st.integers(1, 24), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_identity(cells, temperatures, serial):
    values = {'CellCount': cells, 'TemperatureCount': temperatures, 'Serial': serial}
    _, data = encode('ModuleIdentity', 0, 1, **values)
    assert codec.decode_identity(data) == (cells, temperatures, serial)


@given(st.lists(st.integers(0, 65533), min_size=3, max_size=3), st.integers(1, 3))
def test_cells(raw, count):
    values = {f'Cell{i + 1}': value * 1e-4 for i, value in enumerate(raw)}
    _, data = encode('ModuleCells1', 0, 1, **values)
    found = codec.decode_cells(data, count)
    np.testing.assert_array_equal(found, (np.array(raw[:count]) * 1e-4).astype(np.float32))


@given(st.lists(st.integers(0, 0xFFD), min_size=4, max_size=4), st.integers(0, 4))
def test_temperatures(raw, count):
    values = {f'Temperature{i + 1}': value * 0.1 - 60 for i, value in enumerate(raw)}
    _, data = encode('ModuleTemperatures1', 0, 1, **values)
    found = codec.decode_temperatures(data if count else b'', count)
    np.testing.assert_allclose(found, np.array(raw[:count]) * 0.1 - 60, atol=1e-4)


def test_not_measured_is_nan():
    missing = ('NotMeasured', 'Fault')
    cells = {f'Cell{i + 1}': name for i, name in enumerate((*missing, 3.3))}
    found = codec.decode_cells(encode('ModuleCells1', 0, 1, **cells)[1], 3)
    np.testing.assert_array_equal(found, np.array([np.nan, np.nan, 3.3], 'f4'))
    sensors = {f'Temperature{i + 1}': name for i, name in enumerate((*missing, *missing))}
    data = encode('ModuleTemperatures1', 0, 1, **sensors)[1]
    assert np.isnan(codec.decode_temperatures(data, 4)).all()
    current = encode('StringCurrent', 0, 1, Current='NotMeasured')[1]
    assert math.isnan(codec.decode_current(current)[0])
    values = {'StringVoltage': 'NotMeasured', 'LinkVoltage': 48.0}
    string, link = codec.decode_voltages(encode('StringVoltages', 0, 1, **values)[1])
    assert math.isnan(string) and link == 48.0
    data = encode('StringInsulation', 0, 1, Resistance='NotMeasured')[1]
    assert math.isnan(codec.decode_insulation(data))


@pytest.mark.parametrize(
    'name, decoder',
    [
        ('StringCurrent', codec.decode_current),
        ('StringVoltages', codec.decode_voltages),
        ('StringInsulation', codec.decode_insulation),
        ('ContactorFeedback', codec.decode_feedback),
        ('ModuleIdentity', codec.decode_identity),
    ],
)
def test_unused_high_bits_are_refused(name, decoder):
    high = 'ProtocolVersion' if name == 'ModuleIdentity' else 'High'
    values = {'CellCount': 7} if name == 'ModuleIdentity' else {}
    assert decoder(encode(name, 0, 1, **values)[1]) is not None
    assert decoder(encode(name, 0, 1, **{high: 2}, **values)[1]) is None


@pytest.mark.parametrize(
    'decoder, byte, value',
    [
        (codec.decode_current, 6, 4),
        (codec.decode_current, 7, 1),
        (codec.decode_insulation, 4, 1),
        (codec.decode_insulation, 7, 1),
        (codec.decode_feedback, 2, 0xC0),
        (codec.decode_feedback, 3, 8),
    ],
)
def test_reserved_bits_are_refused(decoder, byte, value):
    data = bytearray(8)
    assert decoder(bytes(data)) is not None
    data[byte] = value
    assert decoder(bytes(data)) is None


def test_status_of_cells_that_are_not_there_is_refused():
    data = encode('ModuleStatus', 0, 1, Bleeding=1 << 7)[1]
    assert codec.decode_status(data, 7) is None
    assert codec.decode_status(data, 8) is not None


@given(
    st.integers(0, 15),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.floats(0, 60),
    st.integers(0, 2**32 - 1),
    st.integers(0, 15),
)
def test_contactor_command(address, contacts, lease, sequence, counter):
    frame = codec.encode_contactor_command(address, counter, contacts, lease, sequence)
    name, found, values = decode(frame)
    assert (name, found, values['Counter']) == ('ContactorCommand', address, counter)
    assert (values['Minus'], values['Precharge'], values['Plus']) == tuple(
        2 if closed else 1 for closed in contacts
    )
    assert lease - 0.001 < values['Lease'] / 1000 <= lease + 1e-9
    assert values['Sequence'] == sequence & 0xFFFF


@given(st.integers(0, 63), st.integers(0, 2**24 - 1), st.floats(0, 100), st.integers(0, 15))
def test_bleed_command(address, cells, lease, counter):
    name, found, values = decode(codec.encode_bleed_command(address, counter, cells, lease))
    assert (name, found, values['Cells']) == ('ModuleBleedCommand', address, cells)
    assert min(lease, 25.5) - 0.1 < values['Lease'] <= lease + 1e-6


@pytest.mark.parametrize(
    'cells, temperatures, frames',
    [
        (1, 0, (0, 0xC)),
        (7, 3, (0, 1, 2, 8, 0xC)),
        (24, 12, (*range(11), 0xC)),
        (6, 4, (0, 1, 8, 0xC)),
        (3, 5, (0, 8, 9, 0xC)),
    ],
)
def test_frames_of_a_scan(cells, temperatures, frames):
    assert codec.frames_of(cells, temperatures) == frames
