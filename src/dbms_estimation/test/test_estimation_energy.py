# SPDX-License-Identifier: Apache-2.0
"""Energy, time until empty and full, and plans; against simulated cells run to their end."""

import math
from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import CELL
from hypothesis import given, settings
from hypothesis import strategies as st
from test_estimation_sop import TABLES, cells

from dbms_estimation.energy import (
    PowerMeter,
    Way,
    plan,
    to_empty,
    to_full,
    together,
    ways_to_empty,
)
from dbms_estimation.sop import Bounds
from dbms_sim.cell_physics import Cells

BOUNDS = Bounds(2.9, 4.2, 1e4, 1e4)
SPREAD = np.array([1.0, 0.95, 1.05, 0.9])


def string(at=0.8, **known):
    """Return four cells in series that differ."""
    return cells(at, 4, capacity=CELL.capacity * SPREAD, resistance=SPREAD[::-1] * 1.2, **known)


def simulated(at=0.8) -> Cells:
    plant = Cells(CELL, np.full(4, at), [4], capacity=SPREAD, resistance=SPREAD[::-1] * 1.2)
    plant.temperature = np.full(4, 25.0)
    return plant


@pytest.mark.parametrize('power', [6.0, 20.0, 45.0])
def test_what_it_foretells_is_what_the_cells_deliver(power):
    way = to_empty(TABLES, string(), power, BOUNDS)
    plant, time, energy = simulated(), 0.0, 0.0
    voltage = plant.voltages.sum()
    while plant.voltages.min() > BOUNDS.voltage_min and plant.soc.min() > 0:
        amps = power / voltage
        plant.carry(plant.prepare(2.0), np.full(4, -amps))
        plant._temperature[:] = 25.0
        voltage = plant.voltages.sum()
        time, energy = time + 2.0, energy + 2.0 * amps * voltage / 3600
    assert way.energy == pytest.approx(energy, rel=0.03)
    assert way.time == pytest.approx(time, rel=0.03)


def test_a_charge_takes_as_long_as_it_says():
    power = 30.0
    way = to_full(TABLES, string(0.3), power, BOUNDS)
    plant, time, energy, amps = simulated(0.3), 0.0, 0.0, math.inf
    voltage = plant.voltages.sum()
    while amps > 0.03 * CELL.capacity * 0.9 and plant.soc.max() < 1:
        step = plant.prepare(5.0)
        taper = ((BOUNDS.voltage_max - step.emf) / step.resistance).min()
        amps = min(power / voltage, taper)
        plant.carry(step, np.full(4, amps))
        plant._temperature[:] = 25.0
        voltage = plant.voltages.sum()
        time, energy = time + 5.0, energy + 5.0 * amps * voltage / 3600
    assert way.time == pytest.approx(time, rel=0.05)
    assert way.energy == pytest.approx(energy, rel=0.03)


@given(st.floats(0.02, 1), st.floats(0.1, 60), st.floats(0, 0.3), st.floats(0, 0.3))
@settings(max_examples=60, deadline=None)
def test_laws(soc, power, sigma, other):
    sure = to_empty(TABLES, string(soc), power, BOUNDS)
    assert 0 <= sure.energy < 4 * 4.2 * CELL.capacity
    assert sure.energy == pytest.approx(power * sure.time / 3600, rel=1e-6, abs=1e-9)
    low = to_empty(
        TABLES, string(soc, soc_sigma=sigma, capacity_sigma=other, resistance_sigma=other),
        power, BOUNDS, 2.0,
    )  # fmt: skip
    assert low.energy <= sure.energy + 1e-6
    harder = to_empty(TABLES, string(soc), 1.5 * power, BOUNDS)
    assert harder.energy <= sure.energy * 1.01 + 1e-6
    reserved = to_empty(TABLES, string(soc), power, replace(BOUNDS, soc_min=0.1))
    assert reserved.energy <= sure.energy + 1e-6


def test_scale():
    one = to_empty(TABLES, cells(0.7, 2), 10.0, BOUNDS)
    two = to_empty(TABLES, cells(0.7, 4), 20.0, BOUNDS)
    assert (two.energy, two.time) == pytest.approx((2 * one.energy, one.time))
    both = together([one, one])
    assert (both.energy, both.time) == pytest.approx((2 * one.energy, one.time))
    assert math.isnan(together([]).energy)


def test_a_long_string_is_that_many_cells():
    one = cells(0.7)
    long = cells(0.7, 500)
    assert to_empty(TABLES, long, 2500.0, BOUNDS).energy == pytest.approx(
        500 * to_empty(TABLES, one, 5.0, BOUNDS).energy
    )
    assert to_full(TABLES, long, 2500.0, BOUNDS).time == pytest.approx(
        to_full(TABLES, one, 5.0, BOUNDS).time
    )


def test_several_powers_at_once_are_each_as_alone():
    ways = ways_to_empty(TABLES, string(), (6.0, 0.0, 45.0), BOUNDS, 2.0)
    assert ways[0] == to_empty(TABLES, string(), 6.0, BOUNDS, 2.0)
    assert ways[2] == to_empty(TABLES, string(), 45.0, BOUNDS, 2.0)
    assert math.isnan(ways[1].energy)


def test_a_power_no_cell_can_deliver_gives_nothing():
    assert to_empty(TABLES, string(), 5000.0, BOUNDS) == Way(0.0, 0.0, 0.0)
    assert to_empty(TABLES, string(0.0), 5.0, BOUNDS).energy == 0.0
    assert to_full(TABLES, string(1.0), 5.0, BOUNDS).time == 0.0


@pytest.mark.parametrize('spoilt', ['soc', 'soc_sigma', 'temperature', 'ocv'])
def test_what_is_not_known_makes_it_unknown(spoilt):
    now = string()
    getattr(now, spoilt)[2] = np.nan
    for way in (to_empty(TABLES, now, 5.0, BOUNDS), to_full(TABLES, now, 5.0, BOUNDS)):
        assert math.isnan(way.energy) and math.isnan(way.time)
    for power in (0.0, -1.0, math.nan):
        assert math.isnan(to_empty(TABLES, string(), power, BOUNDS).energy)


def test_a_plan_counts_with_the_worst_and_keeps_the_reserve():
    way, low = Way(100.0, 3600.0, 10.0), Way(80.0, 3000.0, 8.0)
    good = plan(way, low, 100.0, 60.0, 10.0)
    assert good.known and good.sufficient and good.left_low == pytest.approx(10.0)
    doubtful = plan(way, low, 100.0, 75.0, 10.0)
    assert doubtful.known and not doubtful.sufficient and 'may be missing' in doubtful.message
    short = plan(way, low, 100.0, 95.0, 10.0)
    assert not short.sufficient and short.message == '5 Wh are missing'
    for power, energy in ((0.0, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.nan)):
        refused = plan(way, low, power, energy, 0.0)
        assert not refused.known and not refused.sufficient and refused.message
    assert not plan(Way(), Way(), 1.0, 1.0, 0.0).sufficient


def test_the_meter_learns_the_usual_load_only_while_there_is_one():
    meter = PowerMeter(100.0)
    assert math.isnan(meter.now)
    for _ in range(3600):
        meter.add(1.0, -300.0)
    assert meter.now == pytest.approx(-300.0)
    assert meter.usual == pytest.approx(300.0, rel=0.1)
    for _ in range(3600):
        meter.add(1.0, 200.0)
    assert meter.now == pytest.approx(200.0) and meter.usual == pytest.approx(300.0, rel=0.1)
    meter.add(1.0, math.nan)
    assert math.isnan(meter.now) and math.isfinite(meter.usual)
    meter.add(math.nan, -50.0)
    assert math.isnan(meter.now) or meter.now == -50.0
