# SPDX-License-Identifier: Apache-2.0
"""Faults by what they do on the wire and to the cells."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_rig import cells, decoded, feedback, make_rig, status

from dbms_sim import wire
from dbms_sim.faults import KINDS, FaultError, check_fault, parse_parameters


@pytest.fixture
def rig(robot):
    return make_rig(robot)


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


def test_the_guide_lists_every_fault_and_parameter():
    guide = (Path(__file__).parents[3] / 'docs' / 'simulation.md').read_text(encoding='utf-8')
    rows = {line.split('`')[1]: line for line in guide.splitlines() if line.startswith('| `')}
    for kind in KINDS.values():
        for parameter in kind.parameters:
            assert f'`{parameter.name}`' in rows[kind.name]
        assert all(place in rows[kind.name] for place in kind.places)
