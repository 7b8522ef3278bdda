# SPDX-License-Identifier: Apache-2.0
"""CAN logs and CSV files become bags through the driver's checks."""

import os
from collections import Counter
from pathlib import Path

import can
import numpy as np
import pytest
from replay_rig import replay

from dbms_pack import load_pack
from dbms_replay.bags import Bag
from dbms_replay.can_logs import frames_of
from dbms_replay.convert import play
from dbms_replay.convert_cli import main
from dbms_replay.decoding import CELLS, unpack_cells

DATA = Path(os.environ.get('DBMS_DATA', Path(__file__).parents[4] / 'shared' / 'data'))
LEAF = DATA / 'leaf_module' / 'module123-irdischarge-65ah-1_0c.csv.gz'


@pytest.fixture(scope='module')
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp('csv') / 'cells.csv'
    time = np.arange(0.0, 6.0, 0.5)
    rows = [
        'Time(s),Current(A),'
        + ','.join(f'Cell {n + 1}(V)' for n in range(6))
        + ',T1(C),T2(C),T3(C)'
    ]
    rows += [
        f'{t:.1f},-20,'
        + ','.join(f'{3.9 - 0.01 * t + 0.001 * n:.3f}' for n in range(6))
        + ',25,25,25'
        for t in time
    ]
    path.write_text('\n'.join(rows) + '\n')
    return path


def scans(path):
    return [unpack_cells(data) for topic, _, data in Bag(path).messages() if topic.type == CELLS]


def test_a_csv_file_becomes_a_bag_that_replays(tmp_path, csv, capsys):
    target = tmp_path / 'leaf.mcap'
    assert main([str(csv), '--pack', 'leaf_module', '-o', str(target)]) == 0
    assert 'messages of pack leaf_module' in capsys.readouterr().out
    found = scans(target)
    assert len(found) > 40
    assert found[-1].voltages == pytest.approx([3.845 + 0.001 * n for n in range(6)], abs=6e-3)
    outcome = replay(target)
    assert 'CONNECTED' in [e.what for e in outcome.events if e.kind == 'state']
    assert outcome.series['current'][-1] == pytest.approx(-20.0)


@pytest.mark.parametrize('suffix', ['.log', '.asc', '.blf', '.trc'])
def test_every_format_of_log_gives_the_same_scans(tmp_path, csv, suffix):
    log = tmp_path / f'bus{suffix}'
    frames = [message for _, message in play(load_pack('leaf_module'), csv, 1.0)]
    with can.Logger(str(log)) as logger:
        for message in frames:
            logger.on_message_received(message)
        logger.on_message_received(_foreign(frames[-1].timestamp))
        logger.on_message_received(_broken(frames[-1]))
    assert main([str(log), '--pack', 'leaf_module', '-o', str(tmp_path / 'log.mcap')]) == 0
    assert main([str(csv), '--pack', 'leaf_module', '-o', str(tmp_path / 'csv.mcap')]) == 0
    one, two = scans(tmp_path / 'log.mcap'), scans(tmp_path / 'csv.mcap')
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a.sequence == b.sequence and (a.voltages == b.voltages).all()


@pytest.mark.parametrize('suffix', ['.log', '.asc', '.trc'])
@pytest.mark.parametrize('garbage', ['words and more of them', '\x80\xff\x00', 'half', 'no hex'])
def test_garbage_in_a_log_costs_no_frame_but_its_own(tmp_path, csv, suffix, garbage):
    log = tmp_path / f'bus{suffix}'
    frames = [message for _, message in play(load_pack('leaf_module'), csv, 1.0)]
    with can.Logger(str(log)) as logger:
        for message in frames:
            logger.on_message_received(message)
    lines = log.read_bytes().split(b'\n')
    for place in (len(lines) // 3, len(lines) // 2):
        line = lines[place].rstrip()
        bad = {'half': line[: len(line) // 2], 'no hex': line[:-12] + b'ZZ ' + line[-9:]}
        lines.insert(place, bad.get(garbage, garbage.encode('latin-1')))
    log.write_bytes(b'\n'.join(lines))
    problems = Counter()
    read = [message for _, message in frames_of({'main': log}, problems)]
    assert [bytes(one.data) for one in read] == [bytes(one.data) for one in frames]
    assert problems.total() <= 2 and (problems['lines malformed'] == 2 or suffix != '.log')


def test_a_log_that_ends_in_the_middle_is_read_as_far_as_it_goes(tmp_path, csv):
    frames = [message for _, message in play(load_pack('leaf_module'), csv, 1.0)]
    for suffix, kind in (('.log', 'lines malformed'), ('.blf', 'files without an end')):
        log = tmp_path / f'bus{suffix}'
        with can.Logger(str(log)) as logger:
            for message in frames:
                logger.on_message_received(message)
        content = log.read_bytes()
        # A log of lines: in the middle of one, before its data.
        cut = content.rindex(b'#', 0, len(content) // 2) if suffix == '.log' else len(content) // 2
        log.write_bytes(content[:cut])
        problems = Counter()
        read = [message for _, message in frames_of({'main': log}, problems)]
        assert len(frames) // 4 < len(read) < len(frames)
        assert problems == {kind: 1}


@pytest.mark.parametrize('suffix', ['.log', '.asc', '.trc', '.blf'])
def test_a_log_that_is_none_is_refused_in_words(tmp_path, capsys, suffix):
    log = tmp_path / f'bus{suffix}'
    log.write_bytes(b'no log at all\nnor here\n' * 20)
    words = [str(log), '--pack', 'leaf_module', '-o', str(tmp_path / 'o.mcap')]
    assert main(words) in (1, 2)
    told = capsys.readouterr().err
    assert 'not readable' in told or 'no measurement of pack' in told


def test_a_frame_without_a_time_is_counted(tmp_path):
    log = tmp_path / 'a.log'
    log.write_text('(nan) can0 400#0011223344556677\n(1.0) can0 400#0011223344556677\n')
    problems = Counter()
    assert len(list(frames_of({'main': log}, problems))) == 1
    assert problems == {'frames without a time': 1}


def _foreign(time):
    return can.Message(
        timestamp=time, arbitration_id=0x7FF, data=b'12345678', is_extended_id=False
    )


def _broken(message):
    broken = can.Message(
        timestamp=message.timestamp, arbitration_id=message.arbitration_id,
        data=bytes([message.data[0] ^ 0xFF, *message.data[1:]]), is_extended_id=False,
    )  # fmt: skip
    return broken


def test_a_sensor_that_is_not_there_is_named_as_what_keeps_it_open(tmp_path, csv):
    text = csv.read_text().replace(',T3(C)', '').replace(',25,25,25', ',25,25')
    (tmp_path / 'two.csv').write_text(text)
    target = tmp_path / 'two.mcap'
    assert main([str(tmp_path / 'two.csv'), '--pack', 'leaf_module', '-o', str(target)]) == 0
    assert any('temperature sensor 3 of m1 not measured' in note for note in replay(target).notes)


def test_what_the_driver_refuses_is_counted(tmp_path, csv, capsys):
    log = tmp_path / 'bus.log'
    frames = [message for _, message in play(load_pack('leaf_module'), csv, 1.0)]
    with can.Logger(str(log)) as logger:
        for message in frames:
            logger.on_message_received(message)
            if message.arbitration_id & 0x400:
                logger.on_message_received(_broken(message))
    assert main([str(log), '--pack', 'leaf_module', '-o', str(tmp_path / 'a.mcap')]) == 0
    told = capsys.readouterr().out
    assert any(line.split()[-1] == 'crc' and int(line.split()[-2]) > 100
               for line in told.splitlines() if 'refused' in line)  # fmt: skip


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (['none.log', '--pack', 'leaf_module'], 'no such file'),
        (['main=none.log', '--pack', 'leaf_module'], 'No such file'),
        (['x=a.log', '--pack', 'leaf_module'], 'a bus of main'),
        (['{csv}', '--pack', 'robot_13s'], 'columns of cell voltages'),
        (['{log}', '--pack', 'marine_2x16s'], 'give BUS=FILE'),
    ],
)
def test_what_cannot_be_converted_is_refused_in_words(tmp_path, csv, capsys, words, text):
    log = tmp_path / 'a.log'
    log.write_text('')
    words = [word.format(csv=csv, log=log) for word in words]
    assert main([*words, '-o', str(tmp_path / 'o.mcap')]) == 2
    assert text in capsys.readouterr().err


def test_a_log_without_the_pack_says_so(tmp_path, capsys):
    log = tmp_path / 'a.log'
    log.write_text('(1.0) can0 123#0011223344556677\n')
    assert main([str(log), '--pack', 'leaf_module', '-o', str(tmp_path / 'o.mcap')]) == 1
    assert 'no measurement of pack' in capsys.readouterr().err


@pytest.mark.slow
def test_the_measured_leaf_module_trips_on_its_weakest_cell(tmp_path):
    if not LEAF.exists():
        pytest.skip(f'no measured data: {LEAF}')
    target = tmp_path / 'leaf.mcap'
    assert main([str(LEAF), '--pack', 'leaf_module', '--speed', '60', '-o', str(target)]) == 0
    first = next(e for e in replay(target).events if e.level == 'MSL' and e.kind == 'fault')
    assert (first.what, first.place) == ('CELL_UNDERVOLTAGE', 'm1:1')
