# SPDX-License-Identifier: Apache-2.0
"""Faults of boards, buses, sensors and contactor units by what they do on the wire."""

from collections import Counter

import pytest
from sim_rig import decoded, feedback, make_rig, status

from dbms_sim import wire
from dbms_sim.faults import FaultError


@pytest.fixture
def rig(robot):
    return make_rig(robot)


def test_a_board_reboots_again_and_again(rig):
    rig.world.inject('board_reboot', 'm1', {'down': 0.3, 'every': 2.0})
    frames = rig.run(6.0)
    scans = [values for _, values in decoded(frames, 0x40C, 1)]
    assert 49 <= len(scans) <= 53
    assert sum(values['Counter'] == 0 and values['Rebooted'] for values in scans) == 3


@pytest.mark.parametrize(
    'name, factor, share', [('board_babbling', 5, 5), ('board_slow_clock', 2, 0.5)]
)
def test_the_clock_of_a_board_is_wrong(rig, name, factor, share):
    rig.world.inject(name, 'm1', {'factor': factor})
    frames = rig.run(4.0)
    assert len(decoded(frames, 0x400, 1)) == pytest.approx(40 * share, rel=0.06)
    assert len(decoded(frames, 0x400, 2)) == 40


def test_frames_with_a_wrong_crc_come_from_that_board_alone(rig):
    rig.world.inject('board_wrong_crc', 'm2', {'share': 0.5})
    wrong = Counter(
        frame.can_id & 0x7F0
        for _, frame in rig.run(10.0)
        if frame.data[0] != wire.checksum(frame.can_id, frame.data)
    )
    assert set(wrong) == {0x420}
    assert wrong[0x420] == pytest.approx(200, rel=0.3)


def test_a_second_board_answers_with_another_serial(rig):
    rig.world.inject('board_duplicate', 'm1', {'serial': 0x12345678})
    frames = rig.run(1.5)
    serials = {values['Serial'] for _, values in decoded(frames, 0x40D, 1)}
    assert serials == {0x12345678, rig.world.boards['m1'].serial}
    assert len(decoded(frames, 0x400, 1)) == pytest.approx(30, abs=1)


def test_a_board_says_what_is_wrong_with_it(rig):
    rig.world.inject('board_flag', 'm1')
    rig.world.inject('board_flag', 'm1', {'flag': 'reference_failed'})
    last = status(rig.run(0.3))
    assert (last['SelfTestFailed'], last['ReferenceFailed']) == (1, 1)


def test_a_bus_that_is_off_carries_nothing_either_way(marine):
    rig = make_rig(marine)
    rig.world.inject('bus_off', 'port')
    rig.hold('Minus')
    assert {frame.bus for _, frame in rig.run(1.0)} == {'starboard'}
    assert rig.world.contactors()['port'] == 'open'
    rig.world.clear('bus_off')
    rig.run(0.2)
    assert rig.world.contactors()['port'] == 'minus'


def test_a_disturbed_bus_is_late_and_loses_but_keeps_the_order(rig):
    rig.world.inject('bus_disturbed', 'main', {'delay': 0.1, 'loss': 0.3})
    frames = rig.run(10.0)
    counters = [v['Counter'] for _, v in decoded(frames, wire.CURRENT)]
    assert len(counters) == pytest.approx(350, rel=0.15)
    jumps = [(b - a) % 16 for a, b in zip(counters, counters[1:], strict=False)]
    assert 0 not in jumps
    assert max(jumps) < 12


def test_on_an_overloaded_bus_low_ids_win_and_high_ones_starve(rig):
    # 3 % of 500 kbit/s are 120 frames/s: 81 of the string, and 39 of 120 of the boards.
    rig.world.inject('bus_overload', 'main', {'share': 0.97})
    frames = [frame.can_id for _, frame in rig.run(10.0)]
    sent = Counter(frames)
    assert len(frames) == pytest.approx(1200, abs=5)
    assert sent[wire.CURRENT] == pytest.approx(500, abs=3)
    assert sent[wire.CONTACTOR_FEEDBACK] == pytest.approx(200, abs=3)
    first, last = sent[0x410], sent[0x42C]
    assert first == pytest.approx(100, abs=5) and last < 50
    shares = [sent[0x410 + k] for k in (0, 1, 2)] + [sent[0x420 + k] for k in (0, 1, 0xC)]
    assert shares == sorted(shares, reverse=True)
    rig.world.clear('bus_overload')
    again = Counter(frame.can_id for _, frame in rig.run(10.0))
    assert again[0x42C] == pytest.approx(100, abs=1)


def test_a_bus_without_time_left_carries_only_what_is_above_the_others(rig):
    rig.world.inject('bus_overload', 'main', {'share': 1, 'above': 0x060})
    assert {frame.can_id for _, frame in rig.run(1.0)} == {wire.CONTACTOR_FEEDBACK}
    rig.hold('Minus')
    rig.run(0.2)
    assert rig.world.contactors() == {'a': 'minus'}
    rig.hold()
    rig.world.inject('bus_overload', 'main', {'share': 1})
    rig.run(0.5)
    rig.hold('Minus')
    rig.run(0.5)
    assert rig.world.contactors() == {'a': 'open'}


def test_a_second_board_obeys_bleed_commands_as_the_first_does(rig):
    rig.world.inject('board_duplicate', 'm1')
    rig.run(0.2)
    message = wire.database().get_message_by_frame_id(wire.module_id(0, wire.BLEED))
    can_id = wire.module_id(1, wire.BLEED)
    data = wire.encode(message, can_id, 1, {'Cells': 0b100, 'Lease': 1.0})
    rig.world.receive(wire.Frame('main', can_id, data), rig.now)
    told = [values['Bleeding'] for _, values in decoded(rig.run(0.3), 0x40C, 1)]
    assert len(told) >= 5 and set(told) == {0b100}
    before = rig.world.feed.plant.soc.copy()
    rig.run(0.5)
    gone = before - rig.world.feed.plant.soc
    both = 2 * rig.world.feed.voltages[2] / 33.0 * 0.5  # As
    assert gone[2] * 3600 * rig.world.feed.plant.capacity[2] == pytest.approx(both, rel=0.05)
    rig.run(1.0)
    assert decoded(rig.run(0.2), 0x40C, 1)[-1][1]['Bleeding'] == 0


@pytest.mark.parametrize(
    'name, parameters, expected',
    [
        ('current_offset', {'amperes': 3}, -17.0),
        ('current_gain', {'factor': 2}, -40.0),
        ('current_reversed', {}, 20.0),
    ],
)
def test_a_current_is_measured_wrongly(robot, name, parameters, expected):
    rig = make_rig(robot, 'constant:-20')
    rig.connect()
    rig.world.inject(name, '', parameters)
    assert decoded(rig.run(0.1), wire.CURRENT)[-1][1]['Current'] == pytest.approx(expected)
    assert rig.world.feed.currents[0] == pytest.approx(-20.0)


def test_a_current_sensor_is_lost(rig):
    rig.world.inject('current_lost', 'a')
    assert not [f for _, f in rig.run(1.0) if f.can_id in (0x060, 0x080, 0x0A0)]
    rig.world.inject('current_lost', 'a', {'how': 'fault'})
    values = decoded(rig.run(0.1), wire.CURRENT)[-1][1]
    assert values['SensorFault'] == 1
    assert values['Current'] == pytest.approx(2147483.647)


@pytest.mark.parametrize('contactor', ['minus', 'precharge', 'plus'])
def test_a_welded_contact_does_not_open(rig, contactor):
    rig.connect()
    rig.world.inject('contactor_welded', 'a', {'contactor': contactor})
    rig.hold()
    closed = feedback(rig.run(0.5))
    found = [name for name in ('Minus', 'Precharge', 'Plus') if closed[name] == 2]
    assert found == [contactor.capitalize()]


def test_a_contact_that_sticks_open_carries_nothing(robot):
    rig = make_rig(robot, 'constant:-20')
    rig.world.inject('contactor_stuck_open', 'a', {'contactor': 'plus'})
    rig.connect()
    assert feedback(rig.run(0.2))['Plus'] == 1
    assert rig.world.feed.currents[0] == 0.0


def test_an_auxiliary_contact_lies(rig):
    rig.world.inject('contactor_feedback', 'a', {'contactor': 'minus', 'reads': 'closed'})
    assert feedback(rig.run(0.2))['Minus'] == 2
    assert rig.world.contactors() == {'a': 'open'}


def test_an_open_precharge_resistor_leaves_the_link_empty(rig):
    rig.world.inject('precharge_open')
    rig.hold('Minus', 'Precharge')
    values = decoded(rig.run(1.0), wire.VOLTAGES)[-1][1]
    assert values['LinkVoltage'] < 1.0


def test_units_report_interlock_insulation_coil_and_supply(rig):
    for name in ('interlock_open', 'coil_fault', 'supply_low'):
        rig.world.inject(name, 'a')
    rig.world.inject('insulation_low', 'a', {'resistance': 40e3})
    frames = rig.run(1.2)
    last = feedback(frames)
    assert (last['Interlock'], last['CoilFault'], last['SupplyLow']) == (2, 1, 1)
    assert decoded(frames, wire.INSULATION)[-1][1]['Resistance'] == 40


def test_what_is_not_played_here_cannot_break_here(robot):
    rig = make_rig(robot, modules=['m2'], units=False)
    for name, place in (('board_silent', 'm1'), ('coil_fault', 'a'), ('current_lost', 'a')):
        with pytest.raises(FaultError, match='played here'):
            rig.world.inject(name, place)
    assert rig.world.faults == []
