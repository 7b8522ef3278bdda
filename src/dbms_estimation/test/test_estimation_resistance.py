# SPDX-License-Identifier: Apache-2.0
"""Resistance from steps of the current, on simulated cells and with samples that are late."""

from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import CELL
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.ecm import CellTables
from dbms_estimation.resistance import ResistanceFilter
from dbms_sim.cell_physics import Cells

TRUTH = np.array([0.8, 1.0, 1.4, 2.0])


def pulses(t: float) -> float:
    """A load in units of capacity per hour with edges both ways."""
    phase = t % 40
    return -1.0 if phase < 15 else 0.5 if phase > 30 else 0.0


def run(
    seconds=400.0,
    dt=0.1,
    late=0,
    temperature=25.0,
    load=pulses,
    cell=CELL,
    spoil=None,
    truth=TRUTH,
    tell=True,
) -> ResistanceFilter:
    """Return the filter after a load; the current is told `late` samples later."""
    rng = np.random.default_rng(0)
    n = len(truth)
    plant = Cells(cell, np.full(n, 0.6), [n], resistance=truth, ambient=temperature)
    plant.temperature = np.full(n, temperature)
    filter_ = ResistanceFilter(CellTables(cell), n, cell.capacity)
    amps = [0.0] * (late + 1)
    for k in range(round(seconds / dt)):
        amps.append(load(k * dt) * cell.capacity)
        plant.carry(plant.prepare(dt), np.full(n, amps[-1]))
        voltage = np.round(plant.voltages + 0.001 * rng.standard_normal(n), 4)
        current = np.full(n, amps[-1 - late] + 0.01 * cell.capacity)
        warm = plant.temperature.copy() if tell else np.full(n, np.nan)
        if spoil:
            spoil(k, voltage, current)
        filter_.step(np.full(n, dt), current * dt, voltage, current, warm, np.full(n, 0.65))
    return filter_


@pytest.mark.parametrize('temperature', [0.0, 25.0, 40.0])
@pytest.mark.parametrize(('dt', 'late', 'within'), [(0.1, 0, 0.03), (0.1, 1, 0.03), (1.0, 0, 0.03),
                                                    (1.0, 1, 0.07)])  # fmt: skip
def test_ratio_at_any_temperature_and_with_samples_that_are_late(temperature, dt, late, within):
    filter_ = run(dt=dt, late=late, temperature=temperature)
    assert filter_.ratio == pytest.approx(TRUTH, rel=within)
    assert filter_.health == pytest.approx(TRUTH, rel=within + 0.03)
    assert (filter_.sigma < 0.06 * TRUTH).all()


def test_a_current_that_never_stands_still_teaches_nothing_wrong():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(400)
    filter_ = run(dt=1.0, late=1, load=lambda t: noise[int(t)])
    still = np.abs(filter_.ratio - 1.0) < 1e-12
    assert (still | (np.abs(filter_.ratio - TRUTH) < 0.1 * TRUTH)).all()


def test_the_voltage_of_r0_may_bend():
    bent = replace(CELL, saturation=0.1)
    filter_ = run(cell=bent)
    assert filter_.ratio == pytest.approx(TRUTH, rel=0.05)


def test_sigma_shrinks_by_steps_and_grows_by_charge_only():
    rest = run(100, load=lambda t: 0.0)
    assert (rest.ratio == 1.0).all() and (rest.edges == 0).all()
    assert rest.sigma == pytest.approx(np.full(4, rest.options.start_sigma), rel=0.01)
    some = run(200)
    known = some.sigma.copy()
    assert (known < rest.sigma).all()
    one = np.ones(4)
    for _ in range(100):
        some.step(10 * one, -30 * one, 3.7 * one, -3 * one, 25 * one, 0.5 * one)
    assert (some.sigma > known).all()
    assert (some.sigma <= some.options.start_sigma * some.ratio * 1.01).all()


def test_without_a_temperature_nothing_is_learnt():
    assert (run(100, tell=False).edges == 0).all()


def test_what_is_not_measured_stays_in_its_cell():
    def spoil(k, voltage, current):
        voltage[1] = np.nan if k % 3 else 9.9
        current[2] = np.nan

    filter_ = run(spoil=spoil)
    assert filter_.ratio[[0, 3]] == pytest.approx(TRUTH[[0, 3]], rel=0.03)
    assert filter_.edges[1] == filter_.edges[2] == 0
    for value in (filter_.ratio, filter_.sigma, filter_.health, filter_.drop(np.ones(4))):
        assert np.isfinite(value).all()


@given(st.lists(st.tuples(st.floats(-5, 10), st.floats(-500, 500)), min_size=6, max_size=40))
@settings(max_examples=40, deadline=None)
def test_whatever_comes_the_ratio_stays_in_its_range(readings):
    filter_ = ResistanceFilter(CellTables(CELL), 1, CELL.capacity)
    options = filter_.options
    for volts, amps in readings:
        for _ in range(3):
            before, sigma = filter_.ratio[0], filter_.sigma[0]
            filter_.step(
                np.ones(1), np.full(1, amps), np.full(1, volts), np.full(1, amps),
                np.full(1, 25.0), np.full(1, 0.5),
            )  # fmt: skip
            assert options.lowest <= filter_.ratio[0] <= options.highest
            assert np.isfinite(filter_.sigma[0]) and filter_.sigma[0] > 0
            most = max(options.step, 1.1 * sigma + 0.2)
            assert abs(filter_.ratio[0] - before) <= most


def test_it_is_told_at_a_reference_and_where_the_cell_is():
    filter_ = run()
    assert filter_.at() == pytest.approx(TRUTH * 0.020, rel=0.05)
    cold = filter_.now(np.full(4, 0.5), np.full(4, 0.0))
    assert cold == pytest.approx(TRUTH * 0.060, rel=0.05)
    assert np.isnan(filter_.now(np.full(4, np.nan), np.full(4, 25.0))).all()


def test_the_state_goes_over_a_restart():
    filter_ = run(200)
    fresh = ResistanceFilter(CellTables(CELL), 4, CELL.capacity)
    fresh.restore(filter_.state())
    assert np.array_equal(fresh.ratio, filter_.ratio)
    with pytest.raises(ValueError):
        fresh.restore({**filter_.state(), 'ratio': np.full(4, np.inf)})
