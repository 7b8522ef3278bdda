# SPDX-License-Identifier: Apache-2.0
"""What is there without a fault: current sensors as they are, and paths to the chassis."""

import math

import numpy as np
import pytest
from sim_rig import Controller, decoded

from dbms_sim import wire
from dbms_sim.current_sensor import SensorQuality
from dbms_sim.feeds import ModelFeed
from dbms_sim.insulation import LINK, POLE, Insulation
from dbms_sim.loads import make_load
from dbms_sim.world import World


def make_rig(pack, load='rest', **options):
    return Controller(World(pack, ModelFeed(pack, make_load(load, pack), seed=1), **options))


def measured(rig, seconds):
    return np.array([v['Current'] for _, v in decoded(rig.run(seconds), wire.CURRENT)])


def insulation(frames, address=0):
    return decoded(frames, wire.INSULATION, address)[-1][1]['Resistance']


def test_a_current_sensor_measures_as_well_as_it_does(robot):
    quality = SensorQuality(offset=0.3, gain=1.01, noise=0.2)
    rig = make_rig(robot, 'constant:-20', current_sensors=quality)
    rig.connect()
    values = measured(rig, 20.0)
    assert values.mean() == pytest.approx(-20.0 * 1.01 + 0.3, abs=0.03)
    assert values.std() == pytest.approx(0.2, rel=0.1)
    assert rig.world.feed.currents[0] == pytest.approx(-20.0)


def test_the_noise_of_a_sensor_comes_from_the_seed(robot):
    def noise(seed):
        rig = make_rig(robot, current_sensors=SensorQuality(noise=1.0), seed=seed)
        return measured(rig, 1.0).tolist()

    assert noise(1) == noise(1) != noise(2)


def test_the_sensors_of_two_strings_have_noise_of_their_own(marine):
    rig = make_rig(marine, current_sensors=SensorQuality(noise=1.0))
    values = {}
    for _, frame in rig.run(1.0):
        if frame.can_id == wire.CURRENT:
            values.setdefault(frame.bus, []).append(frame.data[2:6])
    assert values['port'] != values['starboard']


def test_beyond_its_range_a_sensor_shows_the_end_of_it_and_says_so(robot):
    rig = make_rig(robot, 'constant:-60', current_sensors=SensorQuality(range=50.0))
    rig.connect()
    values = decoded(rig.run(0.1), wire.CURRENT)[-1][1]
    assert (values['Current'], values['OverRange']) == (-50.0, 1)


@pytest.mark.parametrize(
    'wrong', [{'offset': math.nan}, {'gain': math.inf}, {'noise': -1.0}, {'range': 0.0}]
)
def test_a_sensor_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=f'current sensor: {next(iter(wrong))}'):
        SensorQuality(**wrong)


def test_a_fault_lies_beside_what_is_there_and_faults_add_up(marine):
    rig = make_rig(marine)
    healthy = insulation(rig.run(1.1))
    assert healthy == POLE / 1e3
    rig.world.inject('insulation_low', 'port', {'resistance': 40e3})
    one = 1e-3 / (1 / POLE + 1 / 40e3)
    frames = [(t, f) for t, f in rig.run(1.1) if f.bus == 'port']
    assert insulation(frames) == pytest.approx(one, abs=1)
    rig.world.inject('insulation_low', 'port', {'resistance': 10e3, 'pole': 'minus'})
    frames = rig.run(1.1)
    lower = [(t, f) for t, f in frames if f.bus == 'port']
    other = [(t, f) for t, f in frames if f.bus == 'starboard']
    assert insulation(lower) == 10  # the lower pole
    assert insulation(other) == healthy
    rig.world.clear('insulation_low')
    assert insulation(rig.run(1.1)) == healthy


def test_strings_on_one_link_share_their_paths_to_the_chassis():
    both = Insulation(2)
    both.break_down('fault', 1, 'plus', 50e3)
    assert both.resistance == pytest.approx([POLE, 1 / (1 / POLE + 1 / 50e3)])
    both.join(np.array([[True, True], [True, True]]))
    shared = 1 / (2 / POLE + 1 / LINK + 1 / 50e3)
    assert both.resistance == pytest.approx([shared, shared])
    both.join(np.array([[True, False], [True, True]]))  # without plus the fault is not seen
    assert both.resistance[0] == pytest.approx(1 / (2 / POLE + 1 / LINK))
    both.mend('fault')
    both.join(np.zeros((2, 2), dtype=bool))
    assert both.resistance == pytest.approx([POLE, POLE])


def test_two_paths_to_the_chassis_empty_the_cells_and_one_does_not(robot):
    def lost(*poles):
        rig = make_rig(robot)
        for pole in poles:
            rig.world.inject('insulation_low', 'a', {'resistance': 5.0, 'pole': pole})
        before = rig.world.feed.plant.soc.copy()
        rig.run(10.0)
        plant = rig.world.feed.plant
        return ((before - plant.soc) * plant.capacity * 3600).mean() / 10.0  # A

    volts = make_rig(robot).world.feed.plant.string_voltages[0]
    assert lost('plus', 'minus') == pytest.approx(volts / 10.0, rel=0.02)
    assert lost('plus') < 1e-3  # self-discharge
