# SPDX-License-Identifier: Apache-2.0
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from dbms_sim.feeds import RecordingFeed
from dbms_sim.link import Contacts
from dbms_sim.playback import RecordingError, read_profile, read_recording

DATA = Path(os.environ.get('DBMS_DATA', Path(__file__).parents[4] / 'shared/data'))
LEAF = DATA / 'leaf_module'

HEADER = 'Time,Current,Cell 1,Cell 2,Cell 3,Cell 4,Cell 5,Cell 6,Temp 1,Temp 2,Temp 3\n'


def row(time, current='-1', voltage='3.7', temperature='25'):
    return ','.join([str(time), current, *[voltage] * 6, *[temperature] * 3]) + '\n'


def write(tmp_path, text, name='file.csv'):
    path = tmp_path / name
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize('rate, rows, current', [('1_0c', 4144, -65.0), ('0_3c', 13870, -19.5)])
def test_laboratory_file_as_it_is(leaf, rate, rows, current):
    path = LEAF / f'module123-irdischarge-65ah-{rate}.csv.gz'
    if not path.exists():
        pytest.skip(f'{path} is not here: measured data, see $DBMS_DATA')
    recording = read_recording(path, leaf)
    assert recording.notes == ()
    assert recording.voltages.shape == (rows, 6)
    assert recording.temperatures.shape == (rows, 3)
    assert recording.time[0] == 1.0
    assert recording.voltages[0, 0] == pytest.approx(4.119 if rate == '0_3c' else 4.114)
    assert recording.voltages[-1].min() == pytest.approx(3.0)
    assert recording.current[recording.row(100.0), 0] == pytest.approx(current, abs=0.2)
    assert recording.current[recording.row(15.0), 0] == pytest.approx(-0.02)


def test_rows_as_a_laboratory_writes_them(tmp_path, leaf):
    text = 'Test Name,x\n,\n\nName,Port 1, Ctrl 3\n' + HEADER.rstrip() + ',\n'
    text += row(0.0).rstrip() + ',\n' + ',,,\n\n' + row(0.5, '-2') + row(0.5, '-3') + row(1.5)
    path = tmp_path / 'file.csv.gz'
    path.write_bytes(gzip.compress(b'\xef\xbb\xbf' + text.replace('\n', '\r\n').encode()))
    recording = read_recording(path, leaf)
    assert recording.time.tolist() == [0.0, 0.5, 1.5]
    assert recording.current[:, 0].tolist() == [-1.0, -3.0, -1.0]  # the later of one time
    assert recording.notes == ('1 rows with the time of the next row left out',)


def test_a_hole_is_not_measured_and_told(tmp_path, leaf):
    text = HEADER + row(0) + row(1, voltage='', temperature='nan')
    recording = read_recording(write(tmp_path, text), leaf)
    assert np.isnan(recording.voltages[1]).all()
    assert np.isnan(recording.temperatures[1]).all()
    assert recording.notes == ('9 values not measured',)


def test_sensors_that_the_file_lacks_are_not_measured(tmp_path, leaf):
    text = '\n'.join(line.rsplit(',', 2)[0] for line in (HEADER + row(0)).splitlines())
    recording = read_recording(write(tmp_path, text), leaf)
    assert recording.temperatures[0, 0] == 25.0
    assert np.isnan(recording.temperatures[0, 1:]).all()
    assert 'sensors' in recording.notes[0]


@pytest.mark.parametrize(
    'header',
    [
        't;i;v1;v2;v3;v4;v5;v6',
        'Time [s]\tCurrent [A]\t' + '\t'.join(f'Cell {i} [V]' for i in range(1, 7)),
        'time_s,current_a,' + ','.join(f'cell_{i}_v' for i in range(1, 7)),
        '"Test Time (s)","Pack Current",' + ','.join(f'"Cell Voltage A{i}"' for i in range(1, 7)),
    ],
)
def test_usual_names_and_delimiters(tmp_path, leaf, header):
    delimiter = next(d for d in ';\t,' if d in header)
    values = delimiter.join(['0', '-5', *['3.5'] * 6])
    recording = read_recording(write(tmp_path, f'{header}\n{values}\n'), leaf)
    assert recording.current[0, 0] == -5.0
    assert recording.voltages[0].tolist() == [3.5] * 6


MALFORMED = {
    'no rows': (HEADER, ['no rows', 'line 1']),
    'empty file': ('', ['no header']),
    'no header': ('1,2,3\n4,5,6\n', ['no header', 'Current']),
    'missing current': (HEADER.replace('Current', 'X') + row(0), ['line 1', 'current']),
    'missing cell': (
        'Time,Current,Cell 1\n0,0,3.7\n',
        ['1 columns of cell voltages', 'leaf_module', '6 cells'],
    ),
    'not a number': (
        HEADER + row(0) + row(1, voltage='3.7V'),
        ['line 3', 'Cell 1', "'3.7V'", 'not a number'],
    ),
    'infinite': (HEADER + row(0, current='inf'), ['line 2', 'Current', "'inf'"]),
    'no time': (HEADER + row(''), ['line 2', 'Time', 'delete the line']),
    'time backwards': (
        HEADER + row(5) + row(4),
        ['line 3', 'Time', '4 s', '5 s', 'backwards', 'sort'],
    ),
    'cut off': (HEADER + row(0) + '1,-1,3.7\n', ['line 3', '3 fields', 'Temp 3', 'cut off']),
    'two currents': (
        HEADER.replace('Temp 3', 'Current') + row(0),
        ['2 columns of current', '1 strings'],
    ),
}


@pytest.mark.parametrize('case', MALFORMED)
def test_malformed_file_is_refused_with_place_and_remedy(tmp_path, leaf, case):
    text, words = MALFORMED[case]
    path = write(tmp_path, text)
    with pytest.raises(RecordingError) as error:
        read_recording(path, leaf)
    message = str(error.value)
    assert message.startswith(str(path))
    for word in words:
        assert word in message, message


@pytest.mark.parametrize('content', [b'\x1f\x8b\x08\x00broken', gzip.compress(b'x' * 999)[:-9]])
def test_broken_archive_is_refused(tmp_path, leaf, content):
    path = tmp_path / 'file.csv.gz'
    path.write_bytes(content)
    with pytest.raises(RecordingError, match='cannot be read'):
        read_recording(path, leaf)


def test_absent_file_and_random_bytes_are_refused(tmp_path, leaf):
    with pytest.raises(RecordingError, match='cannot be read'):
        read_recording(tmp_path / 'none.csv', leaf)
    noise = tmp_path / 'noise.csv'
    noise.write_bytes(np.random.default_rng(1).bytes(20_000))
    with pytest.raises(RecordingError, match='no header'):
        read_recording(noise, leaf)


def test_load_profile_needs_every_current(tmp_path):
    path = write(tmp_path, 'time,current\n0,-1\n1,\n')
    with pytest.raises(RecordingError, match='every row'):
        read_profile(path)


CLOSED = Contacts(np.array([True]), np.array([False]))
OPEN = Contacts(np.array([False]), np.array([False]))
NO_BLEEDING = np.zeros(6, dtype=bool)


@pytest.fixture
def feed(tmp_path, leaf):
    text = HEADER + ''.join(row(t, f'-{t}', f'{4 - t / 100:.2f}') for t in (10, 11, 12.5, 14))
    return RecordingFeed(read_recording(write(tmp_path, text), leaf), leaf)


def test_recording_waits_for_the_contactors(feed):
    feed.advance(5.0, 1.0, OPEN, NO_BLEEDING)
    assert feed.position == 10.0
    assert feed.currents.tolist() == [0.0]
    assert feed.voltages[0] == 3.9


def test_samples_hold_until_the_next_and_are_never_interpolated(feed):
    told = feed.advance(0.0, 1.0, CLOSED, NO_BLEEDING)
    assert told == ['recording runs from t=10.0 s']
    assert feed.currents.tolist() == [-10.0]
    feed.advance(0.99, 1.0, CLOSED, NO_BLEEDING)
    assert (feed.voltages[0], feed.currents[0]) == (3.9, -10.0)
    feed.advance(0.02, 1.0, CLOSED, NO_BLEEDING)
    assert (feed.voltages[0], feed.currents[0]) == (3.89, -11.0)
    feed.advance(0.15, 10.0, CLOSED, NO_BLEEDING)
    assert feed.voltages[0] == pytest.approx(3.88)
    assert feed.link_voltage == pytest.approx(feed.string_voltages[0])


def test_opening_freezes_the_recording_and_says_where(feed):
    feed.advance(0.01, 1.0, CLOSED, NO_BLEEDING)
    feed.advance(1.2, 1.0, CLOSED, NO_BLEEDING)
    told = feed.advance(0.1, 1.0, OPEN, NO_BLEEDING)
    assert told == ['recording stopped at t=11.2 s because the contactors opened']
    feed.advance(60.0, 1.0, OPEN, NO_BLEEDING)
    assert feed.position == pytest.approx(11.2)
    assert feed.currents.tolist() == [0.0]
    assert feed.voltages[0] == 3.89


def test_nothing_flows_after_the_last_row(feed):
    feed.advance(0.01, 1.0, CLOSED, NO_BLEEDING)
    assert feed.advance(60.0, 1.0, CLOSED, NO_BLEEDING) == ['recording ended at t=14.0 s']
    assert feed.advance(60.0, 1.0, CLOSED, NO_BLEEDING) == []
    assert feed.ended
    assert feed.currents.tolist() == [0.0]
    assert feed.voltages[0] == 3.86
