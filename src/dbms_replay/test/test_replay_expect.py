# SPDX-License-Identifier: Apache-2.0
"""Expectations: what a file may say, and what a person reads when it came differently."""

import pytest
from replay_rig import Scene, replay

from dbms_replay import expect
from dbms_replay.bag_writer import BagWriter
from dbms_replay.bags import Bag
from dbms_replay.outcome import Event, Outcome
from dbms_replay.replay_cli import main
from dbms_replay.schemas import Schema
from dbms_replay.segment import Topic

TRIP = Event(1.2, 'fault', 'CELL_OVERVOLTAGE', 'm1:3', 'MSL', '4.5 V, at most 4.25 V allowed')
FILE = """
unexpected: MSL
events:
  - {fault: CELL_OVERVOLTAGE, level: MSL, place: 'm1:3', within: [1.1, 1.3]}
  - {state: FAULTED, place: a, within: [1.1, 1.4]}
numbers:
  - {charge_limit: 0, at: 2, tolerance: 0.5}
"""


def outcome(*events, limit=0.0):
    made = Outcome(events=list(events))
    values = dict.fromkeys(expect.NUMBERS, 0.0) | {'charge_limit': limit}
    made.series.add(1.0, values)
    return made


def judged(tmp_path, made, text=FILE):
    file = tmp_path / 'e.yaml'
    file.write_text(text)
    return [str(one) for one in expect.compare(expect.load(file), made)]


def faulted(time):
    return Event(time, 'state', 'FAULTED', 'a')


def test_what_came_as_expected_has_no_differences(tmp_path):
    assert judged(tmp_path, outcome(TRIP, faulted(1.2))) == []


def test_differences_say_what_where_and_by_how_much(tmp_path):
    late = Event(1.75, 'fault', 'CELL_OVERVOLTAGE', 'm1:3', 'MSL')
    other = Event(1.0, 'fault', 'SHORT_CIRCUIT', 'a', 'MSL', '900 A')
    told = judged(tmp_path, outcome(other, late, limit=22.0))
    assert [one.split()[0] for one in told] == ['UNEXPECTED', 'LATE', 'MISSING', 'VALUE']
    assert 'SHORT_CIRCUIT MSL at a at 1.000 s' in told[0] and '900 A' in told[0]
    assert 'expected 1.100 to 1.300 s' in told[1] and '0.450 s too late' in told[1]
    assert 'string a: FAULTED' in told[2] and 'did not happen' in told[2]
    assert 'charge_limit at 2.000 s: 0 +- 0.5 (A)' in told[3] and 'off by +22' in told[3]


def test_too_early_is_told_too_and_each_event_counts_once(tmp_path):
    early = Event(0.9, 'fault', 'CELL_OVERVOLTAGE', 'm1:3', 'MSL')
    told = judged(tmp_path, outcome(early, faulted(1.2)))
    assert len(told) == 1 and told[0].startswith('EARLY') and '0.200 s too early' in told[0]
    twice = judged(tmp_path, outcome(TRIP, TRIP, faulted(1.2)))
    assert len(twice) == 1 and twice[0].startswith('UNEXPECTED')


def test_a_number_that_is_not_known_is_a_difference(tmp_path):
    assert len(judged(tmp_path, outcome(TRIP, faulted(1.2), limit=float('nan')))) == 1


@pytest.mark.parametrize(
    ('text', 'word'),
    [
        ('', 'keys are'),
        ('events: [', 'flow node'),
        ('events: []', 'expects nothing'),
        ('evnts: []', 'unknown key evnts'),
        ('unexpected: BAD', 'MOL, RSL, MSL or ignore'),
        ('events: [{fault: X, within: [1, 2]}]', r'events\[0\]'),
        ('events: [{fault: X, place: a, within: [2, 1]}]', 'ends before'),
        ('events: [{fault: X, place: a, within: [.nan, 1]}]', 'within'),
        ('events: [{fault: X, place: a, level: ML, within: [0, 1]}]', 'level'),
        ('numbers: [{soc: 0.5, at: 1}]', 'tolerance'),
        ('numbers: [{socks: 0.5, at: 1, tolerance: 1}]', r'numbers\[0\]'),
        ('numbers: [{soc: yes, at: 1, tolerance: 1}]', 'a number'),
        ('numbers: 7', 'a list'),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, text, word):
    file = tmp_path / 'e.yaml'
    file.write_text(text)
    with pytest.raises(expect.ExpectError, match=word):
        expect.load(file)


def too_high(time, kind, fields):
    if kind == 'm1' and time >= 2.0:
        fields['voltages'][2] = 4.5
    return fields


def test_the_command_judges_and_a_proposal_is_met_by_its_own_replay(tmp_path, capsys):
    bag = Scene(tmp_path / 'a.mcap', too_high).run(4).close()
    file = tmp_path / 'e.yaml'
    assert main([str(bag), '--write-expect', str(file)]) == 0
    assert 'CELL_OVERVOLTAGE' in file.read_text()
    assert main([str(bag), '--expect', str(file)]) == 0
    assert 'expectations are met' in capsys.readouterr().out
    quiet = Scene(tmp_path / 'b.mcap').run(4).close()
    assert main([str(quiet), '--expect', str(file)]) == 1
    told = capsys.readouterr().out
    assert 'not as expected' in told and 'MISSING' in told


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    bag = Scene(tmp_path / 'a.mcap').run(1).close()
    for words, text in (
        ([str(tmp_path / 'none')], 'no such file'),
        ([str(bag), '--pack', 'no_such_pack'], 'no_such_pack'),
        ([str(bag), '--pack', 'marine_2x16s'], ''),
        ([str(bag), '--namespace', 'other'], 'batteries in it: /battery'),
        ([str(bag), '-o', str(bag)], 'overwrite'),
        ([str(bag), '--expect', str(tmp_path / 'none.yaml')], 'No such file'),
    ):
        code = main(words)
        captured = capsys.readouterr()
        assert text in captured.err
        assert code == (2 if text else 0), words
        if not text:
            assert 'topics that the pack does not have' in captured.out


def test_the_picture_names_trips_of_one_moment_once(tmp_path):
    pytest.importorskip('matplotlib')
    from dbms_replay.outcome import Event, Outcome
    from dbms_replay.plots import _trips, draw

    outcome = Outcome(events=[Event(2.0, 'fault', 'SHORT_CIRCUIT', 'a', 'MSL', '')])
    outcome.events.append(Event(2.0, 'fault', 'OVERLOAD', 'a', 'MSL', ''))
    assert _trips(outcome) == [(2.0, 'SHORT_CIRCUIT MSL\nat a and 1 more')]
    assert draw(outcome, tmp_path / 'new', 'one').read_bytes().startswith(b'\x89PNG')


def test_sqlite_bags_are_read_as_well(tmp_path):
    from rosbags.rosbag2 import StoragePlugin, Writer

    source = Scene(tmp_path / 'a.mcap', too_high).run(4).close()
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        known = {}
        for topic, time, data in Bag(source).messages():
            if topic not in known:
                known[topic] = writer.add_connection(
                    topic.name, topic.type, msgdef=topic.definition, rihs01=topic.digest
                )
            writer.write(known[topic], time, data)
    one, two = replay(source), replay(tmp_path / 'bag', pack='robot_13s')
    assert one.events == two.events and len(one.events) > 5


def test_a_bag_whose_files_are_not_all_there_is_read_with_a_gap(tmp_path):
    writer = BagWriter(tmp_path / 'bag', {'dbms_pack': 'robot_13s'})
    numbers = {}
    for part in range(3):
        source = Scene(tmp_path / f'{part}.mcap').run(3, start=3.0 * part).close()
        for topic, time, data in Bag(source).messages():
            if topic.name not in numbers:
                schema = Schema(topic.type, topic.definition, topic.digest)
                numbers[topic.name] = writer.add_topic(Topic(topic.name, schema))
            writer.write(numbers[topic.name], time, data)
        if part < 2:
            writer.rotate()
    writer.drop(writer.closed[1])
    writer.close()
    made = replay(tmp_path / 'bag')
    assert made.problems['gaps'] == 1
    assert [e for e in made.events if e.level == 'MSL'] == []
