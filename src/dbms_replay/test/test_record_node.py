# SPDX-License-Identifier: Apache-2.0
"""The recorder on a real DDS graph."""

import signal
import subprocess
import sys
import time

import pytest
import rclpy
from dbms_msgs.msg import Fault, Faults, ModuleCells, ProtectionState
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import Reader
from std_msgs.msg import String

from dbms_node import middleware, qos
from dbms_node.runtime import make_executor
from dbms_pack import load_pack
from dbms_replay.bag_writer import BagWriter
from dbms_replay.bags import Bag, recover
from dbms_replay.carried import restored
from dbms_replay.record_cli import seconds, size
from dbms_replay.record_node import RecordNode
from dbms_replay.recorder import Bounds, Recorder

WITHIN = 60.0  # s, that a busy machine may take


@pytest.fixture
def graph(tmp_path):
    context = rclpy.Context()
    middleware.init(context=context)
    recorder = Recorder(BagWriter(tmp_path / 'bag'), Bounds(), time.monotonic())
    node = RecordNode(recorder, ['battery'], context=context)
    speaker = rclpy.create_node('speaker', namespace='battery', context=context)
    executor = make_executor(context)
    executor.add_node(node)
    executor.add_node(speaker)

    def until(true):
        deadline = time.monotonic() + WITHIN
        while not true():
            assert time.monotonic() < deadline, 'it did not happen'
            executor.spin_once(timeout_sec=0.05)

    yield node, speaker, recorder, until
    node.close()
    rclpy.shutdown(context=context)


def test_what_is_said_is_in_the_bag_bit_by_bit(graph, tmp_path):
    node, speaker, recorder, until = graph
    cells = speaker.create_publisher(ModuleCells, 'modules/m1/cells', qos.MEASUREMENT)
    faults = speaker.create_publisher(Faults, 'faults', qos.STATE)
    foreign = speaker.create_publisher(String, '/elsewhere', qos.MEASUREMENT)
    faults.publish(Faults(faults=[Fault(name='SHORT_CIRCUIT', level=3)]))  # before it listens
    until(lambda: node.messages == 1 and '/battery/modules/m1/cells' in node.topics)
    until(lambda: cells.get_subscription_count() == 1)
    for index in range(20):
        cells.publish(ModuleCells(sequence=index, voltages=[3.7, 3.8]))
        foreign.publish(String(data='not ours'))
        until(lambda index=index: node.messages == index + 2)
    assert recorder.is_kept(_file_at(time.time_ns()))
    node.close()
    read = [(topic.name, data) for topic, _, data in Bag(tmp_path / 'bag').messages()]
    assert {name for name, _ in read} == {'/battery/modules/m1/cells', '/battery/faults'}
    told = [
        deserialize_message(data, ModuleCells).sequence
        for name, data in read
        if name.endswith('cells')
    ]
    assert told == list(range(20))


@pytest.mark.parametrize(('named', 'is_carried'), [('robot_13s', True), ('unknown', False)])
def test_the_pack_that_protection_names_goes_into_the_bag(graph, tmp_path, named, is_carried):
    node, speaker, _, until = graph
    pack = load_pack('robot_13s')
    states = speaker.create_publisher(ProtectionState, 'protection/state', qos.STATE)
    states.publish(ProtectionState(pack=named, pack_digest=pack.digest[:12]))
    until(lambda: node.messages == 1)
    node.close()
    again = restored(Bag(tmp_path / 'bag').custom)
    assert (again is not None) == is_carried
    assert again is None or again.digest == pack.digest


@pytest.mark.slow
@pytest.mark.parametrize('after', [0.3, 1.1, 1.7, 2.4, 3.2])
def test_a_recorder_killed_on_the_wire_loses_less_than_a_second(tmp_path, after):
    bag = tmp_path / 'bag'
    words = [str(bag), '--namespace', 'killed', '--pack', 'robot_13s', '--file-time', '1']
    recorder = subprocess.Popen(
        [sys.executable, '-m', 'dbms_replay.record_cli', *words], stdout=subprocess.PIPE
    )
    context = rclpy.Context()
    middleware.init(context=context)
    try:
        recorder.stdout.readline()  # it listens
        speaker = rclpy.create_node('speaker', namespace='killed', context=context)
        cells = speaker.create_publisher(ModuleCells, 'modules/m1/cells', qos.MEASUREMENT)
        deadline = time.monotonic() + WITHIN
        while not cells.get_subscription_count():
            assert time.monotonic() < deadline, 'it was not heard'
            time.sleep(0.01)
        begun, said = time.monotonic(), []
        while time.monotonic() < begun + after:
            cells.publish(ModuleCells(sequence=len(said), voltages=[3.7] * 7))
            said.append(time.monotonic())
            time.sleep(0.01)
        recorder.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        recorder.wait()
    finally:
        recorder.kill()
        rclpy.shutdown(context=context)
    kept = _sequences(bag)
    assert kept == list(range(len(kept)))
    lost = killed - said[len(kept)] if len(kept) < len(said) else 0.0
    assert lost < 1.0
    assert recover(bag)['files without an end'] == 1
    with Reader(bag) as reader:
        assert len(list(reader.messages())) == len(kept)
    assert _sequences(bag) == kept


def _sequences(bag):
    return [
        deserialize_message(data, ModuleCells).sequence
        for topic, _, data in Bag(bag).messages()
        if topic is not None
    ]


def _file_at(now):
    from dbms_replay.bag_writer import FileInfo

    return FileInfo(None, now, now, 0, {})


@pytest.mark.parametrize(
    ('text', 'value'), [('500k', 512000), ('64M', 64 << 20), ('2G', 2 << 30), ('7', 7)]
)
def test_sizes(text, value):
    assert size(text) == value


@pytest.mark.parametrize(
    ('text', 'value'), [('90', 90.0), ('1.5h', 5400.0), ('10min', 600.0), ('7d', 604800.0)]
)
def test_times(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize('text', ['', 'x', '-1', '3y', '1e3G'])
def test_what_is_no_size_and_no_time_is_refused(text):
    for read in (size, seconds):
        with pytest.raises(Exception, match='write a'):
            read(text)
