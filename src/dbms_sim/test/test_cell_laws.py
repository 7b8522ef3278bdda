# SPDX-License-Identifier: Apache-2.0
"""Laws that hold for any cell: charge and energy are conserved, and heat flows downhill."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_pack.model import AgeingModel
from dbms_sim.ageing import YEAR
from dbms_sim.cell_physics import Cells
from dbms_sim.plant import Plant
from dbms_sim.thermal import ThermalNetwork

DAY = 86400


def bare(cell):
    """Return the cell with nothing that a cell file may leave out."""
    return replace(
        cell,
        hysteresis_voltage=np.zeros(1),
        entropic=np.zeros(1),
        r0_charge=None,
        r1_charge=None,
        r2_charge=None,
        saturation=math.inf,
        neighbour_resistance=math.inf,
        self_discharge=0.0,
        ageing=AgeingModel(),
    )


def lively(cell):
    """Return the cell with everything that a cell file may leave out."""
    points = len(cell.ocv_soc)
    return replace(
        cell,
        hysteresis_voltage=np.linspace(0.04, 0.01, points),
        entropic=np.linspace(-4e-4, 2e-4, points),
        r0_charge=cell.r0 * 1.3,
        r2_charge=cell.r2 * 0.8,
        saturation=0.1,
        neighbour_resistance=4.0,
        self_discharge=0.03,
        ageing=AgeingModel(),  # wear takes energy with it
    )


def day(cells, seed, dt=2.0):
    """Run a day of changing currents around a middle SOC; return the charge that went in, As."""
    random = np.random.default_rng(seed)
    charge = np.zeros(len(cells.soc))
    rate = 0.0
    for number in range(round(DAY / dt)):
        if number % 30 == 0:
            rate = random.normal() + 8.0 * (0.5 - float(cells.soc.mean()))
        current = np.full(len(cells.soc), rate) * cells.capacity
        cells.carry(cells.prepare(dt), current)
        charge += current * dt
    return charge


def stored(model, soc, capacity):
    """Return what the OCV says is in a cell, J: enthalpy, integrated finely and independently."""
    fine = np.linspace(0.0, 1.0, 200_001)
    entropic = np.interp(fine, model.ocv_soc, np.broadcast_to(model.entropic, len(model.ocv_soc)))
    enthalpy = np.interp(fine, model.ocv_soc, model.ocv_voltage) - 298.15 * entropic
    area = np.concatenate([[0.0], np.cumsum((enthalpy[1:] + enthalpy[:-1]) / 2)]) / 200_000
    return np.interp(soc, fine, area) * capacity * 3600.0


@pytest.mark.parametrize('pack', ['robot', pytest.param('marine', marks=pytest.mark.slow)])
def test_charge_and_energy_balance_over_a_day(pack, request):
    model = lively(request.getfixturevalue(pack).cell)
    cells = Cells(model, np.array([0.3, 0.5, 0.6]), [3], ambient=15.0)
    soc = cells.soc.copy()
    heat = np.zeros(3)
    carry = cells.carry

    def watched(step, current):
        carry(step, current)
        heat[:] += cells.heat * step.dt

    cells.carry = watched
    charge = day(cells, seed=1)
    assert (cells.soc > 0.01).all() and (cells.soc < 0.99).all()
    moved = 3600.0 * cells.capacity * 20  # As, of the day; the scale of the balances
    gained = (cells.soc - soc) * cells.capacity * 3600.0
    assert np.abs(charge - cells.lost_charge - gained).max() < 1e-9 * moved.min()
    kept = stored(model, cells.soc, cells.capacity) - stored(model, soc, cells.capacity)
    error = cells.energy - heat - kept
    assert np.abs(error).max() < 1e-6 * moved.min() * model.voltage_nominal
    assert (heat > 1e-3 * moved * model.voltage_nominal).all()


def test_terminal_energy_is_voltage_times_current(robot):
    cells = Cells(bare(robot.cell), np.array([0.5]), [1])
    outside, dt = 0.0, 0.05
    cells.carry(cells.prepare(0.0), np.array([-6.0]))
    before = cells.voltages.copy()
    for _ in range(4000):
        cells.carry(cells.prepare(dt), np.array([-6.0]))
        outside += float(-6.0 * (before + cells.voltages)[0] / 2 * dt)
        before = cells.voltages.copy()
    assert cells.energy[0] == pytest.approx(outside, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-20, 80), min_size=6, max_size=6),
    st.floats(0.01, 1e5),
    st.floats(0.1, 100.0),
)
def test_heat_flows_downhill_and_none_is_lost(temperatures, dt, resistance):
    network = ThermalNetwork([4, 2], 45.0, 1e15, resistance)
    temperature = np.array(temperatures)
    first = temperature.copy()
    network.step(temperature, np.zeros(6), 25.0, dt)
    for row in (slice(0, 4), slice(4, 6)):  # no heat goes from one module to another
        assert temperature[row].sum() == pytest.approx(first[row].sum(), abs=1e-6)
        assert temperature[row].max() <= first[row].max() + 1e-9
        assert temperature[row].min() >= first[row].min() - 1e-9


def test_heat_of_one_cell_warms_its_neighbours_in_order():
    network = ThermalNetwork([5, 5], 45.0, 12.0, 4.0)
    temperature = np.full(10, 20.0)
    heat = np.zeros(10)
    heat[0] = 5.0
    for _ in range(600):
        network.step(temperature, heat, 20.0, 1.0)
    assert (np.diff(temperature[:5]) < -0.1).all()
    assert temperature[5:] == pytest.approx(20.0, abs=1e-9)
    # All that came in is in the cells or has gone to ambient: the sum has a law of its own.
    rate = 1 / (12.0 * 45.0)
    expected = 5.0 * 12.0 * (1 - np.exp(-600 * rate))
    assert (temperature[:5] - 20.0).sum() == pytest.approx(expected, rel=1e-9)


def test_zero_current_relaxes_to_the_ocv_and_to_ambient(robot):
    cells = Cells(lively(robot.cell), np.array([0.5, 0.6]), [2], ambient=10.0)
    for _ in range(600):
        cells.carry(cells.prepare(1.0), np.array([5.0, -5.0]))
    gap = np.abs(cells.voltages - cells.ocv)
    for _ in range(10):
        cells.carry(cells.prepare(600.0), np.zeros(2))
        now = np.abs(cells.voltages - cells.ocv)
        assert (now <= gap + 1e-12).all()
        gap = now
    cells.carry(cells.prepare(1e5), np.zeros(2))
    assert np.abs(cells.voltages - cells.ocv).max() < 1e-4  # but for what leaked meanwhile
    assert cells.temperature == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_refused_and_changes_nothing(robot, bad):
    plant = Plant(robot, 0.5)
    soc, voltages = plant.soc.copy(), plant.voltages.copy()
    step = plant.prepare(1.0)
    with pytest.raises(ValueError, match='current'):
        plant.advance(step, np.array([bad]))
    with pytest.raises(ValueError, match='current'):
        plant.advance(step, np.zeros(1), np.full(robot.cells, bad))
    with pytest.raises(ValueError, match='step'):
        plant.prepare(bad)
    with pytest.raises(ValueError, match='SOC'):
        Plant(robot, bad)
    for name in ('soc', 'temperature', 'ambient', 'short_conductance'):
        with pytest.raises(ValueError, match='finite'):
            setattr(plant, name, bad)
    with pytest.raises(ValueError, match='step'):
        plant.prepare(-1.0)
    assert (plant.soc == soc).all()
    assert (plant.voltages == voltages).all()


def test_ocv_remembers_the_direction_it_came_from(marine):
    model = replace(bare(marine.cell), hysteresis_voltage=np.full(1, 0.02), hysteresis_soc=0.02)
    cells = Cells(model, np.array([0.4, 0.6]), [2])
    for _ in range(360):
        cells.carry(cells.prepare(10.0), np.array([28.0, -28.0]))  # both to 0.5
    cells.carry(cells.prepare(1e5), np.zeros(2))
    assert cells.soc == pytest.approx([0.5, 0.5])
    assert cells.voltages[0] - cells.voltages[1] == pytest.approx(0.04, rel=0.02)


def test_ocv_takes_a_short_charge_within_a_discharge_back(marine):
    model = replace(bare(marine.cell), hysteresis_voltage=np.full(1, 0.02), hysteresis_soc=0.02)
    cells = Cells(model, np.array([0.5]), [1])
    states = []
    for amps, seconds in ((-28.0, 3600.0), (28.0, 360.0), (-28.0, 360.0)):
        cells.carry(cells.prepare(seconds), np.array([amps]))
        states.append(cells.hysteresis[0])
    assert states == pytest.approx([-1.0, -0.5, -1.0])


def test_resistance_follows_the_direction(robot):
    model = replace(bare(robot.cell), r0_charge=robot.cell.r0 * 2)
    cells = Cells(model, np.array([0.5, 0.5]), [2])
    for _ in range(2):  # the direction counts from the step after
        cells.carry(cells.prepare(1e-3), np.array([1.0, -1.0]))
    gap = np.abs(cells.voltages - cells.ocv)
    assert gap[0] == pytest.approx(2 * gap[1], rel=1e-3)


def first_drops(model, currents):
    """Return the voltage over R0 in V right after the currents were switched on."""
    cells = Cells(model, np.full(len(currents), 0.5), [len(currents)])
    cells.carry(cells.prepare(0.0), np.array(currents))
    return cells.voltages - cells.ocv


@settings(max_examples=30, deadline=None)
@given(st.floats(0.02, 2.0), st.floats(1e-6, 200.0), st.floats(1.001, 3.0))
def test_a_saturated_resistance_is_odd_rises_and_is_linear_for_little(robot, u, amps, more):
    linear = bare(robot.cell)
    bent = replace(linear, saturation=u)
    one, other, stronger = first_drops(bent, [amps, -amps, amps * more])
    assert one == pytest.approx(-other, rel=1e-12)
    assert 0.0 < one < stronger
    plain = first_drops(linear, [amps])[0]
    assert one == pytest.approx(u * np.arcsinh(plain / u), rel=1e-9, abs=1e-12)
    assert one <= plain * (1.0 + 1e-12)
    if plain < 1e-3 * u:
        assert one == pytest.approx(plain, rel=1e-6, abs=1e-12)


def test_the_line_of_a_step_ends_at_the_voltage_once_the_current_lasts(robot):
    cells = Cells(replace(bare(robot.cell), saturation=0.05), np.array([0.6]), [1])
    for amps in (-10.0, 5.0):
        for _ in range(2):  # the line touches the curve where the last step was
            step = cells.prepare(1e-3)
            cells.carry(step, np.array([amps]))
        assert step.emf + step.resistance * amps == pytest.approx(cells.voltages, abs=1e-5)


def test_the_ocv_follows_the_temperature(robot):
    model = replace(bare(robot.cell), entropic=np.full(1, -4e-4))
    warm, cold = (Cells(model, np.array([0.5]), [1], ambient=t) for t in (35.0, 15.0))
    assert cold.ocv - warm.ocv == pytest.approx(20 * 4e-4)


def test_a_cell_at_rest_empties_itself_faster_when_warm(robot):
    model = replace(bare(robot.cell), self_discharge=0.05)
    cells = Cells(model, np.array([0.8, 0.8]), [1, 1], ambient=25.0)
    cells.ambient = np.array([25.0, 35.0])
    cells.temperature = cells.ambient
    for _ in range(30):
        cells.carry(cells.prepare(DAY), np.zeros(2))
    assert 0.8 - cells.soc == pytest.approx([0.05, 0.10], rel=0.02)


def test_a_short_drains_and_heats_its_cell_alone(robot):
    cells = Cells(bare(robot.cell), np.array([0.8, 0.8]), [2])
    cells.short_conductance = [1.0, 0.0]
    soc = cells.soc.copy()
    heat = 0.0
    for _ in range(60):
        cells.carry(cells.prepare(1.0), np.zeros(2))
        heat += cells.heat[0]
    gone = (soc - cells.soc) * cells.capacity * 3600
    assert gone[0] == pytest.approx(60 * cells.voltages[0], rel=0.01)
    assert gone[1] == 0.0
    assert cells.energy == pytest.approx([0.0, 0.0])
    cell = bare(robot.cell)
    kept = stored(cell, soc, cells.capacity) - stored(cell, cells.soc, cells.capacity)
    assert heat == pytest.approx(kept[0], rel=1e-6)
    assert cells.temperature[0] > 25.5 > cells.temperature[1]


def test_cells_wear_by_time_and_by_charge(robot):
    wear = AgeingModel(calendar_fade=0.04, cycle_fade=1e-3, calendar_growth=0.1, cycle_growth=2e-3)
    cells = Cells(replace(bare(robot.cell), ageing=wear), np.full(2, 0.5), [1, 1])
    new = cells.prepare(1e-9).resistance.copy()
    for number in range(400):  # the first cell cycles, both grow a year old
        rate = (1 if number % 2 else -1) * cells.capacity[0] / 4
        cells.carry(cells.prepare(YEAR / 400 / 10), np.array([0.0, 0.0]))
        for _ in range(9):
            cells.carry(cells.prepare(400.0), np.array([rate, 0.0]))
        rest = YEAR / 400 * 0.9 - 9 * 400.0
        cells.carry(cells.prepare(rest), np.zeros(2))
    cells.carry(cells.prepare(1.0), np.zeros(2))
    full = 400 * 9 * 400 / 4 / 3600 / 2
    left = cells.capacity / robot.cell.capacity
    assert left[1] == pytest.approx(1 - 0.04, abs=1e-4)
    assert left[0] == pytest.approx(1 - 0.04 - 1e-3 * full, rel=0.01)
    grown = cells.prepare(1e-9).resistance / new
    assert grown[1] == pytest.approx(1.1, rel=1e-3)
    assert grown[0] > 1.1 + 1.5e-3 * full


def test_warmth_ages(robot):
    wear = AgeingModel(calendar_fade=0.04)
    cells = Cells(replace(bare(robot.cell), ageing=wear), np.full(2, 0.5), [1, 1])
    cells.ambient = np.array([25.0, 45.0])
    for _ in range(100):
        cells.carry(cells.prepare(DAY), np.zeros(2))
    lost = 1 - cells.capacity / robot.cell.capacity
    assert lost[1] == pytest.approx(2 * lost[0], rel=0.03)  # the root of 2 * 2


def test_a_plant_may_be_of_other_cells_than_the_pack_file_says(robot):
    other = replace(robot.cell, capacity=2.5, r0=robot.cell.r0 * 1.5)
    assert Plant(robot, cell=other).capacity.mean() == pytest.approx(15.0, rel=0.02)
    own, true = (Plant(robot, 0.5, cell=cell).prepare(0.0) for cell in (None, other))
    assert true.resistance == pytest.approx(1.5 * own.resistance)
