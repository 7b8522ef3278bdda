# SPDX-License-Identifier: Apache-2.0
"""Limits that are obeyed: a simple cell, a load that follows with a lag, and no swinging."""

import math
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protection_rig import Rig, levels, make_limits, make_pack

from dbms_pack import Level, load_pack
from dbms_protection.limits import NO_DERATING, LimitCalculator
from dbms_protection.measurements import CellData

NAN = math.nan
STEP = 0.1  # s, between two calculations
OHMS = 3e-3  # of the cell of the rig, as its model says
CONNECTED = np.array([True])


class Plant:
    """Eight cells in series with one RC pair, whose load follows the limits with a lag."""

    def __init__(self, volts, factor, lag, noise=0.0, slope=2e-4):
        self.pack = make_pack()
        self.calculator = LimitCalculator(self.pack)
        self.data = CellData(self.pack)
        self.ocv, self.current, self.slow = volts, 0.0, 0.0
        self.ohms = OHMS * factor
        self.lag, self.noise, self.slope = lag, noise, slope  # slope: V per As
        self.random = np.random.default_rng(1)
        self.limits, self.volts = None, volts

    def step(self, way, known=True):
        """Go on by a step; `way` +1 charges, -1 discharges with all that is allowed."""
        limits = self.calculate(self.current if known else NAN)
        wanted = limits.charge_current if way > 0 else -limits.discharge_current
        self.current += (wanted - self.current) * -math.expm1(-STEP / self.lag)
        self.slow += (self.current * self.ohms / 3.0 - self.slow) * -math.expm1(-STEP / 10.0)
        self.ocv += self.current * self.slope * STEP
        self.volts = self.ocv + self.current * self.ohms * 2.0 / 3.0 + self.slow
        return limits

    def calculate(self, current):
        for index, module in enumerate(self.pack.modules):
            noise = self.random.normal(0.0, self.noise, module.cells)
            cells = (self.volts + noise).astype(np.float32)
            self.data.put(index, cells, np.full(module.temperatures, 25.0, np.float32))
        self.limits = self.calculator.update(
            self.data, [NO_DERATING], CONNECTED, '', STEP, [current]
        )
        return self.limits


def swing(series):
    """Return the largest way up after a way down: the amplitude of an oscillation.

    The first 15 s are left out: a resistance that is not that of the model is found out then.
    """
    series = series[150:]
    lowest, largest = series[0], 0.0
    for value in series:
        lowest = min(lowest, value)
        largest = max(largest, value - lowest)
    return largest


def trips(level):
    limits = make_limits()
    quantity = limits.cell_overvoltage if level > 0 else limits.cell_undervoltage
    return quantity[Level.MSL].at


PLANTS = st.tuples(
    st.floats(0.5, 1.8),  # true resistance over that of the model
    st.floats(0.02, 0.5),  # s, lag of the load
)


@settings(max_examples=10, deadline=None)
@given(PLANTS, st.floats(3.95, 4.15))
def test_charging_to_full_tapers_off_without_swinging_and_without_a_trip(plant, start):
    cell = Plant(start, *plant)
    currents = []
    for _ in range(400):
        currents.append(cell.step(1).charge_current)
        assert cell.volts < trips(1)
    assert swing(currents) < 0.03 * 50.0
    assert currents[-1] < 0.5 * 50.0, 'it comes to an end'


@settings(max_examples=10, deadline=None)
@given(PLANTS, st.floats(3.0, 3.4))
def test_discharging_to_empty_tapers_off_without_swinging_and_without_a_trip(plant, start):
    cell = Plant(start, *plant)
    currents = []
    for _ in range(400):
        currents.append(cell.step(-1).discharge_current)
        assert cell.volts > trips(-1)
    assert swing(currents) < 0.03 * 100.0


def test_noise_of_a_board_does_not_shake_the_limits():
    cell = Plant(4.1, 1.0, 0.2, noise=0.005, slope=0.0)
    currents = [cell.step(1).charge_current for _ in range(400)][100:]
    assert max(currents) - min(currents) < 0.15 * 50.0


def test_the_limit_does_not_depend_on_how_much_of_it_is_used():
    used, idle = Plant(4.1, 1.0, 0.02, slope=0.0), Plant(4.1, 1.0, 0.02, slope=0.0)
    for _ in range(400):
        taken = used.step(1)
        left = idle.calculate(0.0)
    assert taken.charge_current == pytest.approx(left.charge_current, abs=0.5)
    assert 0.0 < left.charge_current < 50.0


def test_a_limit_ahead_of_its_level_names_it():
    cell = Plant(4.1, 1.0, 0.1)
    assert cell.calculate(0.0).charge_limited_by == 'CELL_OVERVOLTAGE RSL a1 cell 1'


def test_a_current_that_goes_missing_never_raises_a_limit():
    cell = Plant(4.1, 1.0, 0.1, slope=0.0)
    for _ in range(300):
        before = cell.step(1)
    for current in (NAN, NAN):
        after = cell.calculate(current)
        assert after.charge_current <= before.charge_current + 1e-6


def test_a_drop_that_is_no_longer_known_is_not_taken_for_none():
    """While it is discharged, a cell shows less than it is at: charging may not gain by that."""
    cell = Plant(4.14, 1.0, 0.1, slope=0.0)
    cell.volts = cell.ocv - 80.0 * OHMS
    for _ in range(300):
        before = cell.calculate(-80.0)
    assert 0.0 < before.charge_current < 50.0
    for _ in range(30):
        after = cell.calculate(NAN)
        assert after.charge_current <= before.charge_current + 1e-6


def test_a_sudden_rise_is_followed_at_once_and_the_way_back_is_slow():
    cell = Plant(3.7, 1.0, 0.1, slope=0.0)
    for _ in range(50):
        cell.step(1)
    cell.ocv = 4.3
    fell = [cell.step(1).charge_current for _ in range(10)]
    assert fell[-1] == 0.0
    cell.ocv = 3.7
    back = [cell.step(1).charge_current for _ in range(30)]
    assert back[-1] <= 50.0 * 0.1 * 3.1


# -- shipped packs, and loads that answer late ----------------------------------------------------


def late(name, soc, way, delay, factor, steps=600):
    """Play a shipped pack under all that is allowed, `delay` s late; shares of nominal, highest V.

    `factor`: true resistances over those of its cell file.
    """
    pack = load_pack(name)
    cell, limits = pack.cell, pack.limits
    calculator, data, random = LimitCalculator(pack), CellData(pack), np.random.default_rng(1)
    warm = [np.interp(25.0, cell.temperatures, np.median(table, axis=1))
            for table in (cell.r0, cell.r1, cell.r2, cell.tau1, cell.tau2)]  # fmt: skip
    ohms, taus = np.array(warm[:3]) * factor / pack.parallel, np.array([STEP / 10, *warm[3:]])
    drops, current = np.zeros(3), 0.0
    levels = limits.overcurrent_charge if way > 0 else limits.overcurrent_discharge
    asked, shares, volts = deque([0.0] * round(delay / STEP)), [], []
    strings = len(pack.strings)
    for _ in range(steps):
        current += (asked.popleft() - current) * 0.6
        soc += current * STEP / 3600.0 / (cell.capacity * pack.parallel)
        drops += (current * ohms - drops) * -np.expm1(-STEP / taus)
        volts.append(float(np.interp(soc, cell.ocv_soc, cell.ocv_voltage)) + drops.sum())
        for index, module in enumerate(pack.modules):
            cells = volts[-1] + random.normal(0.0, 0.001, module.cells)
            data.put(
                index, cells.astype(np.float32), np.full(module.temperatures, 25.0, np.float32)
            )
        now = calculator.update(
            data, [NO_DERATING] * strings, np.full(strings, True), '', STEP, [current] * strings
        )
        allowed = (now.charge_current if way > 0 else now.discharge_current) / strings
        asked.append(way * allowed)
        shares.append(allowed / levels[Level.MOL].at)
    return np.array(shares), np.array(volts), limits


def turns(series, least):
    """Count how often a series turns by more than `least`: a cycle never stops turning."""
    found, way, extreme = 0, 0, series[0]
    for value in series:
        if way * (value - extreme) >= 0.0 and way:
            extreme = value
        elif abs(value - extreme) > least:
            found, way, extreme = found + 1, 1 if value > extreme else -1, value
    return found


@pytest.mark.parametrize('delay', [0.1, 1.0, 2.0])
@pytest.mark.parametrize('factor', [0.6, 1.6])
@pytest.mark.parametrize(
    'name, way, soc',
    [('robot_13s', 1, 0.97), ('robot_13s', -1, 0.06),
     ('marine_2x16s', 1, 0.996), ('marine_2x16s', -1, 0.02)],
)  # fmt: skip
def test_a_load_that_answers_late_does_not_make_a_shipped_pack_swing(
    name, way, soc, factor, delay
):
    shares, volts, limits = late(name, soc, way, delay, factor)
    assert shares[-1] < 0.95, 'the limit is at work'
    assert turns(shares[150:], 0.02) <= 2
    assert volts.max() < limits.cell_overvoltage[Level.MSL].at
    assert volts.min() > limits.cell_undervoltage[Level.MSL].at


def test_turns_are_counted():
    swinging = 0.5 + 0.1 * np.sin(np.arange(200) / 5.0)
    assert turns(swinging, 0.02) > 10
    assert turns(np.linspace(1.0, 0.2, 200), 0.02) == 1


# -- voltage limits -------------------------------------------------------------------------------


def spread(cell, highest):
    voltages = np.array([highest, 4.1, 4.1, 4.1], np.float32)
    cell.data.put(0, voltages, np.full(2, 25.0, np.float32))
    cell.data.put(1, np.full(4, 4.1, np.float32), np.full(2, 25.0, np.float32))
    return cell.calculator.update(cell.data, [NO_DERATING], CONNECTED, '', STEP, [0.0])


def test_the_charge_voltage_keeps_the_highest_cell_off_its_level_by_the_hysteresis():
    cell = Plant(4.1, 1.0, 0.1)
    above = 0.04 * 7 / 8  # of the highest above the mean
    end = 4.15 - 0.05
    assert spread(cell, 4.14).charge_voltage == pytest.approx(8 * (end - above), abs=1e-3)
    assert spread(cell, 4.10).charge_voltage < 8 * end, 'it comes back slowly'
    for _ in range(400):
        limits = spread(cell, 4.10)
    assert limits.charge_voltage == pytest.approx(8 * end, abs=1e-3)


def test_a_missing_cell_does_not_raise_the_charge_voltage():
    cell = Plant(4.1, 1.0, 0.1)
    before = spread(cell, 4.14).charge_voltage
    for _ in range(100):
        assert spread(cell, NAN).charge_voltage <= before + 1e-9


def test_there_are_no_peaks_while_a_current_is_beyond_its_early_level():
    """A peak is what stays below a warning for so long; beyond the RSL there is nothing to add."""
    currents = levels(100.0, 120.0, 150.0, 5.0)
    currents[Level.MOL] = replace(currents[Level.MOL], debounce=15.0)
    rig = Rig(make_pack(limits=make_limits(overcurrent_discharge=currents))).activate()
    rig.connect()
    rig.run(3.0)
    assert rig.guard.limits.discharge_peak == pytest.approx((120.0, 120.0, 100.0))
    rig.units[0].current = -130.0
    rig.run(0.2)
    assert ('OVERCURRENT_DISCHARGE', 'RSL') in rig.names()
    assert rig.guard.limits.discharge_peak == pytest.approx((100.0, 100.0, 100.0))
    assert rig.guard.limits.discharge_current == pytest.approx(100.0), 'and nothing else falls'
    rig.units[0].current = -50.0
    rig.run(0.2)
    assert rig.guard.limits.discharge_peak == pytest.approx((120.0, 120.0, 100.0))
