# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a recording is counted, and never a false trip."""

from collections import Counter

import pytest
from dbms_msgs.msg import ProtectionState, StringState
from rclpy.serialization import serialize_message
from replay_rig import CELLS, EPOCH, SECOND, STRING, Scene, cells_bytes, replay, trips

from dbms_replay.bags import Bag, BagError, BagTopic
from dbms_replay.decoding import STATE, Decoders
from dbms_replay.replay import Replay
from dbms_replay.schemas import Schema, installed
from dbms_replay.segment import Segment, Topic


def problems(outcome):
    return dict(+outcome.problems)


def test_a_truncated_file_is_read_as_far_as_it_goes(tmp_path):
    path = Scene(tmp_path / 'a.mcap')
    for second in range(10):
        path.run(1, start=float(second)).segment.flush()
    path = path.close()
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        outcome = replay(path)
        assert problems(outcome)['files without an end'] == 1
        assert trips(outcome) == [] and 1.0 < outcome.duration < 10.0


def test_a_damaged_chunk_is_left_out_and_told(tmp_path):
    scene = Scene(tmp_path / 'a.mcap')
    for second in range(10):
        scene.run(1, start=float(second)).segment.flush()
        if second == 4:
            middle = scene.segment.size - 200
    path = scene.close()
    content = bytearray(path.read_bytes())
    content[middle - 1500] ^= 0xFF
    path.write_bytes(content)
    outcome = replay(path)
    assert problems(outcome).get('damaged chunks') == 1
    assert outcome.duration == pytest.approx(10.0, abs=0.2)


@pytest.mark.parametrize('content', [b'', b'\x89MCAP0\r\n', b'rubbish' * 100])
def test_a_file_that_is_none_is_refused_in_words(tmp_path, content):
    path = tmp_path / 'a.mcap'
    path.write_bytes(content)
    with pytest.raises(BagError, match='no topic of a battery'):
        Replay(Bag(path))


def test_what_is_no_recording_is_refused_in_words(tmp_path):
    (tmp_path / 'a.txt').write_text('hello')
    for path, word in ((tmp_path / 'none', 'no such file'), (tmp_path, 'not a recording'),
                       (tmp_path / 'a.txt', 'not a recording')):  # fmt: skip
        with pytest.raises(BagError, match=word):
            Bag(path)


def test_duplicates_are_counted_and_change_nothing(tmp_path):
    clean = replay(Scene(tmp_path / 'clean.mcap').run(4).close())
    scene = Scene(tmp_path / 'a.mcap')
    put = scene.put
    scene.put = lambda *words: (put(*words), put(*words))
    outcome = replay(scene.run(4).close())
    found = problems(outcome)
    assert found['scan repeated'] == 80 and found['string measurement repeated'] == 200
    assert outcome.events == clean.events
    assert outcome.series['soc'][-1] == clean.series['soc'][-1]


def test_messages_out_of_order_are_counted(tmp_path):
    scene = Scene(tmp_path / 'a.mcap').run(2)
    scene.step(2.1)
    scene.step(2.0)
    scene.run(2, start=2.2)
    outcome = replay(scene.close())
    assert problems(outcome)['messages out of order'] > 0 and trips(outcome) == []


@pytest.mark.parametrize('jump', [-3600.0, -1e8])
def test_a_clock_that_was_set_back_trips_nothing(tmp_path, jump):
    scene = Scene(tmp_path / 'a.mcap').run(3)
    for index in range(30):
        scene.step(3.0 + index / 10, 3.0 + index / 10 + jump)
    outcome = replay(scene.close())
    assert problems(outcome)['clock resets'] == 1 and trips(outcome) == []
    assert outcome.duration == pytest.approx(6.0, abs=0.2)


def test_a_gap_begins_anew_without_a_trip(tmp_path):
    scene = Scene(tmp_path / 'a.mcap').run(3).run(3, start=100_000.0)
    outcome = replay(scene.close())
    assert problems(outcome)['gaps'] == 1 and trips(outcome) == []
    states = [e.what for e in outcome.events if e.kind == 'state']
    assert states.count('CONNECTED') == 2


def test_topics_that_are_missing_are_named(tmp_path):
    scene = Scene(tmp_path / 'a.mcap', lambda t, kind, f: None if kind == 'm2' else f)
    outcome = replay(scene.run(2).close())
    assert problems(outcome)['topics missing'] == 1
    assert any('modules/m2/cells' in note for note in outcome.notes)


def test_messages_of_another_place_and_short_ones_are_counted(tmp_path):
    scene = Scene(tmp_path / 'a.mcap').run(2)
    scene.put('m1', cells_bytes('m7', 999, [4.9] * 7, [25.0] * 3, EPOCH + 2.0), 2.0)
    scene.put('m1', cells_bytes('m1', 998, [4.9] * 5, [25.0] * 3, EPOCH + 2.0), 2.0)
    scene.put('m1', b'\x00\x01\x00\x00short', 2.0)
    scene.put('a', b'', 2.0)
    outcome = replay(scene.run(2, start=2.1).close())
    found = problems(outcome)
    assert found['messages of another place'] == 1
    assert found['scan of wrong size'] == found['scans of wrong length'] == 1
    assert found['messages too short'] == 2 and trips(outcome) == []


# -- versions ---------------------------------------------------------------------------------

OLDER = """std_msgs/Header header
uint32 sequence
float32[] voltages
float32[] temperatures
"""
HEADER = installed(CELLS).definition.partition('=' * 80)[2]


def cells_of(path, schema):
    """Write scans under a schema of their own: the first fields are those of all versions."""
    scene = Scene(path)
    scene.segment.close()
    path.unlink()
    segment = Segment(path, custom={'dbms_pack': 'robot_13s'})
    segment.add_topic(1, Topic('/battery/modules/m1/cells', schema))
    for index in range(20):
        time = round((EPOCH + index / 10) * SECOND)
        data = cells_bytes('m1', index, [3.7] * 7, [25.0] * 3, EPOCH + index / 10)
        segment.write(1, time, time, data[:-12])  # bleeding, serial and status came later
    segment.close()
    return path


def test_an_older_version_is_read_by_the_definition_it_brings(tmp_path):
    schema = Schema(CELLS, f'{OLDER}{"=" * 80}{HEADER}', '')
    outcome = replay(cells_of(tmp_path / 'a.mcap', schema))
    assert outcome.messages[CELLS] == 20
    assert problems(outcome)[f'topics of another version of {CELLS}'] == 1


def shortened(kind, cut, source, target):
    """Write a recording anew as a version had it in which a type ends before the field `cut`."""
    definition = installed(kind).definition
    first, line, rest = definition.partition('=' * 80)
    first = first[: first.index(cut)]
    here, older = (
        Decoders(Counter()).version(BagTopic('', kind, text, ''))[0]
        for text in (definition, first + line + rest)
    )
    segment = Segment(target, custom=Bag(source).custom)
    for topic, time, data in Bag(source).messages():
        schema = Schema(kind, first + line + rest, '')
        if topic.type != kind:
            schema = installed(topic.type)
        else:
            data = bytes(older.serialize_cdr(here.deserialize_cdr(data, kind), kind))
        number = numbers_of(segment, topic.name, schema)
        segment.write(number, time, time, data)
    segment.close()
    return target


def numbers_of(segment, name, schema):
    known = segment.__dict__.setdefault('known', {})
    if name not in known:
        known[name] = len(known) + 1
        segment.add_topic(known[name], Topic(name, schema))
    return known[name]


@pytest.mark.parametrize(
    ('kind', 'cut', 'lacks'),
    [
        (CELLS, 'uint32 bleeding', 'without bleeding, serial, status'),
        (STRING, 'float32 lease_remaining', 'without lease_remaining, status'),
        (STATE, 'uint16 faults_active', 'without faults_active, faults_latched, last_command'),
    ],
)
def test_what_an_older_version_lacks_is_said_and_the_replay_is_the_same(
    tmp_path, kind, cut, lacks
):
    scene = Scene(tmp_path / 'new.mcap', high)
    for second in range(5):
        scene.run(1, start=float(second))
        strings = [StringState(name='a')]
        told = ProtectionState(pack='robot_13s', strings=strings, last_command='connect')
        scene.state(serialize_message(told), second + 0.99)
    new = scene.close()
    old = shortened(kind, cut, new, tmp_path / 'old.mcap')
    expected, outcome = replay(new), replay(old)
    assert outcome.events == expected.events and trips(outcome) == [('CELL_OVERVOLTAGE', 'm1:3')]
    assert problems(outcome)[f'topics of another version of {kind}'] == 1 + (kind == CELLS)
    assert outcome.notes == [f'{kind} is of another version, {lacks}']


def high(time, kind, fields):
    if kind == 'm1' and time > 3.5:
        fields['voltages'][2] = 4.5
    return fields


def test_a_version_without_the_measurements_is_an_unknown_one(tmp_path):
    definition = OLDER.replace('voltages', 'tensions')
    schema = Schema(CELLS, f'{definition}{"=" * 80}{HEADER}', '')
    outcome = replay(cells_of(tmp_path / 'a.mcap', schema))
    assert outcome.messages[CELLS] == 0
    assert problems(outcome)['messages of an unknown version'] == 20


@pytest.mark.parametrize(
    ('schema', 'what'),
    [
        (Schema(CELLS, installed(CELLS).definition, 'RIHS01_' + '0' * 64), 'wrong type hash'),
        (Schema(CELLS, '', 'RIHS01_' + '0' * 64), 'unknown version'),
        (Schema(CELLS, 'this is { no definition', ''), 'malformed'),
    ],
)
def test_a_type_that_cannot_be_trusted_is_not_used(tmp_path, schema, what):
    outcome = replay(cells_of(tmp_path / 'a.mcap', schema))
    assert outcome.messages[CELLS] == 0
    assert any(what in problem for problem in problems(outcome))
