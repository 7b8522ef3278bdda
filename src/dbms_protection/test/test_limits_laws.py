# SPDX-License-Identifier: Apache-2.0
"""Limits fall at once, come back at their pace, say why, and hold a charger still."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from protection_rig import make_pack

from dbms_pack import Level
from dbms_protection.limits import RAMP, Derating, LimitCalculator
from dbms_protection.measurements import CellData

PACK = make_pack()
CONNECTED = np.array([True])
NOMINAL = tuple(
    levels[Level.MOL].at
    for levels in (PACK.limits.overcurrent_charge, PACK.limits.overcurrent_discharge)
)
DEGREES = st.one_of(st.floats(-30.0, 70.0), st.just(math.nan))
FACTORS = st.sampled_from([1.0, 1.0, 0.7, 0.5, 0.0])
STEPS = st.lists(
    st.tuples(DEGREES, FACTORS, FACTORS, st.floats(0.02, 2.0)), min_size=2, max_size=30
)


def after(calculator, data, degrees, lost, lowered, elapsed):
    """Return the limits when a sensor and two factors are as they are."""
    for index, module in enumerate(PACK.modules):
        celsius = np.full(module.temperatures, 25.0, np.float32)
        celsius[0] = degrees if index == 0 else 25.0
        data.put(index, np.full(module.cells, 3.7, np.float32), celsius)
    return calculator.update(
        data, [Derating(lost, 'a board is lost')], CONNECTED, '', elapsed, [0.0],
        [[Derating(lowered, 'it is cold')]] * 2,
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_limits_fall_at_once_rise_at_their_pace_and_say_why(steps):
    calculator, data = LimitCalculator(PACK), CellData(PACK)
    before = (math.inf, math.inf)
    for number, (degrees, *factors, elapsed) in enumerate(steps):
        limits = after(calculator, data, degrees, *factors, elapsed)
        # One that has no history takes what is measured for true at once.
        fresh = LimitCalculator(PACK).update(
            data, [Derating(factors[0], 'lost')], CONNECTED, '', elapsed, [0.0],
            [[Derating(factors[1], 'cold')]] * 2,
        )  # fmt: skip
        now = (limits.charge_current, limits.discharge_current)
        target = (fresh.charge_current, fresh.discharge_current)
        reasons = (limits.charge_limited_by, limits.discharge_limited_by)
        for nominal, is_, was, ought, reason in zip(
            NOMINAL, now, before, target, reasons, strict=True
        ):
            assert 0.0 <= is_ <= nominal
            assert is_ <= ought + 1e-6, 'it falls at once'
            if number:
                most = nominal * RAMP * min(elapsed, 1.0)
                assert is_ <= was + most + 1e-6, 'it comes back at its pace'
                assert is_ >= min(ought, was + most) - 1e-6, 'and not slower'
            assert bool(reason) == (is_ < nominal), 'what is limited says why, and nothing else'
        before = now


class Charging:
    """Eight cells that differ, at a charger that keeps to both limits with a lag."""

    def __init__(self, spread, ohms, lag):
        self.calculator, self.data = LimitCalculator(PACK), CellData(PACK)
        self.cells = 4.0 + np.linspace(-spread, spread, 8)  # V, without current
        self.slopes = 3e-4 * (1.0 + 5.0 * np.linspace(-spread, spread, 8))  # V per As
        self.ohms, self.lag, self.current, self.volts = ohms, lag, 0.0, 32.0

    def step(self, elapsed=0.1):
        """Go on by a step; return the limits and the highest cell in V."""
        voltages = self.cells + self.current * self.ohms
        for index in (0, 1):
            part = voltages[4 * index : 4 * index + 4].astype(np.float32)
            self.data.put(index, part, np.full(2, 25.0, np.float32))
        limits = self.calculator.update(
            self.data, [Derating(1.0, '')], CONNECTED, '', elapsed, [self.current]
        )
        wanted = (limits.charge_voltage - self.cells.sum()) / (8 * self.ohms)
        wanted = min(max(wanted, 0.0), limits.charge_current)
        self.current += (wanted - self.current) * -math.expm1(-elapsed / self.lag)
        self.cells += self.slopes * self.current * elapsed
        return limits, float(voltages.max())


@settings(max_examples=5, deadline=None)
@given(st.floats(0.0, 0.03), st.floats(5e-4, 6e-3), st.floats(0.02, 1.0))
def test_a_charger_at_the_voltage_limit_comes_to_rest(spread, ohms, lag):
    charging = Charging(spread, ohms, lag)
    volts, currents = [], []
    for _ in range(700):
        limits, highest = charging.step()
        volts.append(limits.charge_voltage)
        currents.append(charging.current)
        assert highest < PACK.limits.cell_overvoltage[Level.MSL].at
    turns = np.diff(np.sign(np.round(np.diff(currents[150:]), 3)))
    assert np.count_nonzero(np.abs(turns) > 1.0) <= 2, 'it does not swing'
    assert np.ptp(volts[-100:]) < 0.02, 'the limit stands still'
    assert currents[-1] < 0.2 * NOMINAL[0], 'and the charge comes to its end'
    assert highest <= PACK.limits.cell_overvoltage[Level.MOL].at + 0.005
