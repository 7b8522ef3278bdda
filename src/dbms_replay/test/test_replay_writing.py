# SPDX-License-Identifier: Apache-2.0
"""What is written opens in other people's readers, whole or after a kill."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from mcap.reader import make_reader
from replay_rig import CELLS, cells_bytes
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dbms_node import qos
from dbms_replay.bag_writer import BagWriter
from dbms_replay.qos_text import qos_text
from dbms_replay.recorder import Bounds, Recorder
from dbms_replay.schemas import installed
from dbms_replay.segment import Topic

SECOND = 1_000_000_000


def a_bag(directory, count=5, **options):
    writer = BagWriter(directory, **options)
    number = writer.add_topic(Topic('/battery/modules/m1/cells', installed(CELLS)))
    for index in range(count):
        writer.write(number, index * SECOND, cells_bytes('m1', index, [3.7, 3.8], [25.0]))
    return writer


def test_rosbags_reads_back_what_was_written(tmp_path):
    writer = a_bag(tmp_path / 'bag', custom={'pack': 'robot_13s'})
    writer.rotate()
    writer.write(1, 9 * SECOND, cells_bytes('m1', 9, [3.7, 3.8], [25.0]))
    writer.close()
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(installed(CELLS).definition, CELLS))
    with Reader(tmp_path / 'bag') as reader:
        assert reader.message_count == 6 and len(reader.paths) == 2
        assert reader.custom_data == {'pack': 'robot_13s'}
        (connection,) = reader.connections
        assert connection.digest == store.hash_rihs01(CELLS)
        read = [(time, store.deserialize_cdr(data, CELLS)) for _, time, data in reader.messages()]
    assert [time // SECOND for time, _ in read] == [0, 1, 2, 3, 4, 9]
    assert [message.sequence for _, message in read] == [0, 1, 2, 3, 4, 9]
    assert read[0][1].voltages == pytest.approx([3.7, 3.8])


def test_the_mcap_library_finds_everything_through_the_index(tmp_path):
    a_bag(tmp_path / 'bag').close()
    with (tmp_path / 'bag' / 'bag_0.mcap').open('rb') as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary.statistics.message_count == 5
        (channel,) = summary.channels.values()
        assert channel.metadata['topic_type_hash'].startswith('RIHS01_')
        assert len(list(reader.iter_messages(starting_at=2 * SECOND))) == 3


def test_qos_is_kept_as_it_was_offered(tmp_path):
    writer = BagWriter(tmp_path / 'bag')
    writer.add_topic(Topic('/a', installed('std_msgs/msg/Header'), qos_text([qos.MEASUREMENT])))
    writer.close()
    with Reader(tmp_path / 'bag') as reader:
        (profile,) = reader.connections[0].ext.offered_qos_profiles
        assert (profile.depth, profile.reliability.name) == (10, 'RELIABLE')


def test_a_directory_with_something_in_it_is_refused(tmp_path):
    (tmp_path / 'there').write_text('')
    with pytest.raises(FileExistsError, match='of its own'):
        BagWriter(tmp_path)


def test_old_files_go_but_not_those_around_a_fault(tmp_path):
    writer = BagWriter(tmp_path / 'bag')
    number = writer.add_topic(Topic('/battery/modules/m1/cells', installed(CELLS)))
    bounds = Bounds(time=30.0, file_time=10.0, before=5.0, after=5.0)
    recorder = Recorder(writer, bounds, now=0.0)
    for second in range(120):
        recorder.write(number, second * SECOND, cells_bytes('m1', second, [3.7], [25.0]))
        if second == 25:
            recorder.fault(second * SECOND)
        recorder.tick(float(second))
    recorder.close()
    with Reader(tmp_path / 'bag') as reader:
        seconds = [time // SECOND for _, time, _ in reader.messages()]
    assert set(range(20, 31)) <= set(seconds)  # the fault
    assert set(range(95, 120)) <= set(seconds)  # the newest
    assert not {0, 5, 50, 70} & set(seconds)
    assert recorder.dropped > 0


def test_the_bound_of_size_holds_whatever_was_kept(tmp_path):
    writer = BagWriter(tmp_path / 'bag', compress=False)
    number = writer.add_topic(Topic('/battery/modules/m1/cells', installed(CELLS)))
    recorder = Recorder(writer, Bounds(size=200_000, file_size=20_000), now=0.0)
    for index in range(4000):
        recorder.write(number, index * SECOND, cells_bytes('m1', index, [3.7] * 24, [25.0]))
        recorder.fault(index * SECOND)
        recorder.tick(float(index))
        assert writer.size < 240_000
    recorder.close()
    with Reader(tmp_path / 'bag') as reader:
        times = [time for _, time, _ in reader.messages()]
    assert times[-1] == 3999 * SECOND and len(times) > 300


VICTIM = """
    import sys
    from pathlib import Path
    from replay_rig import CELLS, cells_bytes
    from dbms_replay.bag_writer import BagWriter
    from dbms_replay.recorder import Bounds, Recorder
    from dbms_replay.schemas import installed
    from dbms_replay.segment import Topic
    writer = BagWriter(Path(sys.argv[1]))
    number = writer.add_topic(Topic('/battery/modules/m1/cells', installed(CELLS)))
    recorder = Recorder(writer, Bounds(), now=0.0)
    for index in range(10_000_000):  # 100 Hz of its own clock, as fast as it can
        recorder.write(number, index * 10_000_000, cells_bytes('m1', index, [3.7], [25.0]))
        recorder.tick(index / 100)
        if index % 100 == 0:
            print(index, flush=True)
"""


def test_a_kill_loses_less_than_a_second(tmp_path):
    from dbms_replay.bags import Bag, recover

    bag = tmp_path / 'bag'
    victim = subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(VICTIM), str(bag)],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
    written = -1
    while written < 1000:
        written = int(victim.stdout.readline())
    victim.send_signal(signal.SIGKILL)
    rest = victim.stdout.read().split()
    victim.wait()
    written = int(rest[-1]) if rest else written
    torn = Bag(bag)
    seen = [time for _, time, _ in torn.messages()]
    assert torn.problems['files without an end'] == 1
    assert seen[-1] >= written * 10_000_000 - SECOND
    recover(bag)
    with Reader(bag) as reader:
        assert [time for _, time, _ in reader.messages()] == seen
    assert not Bag(bag).problems
