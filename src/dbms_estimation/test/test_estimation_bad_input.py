# SPDX-License-Identifier: Apache-2.0
"""What must not harm the estimate: NaN, frozen readings, wrong stamps, gaps, lost sensors."""

import numpy as np
import pytest
from estimation_rig import Drive, Truth, at_rest, make_pack, pulses

from dbms_estimation.charge import STEPPED
from dbms_estimation.columns import SIGMA_MAX
from dbms_estimation.pack_estimator import PackEstimator


def started(soc=(0.5, 0.6, 0.7, 0.8), seconds: float = 2.0) -> Drive:
    """Return a drive whose estimator has started from cells at rest."""
    estimator = PackEstimator(make_pack())
    drive = Drive(estimator, Truth(soc))
    drive.run(seconds, at_rest)
    return drive


def scan(estimator: PackEstimator, stamp: float, voltage: float = 3.7) -> bool:
    return estimator.add_scan(0, stamp, stamp, [voltage] * 4, [25.0, 25.0])


def test_a_cell_without_voltage_is_never_started():
    drive = Drive(PackEstimator(make_pack()), Truth([0.5] * 4))
    drive.run(5.0, pulses, voltage=lambda v: np.where(np.arange(4) == 2, np.nan, v))
    assert drive.estimator.filter.started.tolist() == [True, True, False, True]


@pytest.mark.parametrize('voltage', [0.0, 6.5535, -3.7, np.inf, -np.inf])
def test_a_voltage_no_cell_has_is_not_used(voltage):
    drive = started()
    before = drive.estimator.filter.soc.copy()
    drive.run(1.0, at_rest, voltage=lambda v: np.where(np.arange(4) == 1, voltage, v))
    assert drive.estimator.filter.soc[1] == before[1]
    assert np.isnan(drive.estimator.filter.innovation[1])
    assert np.isfinite(drive.estimator.filter.innovation[[0, 2, 3]]).all()


def test_a_cell_that_loses_its_voltage_goes_on_by_charge_and_is_less_sure():
    drive = started()
    drive.run(300.0, pulses)
    sure = drive.estimator.filter.sigma[1]
    drive.run(300.0, pulses, voltage=lambda v: np.where(np.arange(4) == 1, np.nan, v))
    error = np.abs(drive.estimator.filter.soc - drive.truth.soc)
    assert error.max() < 0.01
    assert drive.estimator.filter.sigma[1] > sure
    assert drive.estimator.filter.sigma[1] > 1.2 * drive.estimator.filter.sigma[2]


def test_nan_temperature_widens_and_nothing_else():
    drive = started()
    drive.run(300.0, pulses, temperature=np.nan)
    assert np.abs(drive.estimator.filter.soc - drive.truth.soc).max() < 0.02
    other = started()
    other.run(300.0, pulses)
    assert (drive.estimator.filter.sigma > other.estimator.filter.sigma).all()


@pytest.mark.parametrize('sentinel', [-60.0, 255.0, 511.0, np.nan])
def test_a_broken_temperature_sensor_is_stood_in_for_by_its_neighbours(sentinel):
    estimator = PackEstimator(make_pack(temperatures=2))
    estimator.add_scan(0, 1.0, 1.0, [3.7] * 4, [sentinel, 31.0])
    assert estimator.cell_temperatures().tolist() == [31.0] * 4


def test_no_temperature_of_another_module_is_used():
    estimator = PackEstimator(make_pack(modules=2))
    estimator.add_scan(0, 1.0, 1.0, [3.7] * 4, [30.0, 30.0])
    assert np.isnan(estimator.cell_temperatures()[4:]).all()


def test_a_frozen_reading_under_load_is_not_believed():
    drive = started()
    frozen = np.round(drive.truth.voltage, 4)
    drive.run(900.0, lambda t: -3.0, voltage=lambda v: np.where(np.arange(4) == 2, frozen, v))
    assert np.abs(drive.estimator.filter.soc - drive.truth.soc).max() < 0.01


def test_an_outlier_is_not_believed():
    drive = started()
    drive.run(600.0, pulses)
    before = drive.estimator.filter.soc - drive.truth.soc
    drive.run(5.0, pulses, voltage=lambda v: v + np.array([0, 0.3, 0, -0.3]))
    after = drive.estimator.filter.soc - drive.truth.soc
    assert np.abs(after - before).max() < 1e-3


def test_when_readings_disagree_for_long_the_soc_is_doubted():
    drive = started()
    drive.run(300.0, pulses)
    everyone = np.ones(4, dtype=bool)
    drive.estimator.filter.reset(everyone, drive.truth.soc - 0.3, np.full(4, 0.005))
    drive.run(1200.0, pulses)
    assert np.abs(drive.estimator.filter.soc - drive.truth.soc).max() < 0.03


@pytest.mark.parametrize('late', [0.0, 0.1, 0.999])
def test_scans_out_of_order_are_ignored_and_counted(late):
    drive = started()
    before = drive.estimator.filter.soc.copy(), drive.estimator.filter.covariance.copy()
    assert not scan(drive.estimator, drive.time - late, 4.1)
    drive.estimator.tick()
    assert drive.estimator.counters['scans out of order'] == 1
    assert np.array_equal(drive.estimator.filter.soc, before[0])
    assert np.array_equal(drive.estimator.filter.covariance, before[1])


@pytest.mark.parametrize('voltages, temperatures', [(3, 2), (5, 2), (0, 2), (4, 1), (4, 0)])
def test_scans_of_wrong_length_are_refused_and_counted(voltages, temperatures):
    estimator = PackEstimator(make_pack())
    assert not estimator.add_scan(0, 1.0, 1.0, [3.7] * voltages, [25.0] * temperatures)
    assert estimator.counters['scans of wrong length'] == 1
    assert np.isnan(estimator.voltages).all()


def test_stamps_that_are_no_number_are_refused():
    estimator = PackEstimator(make_pack())
    assert not scan(estimator, np.nan)
    assert not estimator.add_current(0, np.nan, 1.0)
    assert estimator.counters == {'scans without stamp': 1, 'currents not measured': 1}


@pytest.mark.parametrize('dt', [0.005, 0.1, 1.0, 5.0])
def test_any_period_gives_the_same_soc(dt):
    estimator = PackEstimator(make_pack(current_period=dt))
    truth = Truth([0.6] * 4)
    for k in range(round(30.0 / dt)):
        load = -3.0 if k else 0.0
        if k:
            truth.step(dt, load)
        estimator.add_current(0, dt * k, load)
        estimator.add_scan(0, dt * k, dt * k, truth.voltage, [25.0, 25.0])
        estimator.tick()
    assert truth.soc[0] < 0.595
    assert np.abs(estimator.filter.soc - truth.soc).max() < 0.005


@pytest.mark.parametrize('seed', [1, 2, 3])
def test_steps_of_1_ms_to_1_h_and_stamps_out_of_order_keep_the_soc_within_sigma(seed):
    random = np.random.default_rng(seed)
    estimator, truth, now = PackEstimator(make_pack()), Truth([0.4, 0.5, 0.6, 0.7]), 1000.0
    for k in range(600):
        dt = float(np.exp(random.uniform(np.log(1e-3), np.log(3600.0))))
        # A long step moves the charge by a few percent only, back to the middle.
        load = random.uniform(-3.0, 3.0) - 6.0 * (truth.soc.mean() - 0.55)
        load *= min(1.0, 100.0 / dt) if k else 0.0
        now += dt
        truth.step(dt, load)
        estimator.add_current(0, now, load)
        assert estimator.add_scan(0, now, now, truth.voltage, [25.0, 25.0])
        late = now - random.uniform(0.0, 0.9 * STEPPED)
        assert not estimator.add_current(0, late, 3.0)
        assert not estimator.add_scan(0, late, now, [3.0] * 4, [25.0, 25.0])
        estimator.tick()
        cells = estimator.filter
        assert np.isfinite(cells.state).all() and np.isfinite(cells.covariance).all()
        assert (cells.sigma <= SIGMA_MAX).all()
        assert (np.abs(cells.soc - truth.soc) <= 3 * cells.sigma).all()


@pytest.mark.parametrize('gap', [1.0, 10.0, 60.0, 3600.0])
def test_a_gap_makes_less_sure_and_heals(gap):
    drive = started()
    drive.run(600.0, pulses)
    sure = drive.estimator.filter.sigma.copy()
    drive.time += gap
    drive.truth.step(gap, 0.0)
    drive.run(1.0, at_rest)
    assert (drive.estimator.filter.sigma > sure).all()
    assert (drive.estimator.filter.sigma <= SIGMA_MAX).all()
    drive.run(300.0, pulses)
    assert np.abs(drive.estimator.filter.soc - drive.truth.soc).max() < 0.02


def test_a_clock_that_jumps_back_is_followed_at_once():
    drive = started()
    drive.run(300.0, pulses)
    drive.time -= 3600.0
    drive.run(300.0, pulses)
    assert np.abs(drive.estimator.filter.soc - drive.truth.soc).max() < 0.005
    assert drive.estimator.counters['clock steps'] == 1
    assert (drive.estimator.filter.sigma < 0.05).all()


def test_a_clock_that_jumps_forward_is_taken_for_a_gap():
    drive = started()
    drive.run(300.0, pulses)
    drive.time += 1e9
    drive.run(600.0, pulses)
    assert np.isfinite(drive.estimator.filter.covariance).all()
    assert np.abs(drive.estimator.filter.soc - drive.truth.soc).max() < 0.02


def test_without_any_current_the_start_is_as_unsure_as_it_is():
    estimator = PackEstimator(make_pack())
    scan(estimator, 1.0)
    estimator.tick()
    assert (estimator.filter.sigma > 0.05).all()
    assert np.isnan(estimator.coulomb.soc).all()


def test_a_current_beyond_the_sensor_is_refused_and_counted():
    estimator = PackEstimator(make_pack())
    assert not estimator.add_current(0, 1.0, 1e6)
    assert estimator.counters['currents beyond range'] == 1


def test_a_silent_module_does_not_hold_the_others_up():
    estimator = PackEstimator(make_pack(modules=2))
    for k in range(100):
        time = 0.1 * k
        estimator.add_current(0, time, -3.0)
        scan(estimator, time)
        estimator.tick()
    assert estimator.filter.started.tolist() == [True] * 4 + [False] * 4
    assert estimator.fresh_cells(9.9).tolist() == [True] * 4 + [False] * 4
    assert not estimator.fresh_cells(11.0).any()


def test_a_module_that_comes_back_has_its_charge_counted():
    estimator = PackEstimator(make_pack(modules=2))
    truth = Truth([0.7] * 8)
    for k in range(1200):
        time = 0.1 * k
        truth.step(0.1, -3.0)
        estimator.add_current(0, time, -3.0)
        estimator.add_scan(0, time, time, truth.voltage[:4], [25.0] * 2)
        if k < 300 or k > 1190:
            estimator.add_scan(1, time, time, truth.voltage[4:], [25.0] * 2)
        estimator.tick()
    counted = estimator.coulomb.soc
    assert np.allclose(counted[4:], counted[:4], atol=1e-6)
