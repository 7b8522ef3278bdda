# SPDX-License-Identifier: Apache-2.0
"""Capacity from partial cycles: laws of the filter, of its anchors, and both on cells that age."""

from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import CELL
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.anchors import Anchors
from dbms_estimation.ecm import CellTables
from dbms_estimation.soh import CapacityFilter, CapacityOptions, Pairs
from dbms_pack.model import AgeingModel
from dbms_sim.cell_physics import Cells

OFFSET = 0.01  # 1/h


def pairs(x, y, white=0.005, fixed=0.003, time=1.0) -> Pairs:
    """Return pairs of which only the change of SOC and the charge matter."""
    x = np.atleast_1d(np.asarray(x, dtype=float))
    rest = (np.broadcast_to(np.asarray(v, dtype=float), x.shape) for v in (y, white, fixed, time))
    return Pairs(x, *rest)


def learn(ratio, windows: int, seed: int = 0, noise: float = 0.01, **options) -> CapacityFilter:
    """Return a filter after windows up and down of cells of the given capacities."""
    rng = np.random.default_rng(seed)
    ratio = np.asarray(ratio, dtype=float)
    filter_ = CapacityFilter(len(ratio), OFFSET, CapacityOptions(**options))
    for k in range(windows):
        size = rng.uniform(0.3, 0.8, len(ratio)) * (1 if k % 2 else -1)
        measured = size + noise * rng.standard_normal(len(ratio))
        filter_.add(pairs(measured, ratio * size, white=noise))
    return filter_


@pytest.mark.parametrize('offset', [-0.01, 0.0, 0.01])
def test_it_finds_capacity_and_offset_of_the_sensor_together(offset):
    filter_ = CapacityFilter(1, OFFSET)
    for k in range(60):
        size = 0.6 if k % 2 else -0.6
        filter_.add(pairs(size, 0.85 * size + offset * 2.0, white=0.005, fixed=0.0, time=2.0))
    assert filter_.ratio == pytest.approx([0.85], abs=0.004)
    assert filter_.offset == pytest.approx([offset], abs=0.002)


def test_noise_of_the_soc_does_not_make_the_capacity_smaller():
    # Ordinary least squares of y on x is too small by 1 / (1 + (0.05 / 0.55)^2), 0.8 %.
    filter_ = learn(np.full(400, 0.9), 60, noise=0.05)
    assert filter_.ratio.mean() == pytest.approx(0.9, abs=0.003)


def test_sigma_is_honest_where_the_noise_is_as_told():
    truth = np.random.default_rng(1).uniform(0.8, 1.02, 500)
    filter_ = learn(truth, 12, noise=0.02, gain_error=0.0)
    inside = np.abs(filter_.ratio - truth) <= 2 * filter_.sigma
    assert 0.9 <= inside.mean()
    assert filter_.sigma.max() < 0.04


def test_errors_of_the_table_do_not_average_out():
    few, many = (CapacityFilter(1, 1e-6, CapacityOptions(gain_error=0.0)) for _ in range(2))
    for k in range(400):
        for filter_ in (few, many)[k >= 4 :]:
            filter_.add(pairs(0.5 * (-1) ** k, 0.5 * (-1) ** k, white=1e-4, fixed=0.01))
    assert many.sigma[0] >= 0.9 * 0.01 / 0.5
    assert many.sigma[0] == pytest.approx(few.sigma[0], rel=0.05)


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_whatever_comes_the_capacity_is_one_a_cell_can_have(given_pairs):
    filter_ = CapacityFilter(1, OFFSET)
    options = filter_.options
    for x, y in given_pairs:
        before = filter_.ratio[0]
        filter_.add(pairs(x, y))
        assert options.lowest <= filter_.ratio[0] <= options.highest
        assert 0 < filter_.sigma[0] < 1
        change = abs(1 / filter_.ratio[0] - 1 / before)
        assert change <= options.most_doubt + 1e-9


def test_sigma_grows_with_use_and_time_and_shrinks_with_pairs_only():
    filter_ = learn([0.9, 0.9], 10)
    known = filter_.sigma.copy()
    filter_.add(pairs([np.nan, np.nan], [np.nan, 0.3]))
    assert (filter_.sigma == known).all()
    filter_.age(np.full(2, 50.0), np.full(2, 30 * 86400.0))
    assert (filter_.sigma > known).all()
    grown = filter_.sigma.copy()
    filter_.add(pairs([0.6, np.nan], [0.54, np.nan]))
    assert filter_.sigma[0] < grown[0] and filter_.sigma[1] == grown[1]


def test_a_pair_that_cannot_be_is_refused_and_a_cell_that_changed_is_followed():
    filter_ = learn([1.0], 20)
    assert not filter_.add(pairs(0.6, 0.3))[0]
    assert filter_.refused[0] == 1 and filter_.ratio[0] == pytest.approx(1.0, abs=0.02)
    for k in range(40):
        filter_.add(pairs(0.6 * (-1) ** k, 0.42 * (-1) ** k))
    assert filter_.ratio[0] == pytest.approx(0.7, abs=0.02)


def test_cells_do_not_touch_each_other_and_their_order_does_not_matter():
    rng = np.random.default_rng(4)
    x, order = rng.uniform(0.3, 0.8, (8, 6)), rng.permutation(6)
    one, other = CapacityFilter(6, OFFSET), CapacityFilter(6, OFFSET)
    for k, row in enumerate(x):
        spoilt = row.copy()
        spoilt[2] = np.nan if k % 2 else np.inf
        one.add(pairs(spoilt, 0.9 * row))
        other.add(pairs(spoilt[order], 0.9 * row[order]))
    assert np.array_equal(one.ratio[order], other.ratio)
    assert one.windows[2] == 0 and one.ratio[2] == 1.0
    assert np.isfinite(one.sigma).all()


def test_the_state_goes_over_a_restart_and_a_spoilt_one_is_refused_whole():
    filter_ = learn([0.9, 0.8], 10)
    state = filter_.state()
    fresh = CapacityFilter(2, OFFSET)
    fresh.restore(state)
    for name, value in fresh.state().items():
        assert np.array_equal(value, state[name])
    state['inverse'][:] = 5.0
    assert (filter_.inverse < 2.0).all()  # what was given away is a copy
    for spoilt in ({**state, 'fixed': np.zeros(3)}, {**state, 'offset': np.full(2, np.nan)},
                   {k: v for k, v in state.items() if k != 'windows'}):  # fmt: skip
        with pytest.raises(ValueError):
            fresh.restore(spoilt)
        assert (fresh.inverse < 2.0).all()


AGED = replace(CELL, ageing=AgeingModel(calendar_fade=0.03, cycle_fade=0.0006))


class Bench:
    """Simulated cells that are charged and discharged in parts, with a sensor that errs."""

    def __init__(self, cell=AGED, cells: int = 6, seed: int = 0, offset: float = 0.005) -> None:
        rng = self.rng = np.random.default_rng(seed)
        self.cell, self.offset = cell, offset
        spread = 1 + 0.03 * rng.standard_normal(cells)
        self.plant = Cells(cell, np.full(cells, 0.6), [cells], capacity=spread)
        self.filter = CapacityFilter(cells, OFFSET)
        self.anchors = Anchors(CellTables(cell), cells, cell.capacity)
        self.made = 0

    @property
    def truth(self) -> np.ndarray:
        return self.plant.capacity / self.cell.capacity

    def flow(self, rate: float, hours: float, dt: float = 120.0, blind: float = 0.0) -> None:
        """Let a current of `rate` 1/h flow, with noise on what is measured."""
        cells = len(self.truth)
        amps = rate * self.cell.capacity
        for _ in range(round(hours * 3600 / dt)):
            self.plant.carry(self.plant.prepare(dt), np.full(cells, amps))
            measured = np.full(cells, amps + self.offset * self.cell.capacity)
            voltage = self.plant.voltages + 0.002 * self.rng.standard_normal(cells)
            self.filter.age(np.full(cells, abs(rate) * dt / 7200), np.full(cells, dt))
            found = self.anchors.step(
                np.full(cells, dt), measured * dt, np.full(cells, blind), voltage, measured,
                self.plant.temperature.copy(), np.clip(self.plant.soc + 0.03, 0, 1),
                np.ones(cells), self.filter.offset, self.filter.offset_sigma,
            )  # fmt: skip
            self.made += int(np.isfinite(found.x).sum())
            self.filter.add(found)

    def days(self, count: int) -> None:
        for _ in range(count):
            low, high = self.rng.uniform(0.1, 0.4), self.rng.uniform(0.8, 0.98)
            self.flow(-0.4, (self.plant.soc.mean() - low) / 0.4)
            self.flow(0.0, self.rng.uniform(0.5, 2))
            self.flow(0.4, (high - self.plant.soc.mean()) / 0.4)
            self.flow(0.0, self.rng.uniform(1, 8))


def test_capacity_within_the_goal_on_cells_that_fade():
    bench = Bench()
    bench.days(12)
    errors = []
    for _ in range(8):
        bench.days(5)
        errors.append(bench.filter.ratio - bench.truth)
        assert (np.abs(errors[-1]) <= 2 * bench.filter.sigma).all()
    assert np.sqrt(np.square(errors).mean()) < 0.015
    assert bench.truth.mean() < 0.98  # they did fade, and were not followed by chance
    assert bench.filter.offset == pytest.approx(np.full(6, 0.005), abs=0.004)


def test_nothing_is_learnt_where_the_voltage_says_nothing():
    flat = replace(
        CELL,
        ocv_soc=np.array([0.0, 0.1, 0.9, 1.0]),
        ocv_voltage=np.array([2.8, 3.28, 3.32, 3.6]),
    )
    bench = Bench(flat)
    bench.plant.soc = np.full(6, 0.8)
    for _ in range(6):
        bench.flow(-0.4, 1.2)
        bench.flow(0.0, 3.0)
        bench.flow(0.4, 1.2)
        bench.flow(0.0, 3.0)
    assert bench.made == 0 and (bench.filter.windows == 0).all()
    assert (bench.filter.ratio == 1.0).all()
    bench.flow(0.4, 0.45)
    bench.flow(0.0, 3.0)
    bench.flow(-0.4, 2.35)
    bench.flow(0.0, 3.0)
    bench.flow(0.4, 0.5)
    assert (bench.filter.windows >= 1).all()


def test_a_time_without_a_current_makes_no_pair():
    bench = Bench(CELL)
    bench.flow(0.0, 2.0)
    bench.flow(-0.4, 1.0, blind=120.0)
    bench.flow(0.0, 2.0)
    bench.flow(-0.1, 0.5)
    assert bench.made == 0


def test_anchors_are_given_up_when_it_is_not_known_what_flowed():
    one, other = Bench(CELL, offset=0.0), Bench(CELL, offset=0.0)
    for bench, away in ((one, 3600.0), (other, float('nan'))):
        bench.flow(0.0, 3.0)
        bench.anchors.away(away)
        bench.flow(-0.4, 0.9)
        bench.flow(0.0, 3.0)
        bench.flow(-0.4, 0.1)
    assert one.made == 6 and other.made == 0
