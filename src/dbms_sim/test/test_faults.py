# SPDX-License-Identifier: Apache-2.0
"""Faults by what they do on the wire and to the cells."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_rig import Controller, decoded

from dbms_sim import wire
from dbms_sim.faults import KINDS, FaultError, check_fault, parse_parameters
from dbms_sim.feeds import ModelFeed
from dbms_sim.loads import make_load
from dbms_sim.world import World


@pytest.fixture
def rig(robot):
    return make_rig(robot)


def make_rig(pack, load='rest', **options):
    feed = ModelFeed(pack, make_load(load, pack), seed=1)
    controller = Controller(World(pack, feed, **options))
    controller.run(0.5)
    return controller


def cells(frames, address, count):
    """Return the voltages of the last scan in V; NaN where they are no number."""
    volts = {}
    for k in range(-(-count // 3)):
        volts.update(decoded(frames, 0x400 + k, address)[-1][1])
    values = np.array([volts[f'Cell{i + 1}'] for i in range(count)])
    return np.where(values > 6.55335, math.nan, values)


def status(frames, address=1):
    return decoded(frames, 0x40C, address)[-1][1]


def feedback(frames):
    return decoded(frames, wire.CONTACTOR_FEEDBACK)[-1][1]


@pytest.mark.parametrize(
    'name, place, parameters, words',
    [
        ('cell_overvoltag', 'm1:1', {}, "did you mean 'cell_overvoltage'"),
        ('', '', {}, 'one of: cell_overvoltage'),
        ('bus_off', 'mian', {}, 'main'),
        ('board_silent', 'm3', {}, 'one of: m1, m2'),
        ('cell_offset', 'm2:7', {}, 'not a cell of pack robot_13s'),
        ('cell_offset', '', {}, 'm1:1 to m2:6'),
        ('cell_offset', 'm1:0', {}, 'not a cell'),
        ('cell_offset', 'm1:1', {'volt': 1}, "did you mean 'volts'"),
        ('cell_offset', 'm1:1', {'volts': 99}, 'must be -6 to 6 V'),
        ('cell_offset', 'm1:1', {'volts': 'x'}, 'must be -6 to 6 V'),
        ('cell_offset', 'm1:1', {'volts': math.nan}, 'must be -6 to 6 V'),
        ('contactor_welded', 'a', {'contactor': 'pluss'}, "did you mean 'plus'"),
        ('interlock_open', 'a', {'x': 1}, 'no parameter'),
    ],
)
def test_unknown_faults_are_refused_with_what_is_allowed(rig, name, place, parameters, words):
    with pytest.raises(FaultError, match=words):
        rig.world.inject(name, place, parameters)
    assert rig.world.faults == []


@given(st.text(max_size=20), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_no_request_is_another_exception(robot, name, place, key, value):
    for known in (name, 'cell_offset'):
        with pytest.raises(FaultError):
            check_fault(robot, known, place, {key: value})


@pytest.mark.parametrize('text', ['volts', '=1', 'a=1 b'])
def test_parameters_are_key_and_value(text):
    if text == 'a=1 b':
        assert parse_parameters([text, '']) == {'a': '1 b'}
    else:
        with pytest.raises(FaultError, match='key=value'):
            parse_parameters([text])
    with pytest.raises(FaultError, match='twice'):
        parse_parameters(['a=1', 'a=2'])


@pytest.mark.parametrize('name', KINDS)
def test_every_fault_begins_and_all_is_as_before_when_it_is_cleared(rig, name):
    place = {'cell': 'm1:2', 'sensor': 'm1:t1', 'module': 'm1', 'string': 'a', 'bus': 'main'}
    world = rig.world
    fault = world.inject(name, place[KINDS[name].places[0]])
    rig.run(1.5)
    assert world.faults == [fault]
    assert world.clear(name) == [fault]
    rig.run(1.5)
    frames = rig.run(0.5)
    volts = np.concatenate([cells(frames, 1, 7), cells(frames, 2, 6)])
    assert volts == pytest.approx(world.feed.voltages, abs=2e-3)
    last = status(frames)
    assert [last[x] for x in ('OpenWire', 'SelfTestFailed', 'ReferenceFailed')] == [0, 0, 0]
    assert last['Serial'] == world.boards['m1'].serial & 0xFFFF
    reading = feedback(frames)
    assert [reading[x] for x in ('Minus', 'Precharge', 'Plus', 'Interlock')] == [1, 1, 1, 1]
    assert (reading['CoilFault'], reading['SupplyLow']) == (0, 0)
    assert decoded(frames, wire.CURRENT)[-1][1]['Current'] == pytest.approx(0.0, abs=1e-3)
    assert len(decoded(frames, 0x400, 1)) == 5
    assert not world.feed.plant.short_conductance.any()
    with pytest.raises(FaultError, match='to clear'):
        world.clear(name)


@pytest.mark.parametrize(
    'name, parameters, expected',
    [
        ('cell_overvoltage', {'offset': 0.4}, 'more'),
        ('cell_overvoltage', {'at': 4.4}, 4.4),
        ('cell_undervoltage', {'offset': 0.4}, 'less'),
        ('cell_undervoltage', {'at': '2.1'}, 2.1),
        ('sensor_sentinel', {'value': 'not_measured'}, math.nan),
        ('sensor_sentinel', {'value': 'fault'}, math.nan),
        ('sensor_sentinel', {'value': 'zero'}, 0.0),
        ('sensor_sentinel', {'value': 'top'}, 6.5533),
    ],
)
def test_a_cell_is_measured_wrongly(rig, name, parameters, expected):
    rig.world.inject(name, 'm1:3', parameters)
    truth = rig.world.feed.voltages[2]
    wanted = {'more': truth + 0.4, 'less': truth - 0.4}.get(expected, expected)
    measured = cells(rig.run(0.3), 1, 7)
    assert measured[2] == pytest.approx(wanted, abs=1e-4, nan_ok=True)
    others = np.delete(np.arange(7), 2)
    assert measured[others] == pytest.approx(rig.world.feed.voltages[others], abs=1e-4)


def test_fault_and_not_measured_are_two_values_on_the_wire(rig):
    rig.world.inject('sensor_sentinel', 'm1:1', {'value': 'fault'})
    rig.world.inject('sensor_sentinel', 'm1:2', {'value': 'not_measured'})
    rig.world.inject('sensor_sentinel', 'm1:t1', {'value': 'fault'})
    frames = rig.run(0.3)
    data = [frame.data for _, frame in frames if frame.can_id == 0x410][-1]
    assert data[2:6] == b'\xfe\xff\xff\xff'
    data = [frame.data for _, frame in frames if frame.can_id == 0x418][-1]
    assert int.from_bytes(data[2:4], 'little') & 0xFFF == 0xFFE


def test_an_open_wire_moves_the_voltage_to_the_next_cell_and_is_flagged(rig):
    rig.world.inject('open_wire', 'm1:2', {'detected': 0.5})
    frames = rig.run(0.3)
    truth = rig.world.feed.voltages
    measured = cells(frames, 1, 7)
    assert measured[1] == 0.0
    assert measured[2] == pytest.approx(min(truth[1] + truth[2], 6.5533), abs=2e-4)
    assert status(frames)['OpenWire'] == 0
    assert status(rig.run(0.5))['OpenWire'] == 1
    assert status(rig.run(0.3), 2)['OpenWire'] == 0


def test_a_stuck_sensor_stays_a_drifting_one_goes_a_noisy_one_scatters(robot):
    rig = make_rig(robot, 'constant:-100')
    rig.connect()
    for name, place, parameters in (
        ('sensor_stuck', 'm1:1', {}),
        ('sensor_drift', 'm1:2', {'rate': 0.1}),
        ('sensor_noise', 'm1:3', {'sigma': 0.05}),
    ):
        rig.world.inject(name, place, parameters)
    rig.run(0.2)
    frames = rig.run(3.0)
    one = [v['Cell1'] for _, v in decoded(frames, 0x400, 1)]
    two = [v['Cell2'] for _, v in decoded(frames, 0x400, 1)]
    three = [v['Cell3'] for _, v in decoded(frames, 0x400, 1)]
    assert len(set(one)) == 1
    assert two[-1] - rig.world.feed.voltages[1] == pytest.approx(0.32, abs=0.02)
    assert 0.02 < np.std(three) < 0.1


def test_an_internal_short_grows_and_empties_its_cell(rig):
    before = rig.world.feed.plant.soc.copy()
    rig.world.inject('internal_short', 'm2:1', {'leakage': 10, 'growth': 5, 'most': 50})
    rig.run(20.0, tick=0.1)
    lost = before - rig.world.feed.plant.soc
    assert lost.argmax() == 7
    # 10 A, after 8 s 50 A: 240 As until then, 600 As after it; more by the ratio of voltages.
    charge = lost[7] * rig.world.feed.plant.capacity[7] * 3600
    voltage = rig.world.feed.voltages[7] / rig.world.pack.cell.voltage_nominal
    assert charge == pytest.approx(840 * voltage, rel=0.05)


def test_thermal_runaway_spreads_to_the_neighbours_and_collapses_the_voltage(robot):
    rig = make_rig(robot, time_scale=10.0)
    voltage = rig.world.feed.voltages.copy()
    rig.world.inject('thermal_runaway', 'm1:4', {'rate': 20, 'delay': 30})
    plant = rig.world.feed.plant
    rig.run(2.0)
    assert plant.temperature[3] > 150.0
    assert rig.world.feed.voltages[3] < 0.7 * voltage[3]
    assert (plant.temperature[[0, 6]] < 100.0).all()
    rig.run(5.0)
    assert (plant.temperature[2:5] > 150.0).all()
    assert (plant.temperature[7:] < 40.0).all()
    assert (plant.temperature > 0.0).all()
    assert np.isfinite(rig.world.feed.voltages).all()


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


def test_the_guide_lists_every_fault_and_parameter():
    guide = (Path(__file__).parents[3] / 'docs' / 'simulation.md').read_text(encoding='utf-8')
    rows = {line.split('`')[1]: line for line in guide.splitlines() if line.startswith('| `')}
    for kind in KINDS.values():
        for parameter in kind.parameters:
            assert f'`{parameter.name}`' in rows[kind.name]
        assert all(place in rows[kind.name] for place in kind.places)
