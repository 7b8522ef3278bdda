# SPDX-License-Identifier: Apache-2.0
"""Player, estimation and protection over DDS on the time of a recording."""

import sys
import time
from pathlib import Path

import pytest
import rclpy
from dbms_msgs.msg import BleedCommand, Fault, Faults, ModuleCells, ProtectionState
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock

from dbms_bringup.one_process import make_nodes
from dbms_bringup.play import main
from dbms_bringup.replaying import PlayOptions, player, replay_graph
from dbms_node import middleware, qos
from dbms_node.runtime import close_node, make_executor
from dbms_pack import load_pack
from dbms_replay.bags import Bag
from dbms_replay.decoding import BLEED, CELLS
from dbms_replay.schemas import Schema, installed
from dbms_replay.segment import Segment, Topic

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / 'src' / 'dbms_replay' / 'test'))
from replay_rig import EPOCH, Scene  # noqa: E402

GOLDEN = ROOT / 'tests' / 'replay' / 'golden'
WITHIN = 60.0  # s, that a busy machine may take


class Stage:
    """The nodes of a live replay, and what was heard of them."""

    def __init__(self, specs, namespace):
        middleware.init(args=[])
        self.nodes = make_nodes(specs, namespace)
        self.play = self.nodes[-1]
        self.listener = rclpy.create_node('listener', namespace=namespace)
        self.executor = make_executor()
        for node in [*self.nodes, self.listener]:
            self.executor.add_node(node)
        self.ended = False
        self.play.ended = lambda: setattr(self, 'ended', True)
        self.told, self.faults, self.clock = [], {}, 0.0
        listen = self.listener.create_subscription
        listen(ProtectionState, 'protection/state', self.told.append, qos.STATE)
        listen(Faults, 'faults', self._on_faults, qos.STATE)
        listen(Clock, '/clock', self._on_clock, qos.MEASUREMENT)

    def _on_clock(self, message):
        self.clock = message.clock.sec + message.clock.nanosec * 1e-9

    def _on_faults(self, message):
        for one in message.faults:
            if one.level >= Fault.LEVEL_MSL:
                stamp = message.header.stamp
                self.faults.setdefault((one.name, one.module), stamp.sec + stamp.nanosec * 1e-9)

    def until(self, true):
        deadline = time.monotonic() + WITHIN
        while not true():
            assert time.monotonic() < deadline, [one.state_name for one in self.told]
            self.executor.spin_once(timeout_sec=0.05)

    def connected(self):
        return bool(self.told) and self.told[-1].state == ProtectionState.CONNECTED

    def close(self):
        for node in [*self.nodes, self.listener]:
            close_node(node)
        self.executor.shutdown(timeout_sec=1.0)
        rclpy.try_shutdown()


@pytest.fixture
def staged():
    stages = []

    def begin(bag, pack='robot_13s', **options):
        specs = replay_graph(PlayOptions(bag=str(bag), **options), str(load_pack(pack).path))
        stages.append(Stage(specs, 'replayed'))
        return stages[-1]

    yield begin
    for stage in stages:
        stage.close()


def test_pauses_and_laps_trip_nothing_and_begin_anew(staged, tmp_path):
    stage = staged(Scene(tmp_path / 'a.mcap').run(4).close(), rate=2.0, loop=True)
    estimation = stage.nodes[0]
    stage.until(stage.connected)
    stage.play.set_parameters([rclpy.parameter.Parameter('paused', value=True)])
    heard = len(stage.told)
    # Three heartbeats: much longer than a module may be silent.
    stage.until(lambda: len(stage.told) >= heard + 3)
    assert stage.connected()
    before, offered = estimation._estimation, len(list(stage.play.publishers))
    stage.play.set_parameters([rclpy.parameter.Parameter('paused', value=False)])
    stage.until(lambda: stage.play.playback.landings == 1 and not stage.connected())
    stage.until(stage.connected)
    assert estimation._estimation is not before
    assert len(list(stage.play.publishers)) == offered  # none more for a lap
    assert any(one.reason == 'not connected yet' for told in stage.told for one in told.strings)
    assert not stage.faults


def test_a_jump_back_trips_nothing(staged, tmp_path):
    scene = Scene(tmp_path / 'a.mcap').run(2)
    for index in range(300):  # somebody set the clock
        scene.step(2.0 + index / 10, 2.0 + index / 10 - 3600.0)
    stage = staged(scene.close())
    stage.until(lambda: stage.play.playback.landings == 1)
    stage.until(lambda: not stage.connected())
    stage.until(stage.connected)
    assert not stage.faults


def test_silence_in_the_recording_is_no_pause(staged, tmp_path):
    def silent(at, kind, fields):
        return None if kind == 'm2' and at >= 2.0 else fields

    stage = staged(Scene(tmp_path / 'a.mcap', silent).run(5).close(), start=0.5, rate=2.0)
    stage.until(lambda: any(one.faults_active for one in stage.told))
    assert stage.clock >= EPOCH + 2.0


def test_it_trips_where_the_replay_without_nodes_does(staged):
    stage = staged(GOLDEN / 'cell_overvoltage.mcap')
    begun = stage.play.playback.begun * 1e-9
    stage.until(lambda: stage.faults)
    ((fault, at),) = stage.faults.items()
    assert fault == ('CELL_OVERVOLTAGE', 'm1')
    assert 2.4 <= at - begun <= 3.5  # 2.52 s; a busy machine is late, and never early


def test_played_as_it_was_every_message_comes_again():
    options = PlayOptions(bag=str(GOLDEN / 'module_silent.mcap'), rate=10.0)
    stage = Stage([player(options)], 'again')
    try:
        stage.until(lambda: stage.ended)
        recorded = list(Bag(GOLDEN / 'module_silent.mcap').messages())
        assert stage.play.messages == len(recorded)
        assert {topic.name.split('/', 2)[2] for topic, _, _ in recorded} == {
            name.removeprefix('/again/')
            for name, _ in stage.listener.get_publisher_names_and_types_by_node('play', '/again')
            if name.startswith('/again/')
        }
        assert stage.clock == pytest.approx(recorded[-1][1] * 1e-9, abs=0.001)
    finally:
        stage.close()


def test_older_messages_are_played_with_what_they_have_and_bad_ones_counted(staged, tmp_path):
    scene = Scene(tmp_path / 'new.mcap').run(5)
    scene.put('m1', b'\x00\x01\x00\x00short', 5.0)
    bag = older(scene.close(), tmp_path / 'old.mcap')
    stage = staged(bag, rate=2.0)
    heard, bleeds = [], []
    listen = stage.listener.create_subscription
    listen(ModuleCells, 'modules/m1/cells', heard.append, qos.MEASUREMENT)
    listen(BleedCommand, 'modules/m1/bleed', bleeds.append, qos.COMMAND)
    stage.until(lambda: stage.ended and heard and bleeds)
    assert list(heard[-1].voltages) == pytest.approx([3.7] * 7, abs=0.01)
    assert heard[-1].status == 0 and bleeds[-1].cells == 5
    assert any(told.state == ProtectionState.CONNECTED for told in stage.told)
    assert stage.play.problems['messages too short'] == 1
    assert stage.play.problems['topics of another version of dbms_msgs/msg/ModuleCells'] == 2
    assert not stage.faults


def test_rates_at_which_nodes_come_late_are_refused(tmp_path, capsys):
    bag = Scene(tmp_path / 'a.mcap').run(1).close()
    assert main([str(bag), '--nodes', '--rate', '10']) == 2
    assert 'allowed with --nodes are 0.01 to 5' in capsys.readouterr().err


def older(source, target):
    """Write a recording anew as a version without the last three fields of scans had it."""
    first, line, rest = installed(CELLS).definition.partition('=' * 80)
    kept = first[: first.index('uint32 bleeding')]
    segment = Segment(target, custom=Bag(source).custom)
    numbers = {}
    for topic, at, data in Bag(source).messages():
        if topic.name not in numbers:
            numbers[topic.name] = len(numbers) + 1
            schema = installed(topic.type)
            if topic.type == CELLS:
                schema = Schema(CELLS, kept + line + rest, '')
            segment.add_topic(numbers[topic.name], Topic(topic.name, schema))
        whole = topic.type != CELLS or len(data) < 20
        segment.write(numbers[topic.name], at, at, data if whole else data[:-12])
    segment.add_topic(9, Topic('/battery/modules/m1/bleed', installed(BLEED)))
    segment.write(9, at, at, serialize_message(BleedCommand(cells=5, lease=1.0)))
    segment.close()
    return target
