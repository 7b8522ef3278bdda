# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_sim.link import PRECHARGE_TAU, Contacts, Link
from dbms_sim.plant import Plant, Spread

ALIKE = Spread(0.0, 0.0, 0.0)


def contacts(main, precharge=None):
    return Contacts(np.array(main), np.array(precharge or [False] * len(main)))


def run(plant, link, load, seconds, dt):
    """Return the charge that each string took in As, with all strings connected."""
    charge = np.zeros(len(plant.string_voltages))
    for _ in range(round(seconds / dt)):
        step = plant.prepare(dt)
        emf, resistance = plant.sources(step)
        currents = link.solve(dt, contacts([True] * len(emf)), emf, resistance, load)
        assert currents.sum() == pytest.approx(load, abs=1e-6)
        plant.advance(step, currents)
        charge += currents * dt
    return charge


@settings(max_examples=20, deadline=None)
@given(st.floats(-200, 200), st.floats(0.01, 2.0), st.integers(0, 2**31 - 1))
def test_charge_is_conserved_and_string_currents_sum_to_the_load(marine, load, dt, seed):
    plant = Plant(marine, 0.5, seed)
    before = plant.soc * plant.capacity
    charge = run(plant, Link(51.2), load, 20 * dt, dt)
    gained = (plant.soc * plant.capacity - before) * 3600
    expected = np.repeat(charge, [string.cells for string in marine.strings])
    assert gained + plant.lost_charge == pytest.approx(expected, rel=1e-9, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=10), st.floats(0.1, 2.0))
def test_no_cycle_gives_back_more_energy_than_it_took(robot, currents, dt):
    plant = Plant(robot, 0.5, seed=1)
    energy = 0.0
    heat = np.zeros(robot.cells)
    for current in (*currents, -sum(currents)):  # back to where it began
        for _ in range(10):
            plant.advance(plant.prepare(dt), np.array([current]))
            energy += plant.string_voltages[0] * current * dt
            heat += plant.heat * dt
    assert energy >= -1e-6
    assert (heat >= -1e-6).all()


def test_voltage_at_rest_returns_to_the_ocv(robot):
    plant = Plant(robot, 0.5, spread=ALIKE)
    for _ in range(60):
        plant.advance(plant.prepare(1.0), np.array([-18.0]))
    loaded = plant.voltages.copy()
    plant.advance(plant.prepare(1e5), np.zeros(1))
    assert (plant.voltages > loaded).all()
    assert plant.voltages == pytest.approx(plant.ocv, abs=1e-9)


def test_the_length_of_the_steps_does_not_matter(robot):
    fine, coarse = Plant(robot, 0.6, spread=ALIKE), Plant(robot, 0.6, spread=ALIKE)
    for _ in range(200):
        fine.advance(fine.prepare(0.01), np.array([-18.0]))
    coarse.advance(coarse.prepare(2.0), np.array([-18.0]))
    assert coarse.voltages == pytest.approx(fine.voltages, abs=1e-4)
    assert coarse.soc == pytest.approx(fine.soc, abs=1e-7)  # wear and leaks are looked up


def test_parallel_cells_share_the_current(robot):
    cell, parallel = robot.cell, robot.parallel
    plant = Plant(robot, 0.5, spread=ALIKE)
    step = plant.prepare(0.0)
    at_25 = np.interp(0.5, cell.socs, [np.interp(25.0, cell.temperatures, r) for r in cell.r0.T])
    assert step.resistance == pytest.approx(at_25 / parallel)
    assert plant.capacity == pytest.approx(cell.capacity * parallel)


def test_an_overdischarged_cell_falls_in_voltage(robot):
    plant = Plant(robot, 0.0, spread=ALIKE)
    plant.advance(plant.prepare(600.0), np.array([-1.8]))
    assert (plant.voltages < robot.cell.ocv_voltage[0] - 0.05).all()


def test_warm_by_load_and_back_to_ambient(robot):
    plant = Plant(robot, 0.9, ambient=20.0)
    for _ in range(600):
        plant.advance(plant.prepare(1.0), np.array([-36.0]))
    assert (plant.sensor_temperatures > 20.5).all()
    assert plant.sensor_temperatures.shape == (robot.temperatures,)
    plant.advance(plant.prepare(1e7), np.zeros(1))
    assert plant.sensor_temperatures == pytest.approx(20.0, abs=0.01)  # self-discharge warms


def test_a_seed_is_a_pack(robot):
    assert Plant(robot, seed=3).voltages == pytest.approx(Plant(robot, seed=3).voltages)
    assert np.abs(Plant(robot, seed=3).voltages - Plant(robot, seed=4).voltages).max() > 1e-3


def test_precharge_charges_the_link_and_opening_lets_it_go():
    link = Link(48.0)
    emf, resistance = np.array([48.0]), np.array([0.02])
    precharging = contacts([False], [True])
    first = link.solve(1e-6, precharging, emf, resistance, load=-100.0)
    assert first[0] == pytest.approx(-5.0, rel=0.01)  # no load flows through the resistor
    link.solve(PRECHARGE_TAU, precharging, emf, resistance, 0.0)
    assert link.voltage == pytest.approx(48.0 * (1 - np.exp(-1)), rel=0.01)
    link.solve(1.0, precharging, emf, resistance, 0.0)
    assert link.voltage == pytest.approx(48.0, abs=0.01)
    assert link.solve(10.0, contacts([False]), emf, resistance, -100.0) == pytest.approx([0.0])
    assert link.voltage < 0.01


def test_strings_balance_through_the_link():
    link = Link(48.0)
    emf, resistance = np.array([49.0, 48.0]), np.array([0.05, 0.05])
    currents = link.solve(0.01, contacts([True, True]), emf, resistance, 0.0)
    assert currents[0] < 0 < currents[1]
    assert currents.sum() == pytest.approx(0.0, abs=1e-9)
    only = link.solve(0.01, contacts([True, False]), emf, resistance, -10.0)
    assert only == pytest.approx([-10.0, 0.0])
