# SPDX-License-Identifier: Apache-2.0
"""The node on a virtual bus: what is on the wire, and what it does on command."""

import time

import can
import pytest

rclpy = pytest.importorskip('rclpy')

from dbms_msgs.msg import Limits  # noqa: E402
from dbms_msgs.srv import InjectFault  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from dbms_node import middleware, qos  # noqa: E402
from dbms_node.runtime import close_node, make_executor  # noqa: E402
from dbms_pack import load_cell  # noqa: E402
from dbms_sim import wire  # noqa: E402
from dbms_sim.sim_node import SimNode  # noqa: E402

PATIENCE = 30.0  # s until a missing event is a failure
FEEDBACK = wire.CONTACTOR_FEEDBACK


class Rig:
    """A node, and a peer on its virtual bus."""

    def __init__(self, **parameters):
        self.context = rclpy.Context()
        middleware.init(context=self.context)
        overrides = {'pack': 'robot_13s', 'bus_interface': 'virtual', **parameters}
        self.bus = can.Bus(interface='virtual', channel='robot_13s_main')
        self.counter = 0
        self.node = None
        try:
            self.node = SimNode(
                context=self.context,
                namespace='/battery',
                parameter_overrides=[Parameter(k, value=v) for k, v in overrides.items()],
            )
        except ValueError:
            self.close()
            raise

    def close(self):
        if self.node is not None:
            close_node(self.node)
        self.bus.shutdown()
        rclpy.try_shutdown(context=self.context)

    def frames(self, can_id):
        """Yield the decoded frames of an id as they come."""
        message = wire.database().get_message_by_frame_id(
            can_id & 0x40F if can_id >= wire.MODULE else can_id
        )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            frame = self.bus.recv(PATIENCE)
            if frame is not None and frame.arbitration_id == can_id:
                assert frame.data[0] == wire.checksum(can_id, bytes(frame.data))
                yield wire.decode(message, bytes(frame.data))
        pytest.fail(f'waited too long for frame {can_id:#x}')

    def command(self, minus, plus, spoil=0):
        self.counter += 1
        message = wire.database().get_message_by_frame_id(wire.CONTACTOR_COMMAND)
        values = {'Minus': minus, 'Precharge': 1, 'Plus': plus, 'Lease': 250}
        data = bytearray(wire.encode(message, message.frame_id, self.counter, values))
        data[7] ^= spoil
        self.bus.send(can.Message(arbitration_id=0x020, data=data, is_extended_id=False))


@pytest.fixture
def make_rig():
    rigs = []

    def make(**parameters):
        rigs.append(Rig(**parameters))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def test_lease_closes_and_silence_opens(make_rig):
    rig = make_rig()
    assert next(rig.frames(FEEDBACK))['Minus'] == 1
    renewed = time.monotonic()
    rig.command(2, 2)
    for feedback in rig.frames(FEEDBACK):
        if feedback['Minus'] == feedback['Plus'] == 2:
            break
    rig.node.with_world(lambda world: world.clear())  # closed without precharge, it welded
    for feedback in rig.frames(FEEDBACK):
        if feedback['Minus'] == 1:
            break
    assert feedback['LeaseExpired'] == 1
    assert time.monotonic() - renewed >= 0.2  # not before its time either
    assert rig.node.events[-1].text == 'string a: contactors open, lease ran out'


def test_a_corrupted_command_is_refused(make_rig):
    rig = make_rig()
    rig.command(2, 2, spoil=0x10)
    frames = rig.frames(FEEDBACK)
    # Ten reports are half a second: time enough for a contactor to close.
    assert [next(frames)['Minus'] for _ in range(10)] == [1] * 10


def test_only_the_boards_asked_for_without_units(make_rig):
    rig = make_rig(modules=['m2'], units=False)
    frames = rig.frames(0x42C)
    for _ in range(5):
        next(frames)
    others = set()
    for _ in range(40):
        others.add(rig.bus.recv(PATIENCE).arbitration_id & ~0xF)
    assert others == {0x420}


def test_a_recording_is_on_the_wire(make_rig, tmp_path):
    path = tmp_path / 'file.csv'
    header = 'time,current,' + ','.join(f'cell{i}' for i in range(1, 14))
    rows = [f'{t},-3,' + ','.join(f'3.{i + 10}{t}' for i in range(13)) for t in range(3)]
    path.write_text('\n'.join([header, *rows]), encoding='utf-8')
    rig = make_rig(play=str(path), time_scale=100.0)
    first = next(rig.frames(0x410))
    assert [first[f'Cell{i}'] for i in (1, 2, 3)] == pytest.approx([3.1, 3.11, 3.12])
    assert rig.node.position == 0.0
    rig.command(2, 2)
    for scan in rig.frames(0x410):
        if scan['Cell1'] == pytest.approx(3.102):
            break
    assert rig.node.position == 2.0
    assert 'recording ended at t=2.0 s' in [event.text for event in rig.node.events]


def test_plugs_are_pulled_and_cells_shifted_at_run_time(make_rig):
    rig = make_rig()
    before = next(rig.frames(0x410))
    shift = Parameter('cell_offset', value=['m1:2:-0.5'])
    assert rig.node.set_parameters([shift])[0].successful
    for scan in rig.frames(0x410):
        if scan['Cell2'] == pytest.approx(before['Cell2'] - 0.5, abs=1e-3):
            break
    assert scan['Cell1'] == pytest.approx(before['Cell1'], abs=1e-3)
    wrong = rig.node.set_parameters([Parameter('silent_modules', value=['m9'])])[0]
    assert not wrong.successful
    assert 'm9' in wrong.reason
    rig.node.set_parameters([Parameter('silent_modules', value=['m1'])])
    while rig.bus.recv(0.0) is not None:
        pass
    assert rig.node.events[-1].text == 'module m1 falls silent'
    heard = []
    while heard.count(0x42C) < 3:
        heard.append(rig.bus.recv(PATIENCE).arbitration_id)
    assert not [can_id for can_id in heard if can_id & ~0xF == 0x410]
    rig.node.set_parameters([Parameter('silent_modules', value=[''])])
    assert next(rig.frames(0x41C))['Rebooted'] == 1


@pytest.mark.parametrize(
    'parameters, words',
    [
        ({'pack': 'no_such_pack'}, 'no_such_pack'),
        ({'load': 'robto'}, 'robot'),
        ({'play': '/no/such/file.csv'}, '/no/such/file.csv'),
        ({'modules': ['m7']}, 'm7'),
        ({'silent_modules': ['m7']}, 'm7'),
        ({'cell_offset': ['m1:99:1']}, 'm1:99'),
    ],
)
def test_a_wrong_parameter_stops_the_start_with_its_name(make_rig, parameters, words):
    with pytest.raises(ValueError, match=words):
        make_rig(**parameters)


def test_diagnostics_say_position_and_contactors(make_rig):
    rig = make_rig(load='constant:-2')
    executor = make_executor(rig.context)
    listener = rclpy.create_node('listener', context=rig.context)
    heard = []
    listener.create_subscription(DiagnosticArray, '/diagnostics', heard.append, qos.DIAGNOSTICS)
    for node in (rig.node, listener):
        executor.add_node(node)
    end = time.monotonic() + PATIENCE
    while not heard and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    values = {pair.key: pair.value for pair in heard[0].status[0].values}
    executor.shutdown()
    close_node(listener)
    assert values['contactors a'] == 'open'
    assert float(values['position']) > 0
    assert values['time_scale'] == '1'
    assert values['bus main'].startswith('up')


def test_faults_are_injected_and_cleared_by_service(make_rig):
    rig = make_rig()
    executor = make_executor(rig.context)
    caller = rclpy.create_node('caller', context=rig.context)
    client = caller.create_client(InjectFault, '/battery/sim/inject_fault')
    for node in (rig.node, caller):
        executor.add_node(node)

    def call(**request):
        end = time.monotonic() + PATIENCE
        while not client.service_is_ready() and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
        future = client.call_async(InjectFault.Request(**request))
        while not future.done() and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
        return future.result()

    answers = [
        call(name='interlock_open', place='a'),
        call(name='cell_offset', place='m1:3', parameters=['volts=-0.5']),
        call(name='cell_ofset', place='m1:3'),
        call(name='cell_offset', place='m1:3', parameters=['volts']),
        call(name='cell_offset', clear=True),
    ]
    reading = next(values for values in rig.frames(FEEDBACK) if values['Interlock'] == 2)
    cleared = call(clear=True)
    executor.shutdown()
    close_node(caller)
    assert [answer.success for answer in answers] == [True, True, False, False, True]
    assert answers[1].message == 'cell_offset at m1:3 volts=-0.5'
    assert "did you mean 'cell_offset'" in answers[2].message
    assert 'key=value' in answers[3].message
    assert list(answers[4].active) == ['interlock_open at a']
    assert reading['Minus'] == 1
    assert (cleared.success, list(cleared.active)) == (True, [])


def test_the_cells_may_be_others_than_the_pack_file_says(make_rig):
    rig = make_rig(cell='leaf')
    capacity = rig.node.with_world(lambda world: world.feed.plant.capacity.mean())
    assert capacity == pytest.approx(6 * load_cell('leaf').capacity, rel=0.02)
    with pytest.raises(ValueError, match='no_such_cell'):
        make_rig(cell='no_such_cell')


def test_the_load_keeps_to_limits_when_told_to(make_rig):
    rig = make_rig(load='constant:-20', obey_limits=True)
    executor = make_executor(rig.context)
    guard = rclpy.create_node('guard', context=rig.context)
    publisher = guard.create_publisher(Limits, '/battery/limits', qos.STATE)
    for node in (rig.node, guard):
        executor.add_node(node)
    seen = set()
    end = time.monotonic() + PATIENCE
    while -7.0 not in seen and time.monotonic() < end:
        publisher.publish(Limits(discharge_current=7.0, valid_for=5.0))
        executor.spin_once(timeout_sec=0.02)
        rig.command(minus=2, plus=2)
        seen.add(round(rig.node.with_world(lambda world: float(world.feed.currents[0])), 3))
    executor.shutdown()
    close_node(guard)
    assert -7.0 in seen
    assert min(seen) >= -7.0
