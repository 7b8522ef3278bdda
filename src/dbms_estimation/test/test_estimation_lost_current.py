# SPDX-License-Identifier: Apache-2.0
"""The current estimated from the cells, and anything that can be wrong with input at once."""

from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import CELL, Drive, Truth, at_rest, make_pack, pulses
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.columns import SIGMA_MAX
from dbms_estimation.pack_estimator import PackEstimator

SOC = (0.7, 0.72, 0.74, 0.76)
OFF = replace(  # what the filter takes the cells for
    CELL,
    r0=1.2 * CELL.r0,
    r1=1.2 * CELL.r1,
    r2=0.8 * CELL.r2,
    ocv_voltage=CELL.ocv_voltage + 0.01 * np.sin(7 * CELL.ocv_soc),
)


def gentle(t: float) -> float:
    return 0.3 * pulses(t)


def lost(amps: float) -> float:
    return np.nan


def started(load, cell=CELL, seconds: float = 300.0) -> Drive:
    drive = Drive(PackEstimator(make_pack(cell=cell)), Truth(SOC))
    drive.run(2.0, at_rest)
    drive.run(seconds, load)
    return drive


def error(drive: Drive):
    return np.abs(drive.estimator.filter.soc - drive.truth.soc)


@pytest.mark.parametrize('cell, current, soc', [(CELL, 0.02, 0.005), (OFF, 0.2, 0.02)])
def test_the_current_comes_from_the_cells_and_the_charge_is_counted_on(cell, current, soc):
    drive = started(gentle, cell)
    for _ in range(5):
        drive.run(100.0, gentle, sensor=lost)
        found = drive.estimator.estimated[0]
        assert abs(found.current - gentle(drive.time)) < current
        assert abs(found.current - gentle(drive.time)) < 2 * found.sigma
        assert error(drive).max() < soc
        assert (error(drive) < 2 * drive.estimator.filter.sigma).all()
    assert np.isnan(drive.estimator.coulomb.soc).all()  # that one is of measured charge


def test_sigma_is_wider_without_sensor_and_bounded_by_what_the_voltage_tells():
    drive, other = started(gentle), started(gentle)
    drive.run(400.0, gentle, sensor=lost)
    other.run(400.0, gentle)
    assert (drive.estimator.filter.sigma > 1.1 * other.estimator.filter.sigma).all()
    assert (drive.estimator.filter.sigma < 0.05).all()


def test_when_the_sensor_is_back_its_word_counts_again():
    drive = started(gentle)
    drive.run(300.0, gentle, sensor=lost)
    drive.run(300.0, gentle)
    assert drive.estimator.estimated == [None]
    assert error(drive).max() < 0.005
    assert np.isfinite(drive.estimator.coulomb.soc).all()


@pytest.mark.parametrize('gap', [0.4, 2.0, 10.0, 29.0, 40.0])
def test_charge_of_a_gap_is_not_counted_twice(gap):
    drive = started(lambda t: -3.0)
    drive.run(1.0, lambda t: -3.0)
    until = drive.time + gap
    drive.run(60.0, lambda t: -3.0, sensor=lambda amps: np.nan if drive.time < until else amps)
    assert error(drive).max() < 0.002


def test_a_reading_far_off_does_not_move_the_current():
    drive = started(gentle)
    drive.run(60.0, gentle, sensor=lost, voltage=lambda v: v + np.array([0.0, 0.4, 0.0, 0.0]))
    assert abs(drive.estimator.estimated[0].current - gentle(drive.time)) < 0.05


def test_voltages_that_stand_still_tell_no_current():
    drive = started(gentle)
    frozen = drive.truth.voltage.copy()
    drive.run(600.0, gentle, sensor=lost, voltage=lambda v: frozen)
    assert drive.estimator.estimated == [None]
    assert (drive.estimator.filter.sigma > 0.1).all()
    assert (error(drive) < 2 * drive.estimator.filter.sigma).all()


def test_no_voltage_and_no_current_is_no_knowledge():
    drive = started(gentle)
    drive.run(900.0, gentle, sensor=lost, voltage=lambda v: v * np.nan)
    assert drive.estimator.estimated == [None]
    assert (drive.estimator.filter.sigma > 0.2).all()


def test_the_string_with_a_sensor_is_not_touched():
    estimators = [PackEstimator(make_pack(strings=2)) for _ in range(2)]
    truth = Truth([*SOC, *SOC])
    for k in range(300):
        truth.step(1.0, gentle(k))
        for dead, estimator in zip((False, True), estimators, strict=True):
            for string in range(2):
                amps = np.nan if dead and string and k > 100 else gentle(k)
                estimator.add_current(string, float(k), amps)
                cells = slice(4 * string, 4 * string + 4)
                estimator.add_scan(string, float(k), 0.0, truth.voltage[cells], [25.0] * 2)
            estimator.tick()
    whole, half = (e.filter for e in estimators)
    assert estimators[1].estimated[0] is None and estimators[1].estimated[1] is not None
    assert np.array_equal(whole.soc[:4], half.soc[:4])
    assert not np.array_equal(whole.soc[4:], half.soc[4:])


STEPS = st.one_of(st.floats(1e-3, 1.0), st.floats(1.0, 3600.0), st.floats(-5.0, 0.0))
READINGS = st.one_of(
    st.floats(2.0, 5.0), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 6.5535, 1e30])
)
CURRENTS = st.one_of(
    st.floats(-25.0, 25.0), st.sampled_from([np.nan, np.inf, -1e9, 0.0, 2147483.647])
)
ROWS = st.lists(
    st.tuples(
        STEPS,
        st.lists(READINGS, min_size=4, max_size=4),
        CURRENTS,
        st.one_of(st.floats(-60.0, 130.0), st.just(np.nan)),
        st.booleans(),
    ),
    min_size=1,
    max_size=15,
)


@settings(deadline=None, max_examples=30)
@given(ROWS)
def test_whatever_comes_in_what_comes_out_is_bounded(rows):
    estimator = PackEstimator(make_pack())
    time = 1000.0
    for _ in range(3):
        time += 1.0
        estimator.add_current(0, time, 0.0)
        estimator.add_scan(0, time, time, [3.7] * 4, [25.0, 25.0])
        estimator.tick()
    for step, voltages, current, temperature, heard in rows:
        time += step
        if heard:
            estimator.add_current(0, time, current)
        estimator.add_scan(0, time, time, voltages, [temperature] * 2)
        estimator.tick()
        cells = estimator.filter
        assert np.isfinite(cells.state).all() and np.isfinite(cells.covariance).all()
        assert ((cells.sigma > 0) & (cells.sigma <= SIGMA_MAX)).all()
        assert ((cells.soc >= -0.05) & (cells.soc <= 1.05)).all()
        found = estimator.estimated[0]
        assert found is None or (abs(found.current) <= 30.0 and found.sigma >= 0)
    # And it finds back with good input.
    truth = Truth([0.6] * 4)
    drive = Drive(estimator, truth, time + 7200.0)
    drive.run(20.0, at_rest)
    assert error(drive).max() < 0.05


@settings(deadline=None, max_examples=30)
@given(st.lists(READINGS, min_size=12, max_size=12), st.integers(0, 3))
def test_what_one_cell_says_never_reaches_another(readings, bad):
    clean, spoilt = (PackEstimator(make_pack()) for _ in range(2))
    truth = Truth(SOC)
    for k, reading in enumerate(readings):
        truth.step(1.0, gentle(k))
        voltages = truth.voltage.copy()
        for estimator in (clean, spoilt):
            estimator.add_current(0, float(k), gentle(k))
            estimator.add_scan(0, float(k), 0.0, voltages, [25.0] * 2)
            estimator.tick()
            voltages = np.where(np.arange(4) == bad, reading, voltages)
    others = np.arange(4) != bad
    for name in ('soc', 'sigma', 'bias', 'expected'):
        expected, found = (getattr(e.filter, name)[others] for e in (clean, spoilt))
        assert found == pytest.approx(expected, rel=0, abs=1e-12)
