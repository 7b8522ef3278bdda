# SPDX-License-Identifier: Apache-2.0
"""A replay says what the cores say of the recording, every time the same."""

import pytest
from dbms_msgs.msg import (
    CellsState,
    Fault,
    Faults,
    Limits,
    ProtectionState,
    StringMeasurement,
    StringState,
)  # fmt: skip
from rclpy.serialization import deserialize_message, serialize_message
from replay_rig import EPOCH, Scene, replay, trips
from sensor_msgs.msg import BatteryState

from dbms_pack import load_pack
from dbms_replay.against import compare, said
from dbms_replay.bags import Bag
from dbms_replay.cdr import serialize
from dbms_replay.replay import Replay

OPEN, CLOSED = StringMeasurement.CONTACTOR_OPEN, StringMeasurement.CONTACTOR_CLOSED


def too_high(time, kind, fields):
    if kind == 'm1' and time >= 2.0:
        fields['voltages'][2] = 4.5
    return fields


def test_a_quiet_pack_is_connected_and_nothing_happens(tmp_path):
    outcome = replay(Scene(tmp_path / 'a.mcap').run(5).close())
    assert trips(outcome) == []
    assert [e.what for e in outcome.events if e.kind == 'state'][-1] == 'CONNECTED'
    assert outcome.series['discharge_limit'][-1] > 0.0
    assert 0.0 < outcome.series['soc'][-1] < 1.0
    assert outcome.messages.total() == 5 * 10 * 7
    assert not +outcome.problems


def test_a_cell_that_is_too_high_trips_after_its_debounce(tmp_path):
    outcome = replay(Scene(tmp_path / 'a.mcap', too_high).run(4).close())
    assert trips(outcome) == [('CELL_OVERVOLTAGE', 'm1:3')]
    debounce = load_pack('robot_13s').limits.cell_overvoltage
    (event,) = (e for e in outcome.events if e.level == 'MSL')
    expected = 2.0 + max(level.debounce for name, level in debounce.items() if name.name == 'MSL')
    assert event.time == pytest.approx(expected, abs=0.11)
    assert outcome.series['charge_limit'][-1] == 0.0


def test_the_same_recording_gives_the_same_bytes(tmp_path):
    path = Scene(tmp_path / 'a.mcap', too_high).run(4).close()
    for name in ('one.mcap', 'two.mcap'):
        Replay(Bag(path)).run(output=tmp_path / name)
    one, two = ((tmp_path / name).read_bytes() for name in ('one.mcap', 'two.mcap'))
    assert one == two and len(one) > 10_000


def test_messages_are_serialized_as_ros_reads_them():
    battery = BatteryState(voltage=48.1, cell_voltage=[3.7, 3.8], location='a', present=True)
    fault = Fault(name='SHORT_CIRCUIT', level=3, cell=5, value=1.5, text='it is', active=True)
    cells = CellsState(modules=['m1', 'other'], module_cells=[7, 6], soc=[0.5] * 13)
    for message in (battery, Faults(sequence=7, faults=[fault, Fault()]), cells, Limits(),
                    ProtectionState(strings=[StringState(name='a', reason='x')])):  # fmt: skip
        ours, theirs = (
            str(deserialize_message(data, type(message)))  # as text: NaN is not itself
            for data in (serialize(message), serialize_message(message))
        )
        assert ours == theirs
        assert len(serialize(message)) <= len(serialize_message(message))


def test_the_outputs_are_what_the_nodes_say_and_can_be_compared(tmp_path):
    quiet = Scene(tmp_path / 'quiet.mcap').run(4).close()
    bad = Scene(tmp_path / 'bad.mcap', too_high).run(4).close()
    for path in (quiet, bad):
        Replay(Bag(path)).run(output=path.with_suffix('.out.mcap'))
    a, b = said(tmp_path / 'quiet.out.mcap'), said(tmp_path / 'bad.out.mcap')
    assert not compare(a, a).differs
    comparison = compare(b, a)
    assert comparison.differs
    assert any(
        'new' in line and 'CELL_OVERVOLTAGE MSL at m1:3' in line for line in comparison.lines
    )
    names = {topic.name for topic, _, _ in Bag(tmp_path / 'bad.out.mcap').messages()}
    assert names == {f'/battery/{name}' for name in (
        'battery_state', 'strings/a/battery_state', 'cells/state', 'limits', 'faults',
        'protection/state', 'power', 'energy', 'health',
    )}  # fmt: skip


def test_silence_of_a_module_is_noticed_in_recorded_time(tmp_path):
    def silent(time, kind, fields):
        return None if kind == 'm2' and time >= 2.0 else fields

    outcome = replay(Scene(tmp_path / 'a.mcap', silent).run(4).close())
    (lost,) = (e for e in outcome.events if e.what == 'MODULE_LOST' and e.kind == 'fault')
    timeout = load_pack('robot_13s').limits.module_lost.timeout
    assert lost.place == 'm2' and lost.time == pytest.approx(1.9 + timeout, abs=0.05)


def test_it_ends_where_it_is_told_to(tmp_path):
    path = Scene(tmp_path / 'a.mcap', too_high).run(4).close()
    outcome = Replay(Bag(path)).run(until=1.5)
    assert trips(outcome) == [] and outcome.duration <= 1.6


def test_time_that_runs_faster_makes_debounces_shorter(tmp_path):
    path = Scene(tmp_path / 'a.mcap', too_high).run(4).close()
    times = [
        next(e.time for e in Replay(Bag(path), time_scale=scale).run().events if e.level == 'MSL')
        for scale in (1.0, 10.0)
    ]
    assert times[1] < times[0]


def test_the_stamps_of_the_outputs_are_those_of_the_recording(tmp_path):
    path = Scene(tmp_path / 'a.mcap').run(2).close()
    Replay(Bag(path)).run(output=tmp_path / 'o.mcap')
    times = [time * 1e-9 for _, time, _ in Bag(tmp_path / 'o.mcap').messages()]
    assert min(times) >= EPOCH and max(times) <= EPOCH + 2.0


@pytest.mark.parametrize(('lease', 'expected'), [(0.0, False), (0.1, True)])
def test_what_opened_because_the_protection_of_then_fell_silent_is_no_fault_of_today(
    tmp_path, lease, expected
):
    def opened(time, kind, fields):
        if kind != 'a':
            return fields
        mains = {'minus': CLOSED, 'precharge': OPEN, 'plus': CLOSED}
        fields |= mains | {'interlock': 1, 'link_voltage': 48.1, 'lease_remaining': 0.2}
        if time >= 3.0:
            fields |= {'minus': OPEN, 'plus': OPEN, 'link_voltage': 10.0}
            fields['lease_remaining'] = lease
        return fields

    scene = Scene(tmp_path / 'a.mcap', opened)
    told = ProtectionState(
        pack='robot_13s', strings=[StringState(name='a', state=StringState.CONNECTED)]
    )
    scene.state(serialize_message(told))
    outcome = Replay(Bag(scene.run(5).close())).run(output=tmp_path / 'out.mcap')
    # With a lease they opened by themselves: that is a fault then and now, over with the opening.
    assert trips(outcome) == ([('CONTACTOR_FEEDBACK', 'a')] if expected else [])
    assert trips(said(tmp_path / 'out.mcap')) == trips(outcome)
