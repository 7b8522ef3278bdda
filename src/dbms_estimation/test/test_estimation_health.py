# SPDX-License-Identifier: Apache-2.0
"""Health, power and energy inside of the estimator of a pack."""

import numpy as np
import pytest
from estimation_rig import Drive, Truth, at_rest, make_pack, pulses

from dbms_estimation.estimation import Estimation
from dbms_estimation.pack_estimator import PackEstimator


def driven(seconds: float, load=pulses, soc=(0.8, 0.81, 0.82, 0.83), **pack) -> Drive:
    drive = Drive(PackEstimator(make_pack(**pack)), Truth(list(soc)))
    drive.run(60, at_rest)
    drive.run(seconds, load)
    return drive


def test_a_load_tells_the_resistance_and_what_can_be_given():
    health = driven(400).estimator.health
    told = health.told()
    assert (told.edges > 5).all()
    assert told.ratio == pytest.approx(np.ones(4), abs=0.06)
    assert told.resistance_now == pytest.approx(np.full(4, 0.0205), rel=0.1)
    assert np.isnan(told.soh).all() and (health.learnt == 1.0).all()
    power = health.power([True])
    assert np.isfinite(power.pack.current).all() and (power.pack.current > 0).all()
    most = np.array([[10.0], [20.0]])
    assert (power.pack.current <= most).all()


def test_the_capacity_learnt_is_that_of_the_soc_filter():
    drive = driven(30)
    estimator, health = drive.estimator, drive.estimator.health
    health.capacity.inverse[:] = 1.25
    health.capacity.windows[:] = [0, 1, 1, 1]
    before = estimator.filter.soc.copy()
    drive.run(60, lambda t: -6.0)
    lost = before - estimator.filter.soc
    assert lost[1:] / lost[0] == pytest.approx(np.full(3, 1.25), rel=0.15)


def test_a_cell_that_is_not_known_spoils_what_hangs_on_it_only():
    drive = driven(120, modules=2, soc=[0.8] * 8)
    estimator = drive.estimator
    estimation = Estimation(estimator.pack, estimator)
    estimation.tick(drive.time)
    assert np.isfinite(estimation.power().pack.current).all()
    drive.run(60, pulses, voltage=lambda v: np.where(np.arange(8) == 2, np.nan, v))
    estimation.tick(drive.time)
    power = estimation.power()
    assert np.isnan(power.pack.current).all() and np.isnan(power.cells.current[..., 2]).all()
    assert np.isfinite(np.delete(power.cells.current, 2, axis=-1)).all()
    assert np.isnan(estimation.energy(20.0).empty.energy)
    assert not estimation.plan(20.0, 1.0, 0.0).known
    others = estimator.health.told().ratio[[0, 1, 3, 4, 5, 6, 7]]
    assert np.isfinite(others).all()


def test_a_module_that_falls_silent_is_not_counted_with():
    drive = driven(120)
    estimation = Estimation(drive.estimator.pack, drive.estimator)
    estimation.tick(drive.time)
    assert np.isfinite(estimation.energy(20.0).empty.energy)
    estimation.tick(drive.time + 5.0)
    assert np.isnan(estimation.energy(20.0).empty.energy)
    assert np.isnan(estimation.power().pack.current).all()


def test_the_temperature_takes_off_as_protection_does():
    drive = driven(60)
    health = drive.estimator.health
    drive.run(30, pulses, temperature=3.5)
    power = health.power([True])
    possible = min(10.0, power.cells.current[0, 0].min())
    assert power.pack.current[0, 0] == pytest.approx(0.5 * possible)
    drive.run(30, pulses, temperature=1.0)
    assert (health.power([True]).pack.current[0] == 0.0).all()
    assert (health.power([True]).pack.current[1] > 0.0).all()


def test_the_state_goes_over_a_restart_whole_or_not_at_all():
    health = driven(400).estimator.health
    state = health.state()
    assert all(isinstance(value, np.ndarray) for value in state.values())
    fresh = PackEstimator(make_pack()).health
    fresh.restore(state, 60.0)
    assert np.array_equal(fresh.told().ratio, health.told().ratio)
    assert fresh.meter.usual == health.meter.usual
    untouched = PackEstimator(make_pack()).health
    before = untouched.state()
    with pytest.raises(ValueError):
        untouched.restore({**state, 'resistance_ratio': np.zeros(9)})
    for name, value in untouched.state().items():
        assert np.array_equal(value, before[name], equal_nan=True), name


def test_another_cell_begins_anew():
    health = driven(400).estimator.health
    health.forget(np.array([False, True, False, False]))
    assert health.told().edges[1] == 0 and np.isnan(health.told().ratio[1])
    assert (health.told().edges[[0, 2, 3]] > 0).all()
