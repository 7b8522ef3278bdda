# SPDX-License-Identifier: Apache-2.0
"""Several hypotheses about a cell: what they must keep, what they must find, and when they end."""

from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import CELL, Drive, Truth, at_rest, make_pack, pulses
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.columns import SIGMA_MAX
from dbms_estimation.ecm import SOC_HIGH, SOC_LOW, CellTables
from dbms_estimation.hypotheses import COLUMNS, HypothesisFilter
from dbms_estimation.pack_estimator import PackEstimator

CELLS = 4
# An OCV that says nothing between 30 and 80 %, as that of LFP.
FLAT = replace(
    CELL,
    name='test_lfp',
    chemistry='LFP',
    ocv_soc=np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.8, 0.9, 1.0]),
    ocv_voltage=np.array([2.8, 3.0, 3.15, 3.25, 3.28, 3.285, 3.33, 3.45]),
)
anything = st.floats(allow_nan=True, allow_infinity=True, width=32)
rows = st.lists(
    st.fixed_dictionaries(
        {
            'dt': st.one_of(st.floats(-1.0, 2.0), st.floats(0.0, 4000.0)),
            'current': st.one_of(st.floats(-60.0, 60.0), st.just(np.nan)),
            'blind': st.floats(0.0, 1.0),
            'voltage': st.lists(
                st.one_of(st.floats(2.0, 4.5), anything), min_size=CELLS, max_size=CELLS
            ),
            'temperature': st.one_of(st.floats(-40.0, 80.0), st.just(np.nan)),
        }
    ),
    min_size=1,
    max_size=12,
)
socs = st.lists(st.floats(0.0, 1.0), min_size=CELLS, max_size=CELLS)


def believing(soc, cell=CELL) -> HypothesisFilter:
    n = len(soc)
    cells = HypothesisFilter(CellTables(cell), n, cell.capacity, np.full(n, 0.02))
    cells.believe(np.ones(n, dtype=bool), np.array(soc, dtype=float))
    return cells


def feed(cells: HypothesisFilter, row: dict, order=...) -> None:
    full = np.ones(cells.cells)
    dt = max(row['dt'], 0.0)
    charge = 0.0 if np.isnan(row['current']) else row['current'] * dt
    voltage = np.array(row['voltage'], dtype=float)[order]
    cells.step(
        row['dt'] * full,
        charge * full,
        row['blind'] * dt * full,
        voltage,
        row['current'] * full,
        row['temperature'] * full,
    )


def matrices(cells: HypothesisFilter) -> np.ndarray:
    return cells.covariance.transpose(2, 0, 1)


@settings(deadline=None, max_examples=100)
@given(socs, rows)
def test_weights_add_up_and_everything_stays_bounded(said, given_rows):
    cells = believing(said)
    for row in given_rows:
        feed(cells, row)
        assert np.bincount(cells.owner, cells.weight) == pytest.approx(np.ones(CELLS))
        assert (cells.hypotheses >= 1).all() and (cells.hypotheses <= 2 * COLUMNS).all()
        assert ((cells.soc > SOC_LOW - 1e-9) & (cells.soc < SOC_HIGH + 1e-9)).all()
        assert (cells.sigma > 0).all() and (cells.sigma <= SIGMA_MAX).all()
        p = matrices(cells)
        scale = np.sqrt(np.einsum('kii->ki', p))
        assert np.linalg.eigvalsh(p / (scale[:, :, None] * scale[:, None, :])).min() > -1e-9


@settings(deadline=None, max_examples=60)
@given(socs, rows, st.permutations(range(CELLS)))
def test_the_order_of_the_cells_does_not_matter(said, given_rows, order):
    straight, mixed = believing(said), believing(np.array(said)[list(order)])
    for row in given_rows:
        feed(straight, row)
        feed(mixed, row, list(order))
    assert np.array_equal(straight.soc[list(order)], mixed.soc)
    assert np.allclose(straight.sigma[list(order)], mixed.sigma, rtol=1e-9)


@settings(deadline=None, max_examples=60)
@given(socs, rows, st.integers(0, CELLS - 1))
def test_what_one_cell_reads_never_reaches_another(said, given_rows, spoilt):
    clean, dirty = believing(said), believing(said)
    others = np.arange(CELLS) != spoilt
    for row in given_rows:
        feed(clean, row)
        feed(dirty, row | {'voltage': np.where(others, row['voltage'], np.nan)})
    assert np.array_equal(clean.soc[others], dirty.soc[others])
    assert np.allclose(clean.sigma[others], dirty.sigma[others], rtol=1e-9)


def said_to(drive: Drive, soc) -> None:
    everyone = np.ones(len(drive.truth.soc), dtype=bool)
    drive.estimator.believe(everyone, np.array(soc, dtype=float))


@pytest.mark.parametrize('wrong', [-0.3, -0.2, 0.2, 0.3])
def test_a_wrong_start_is_found_and_the_others_are_given_up(wrong):
    soc = np.array([0.4, 0.5, 0.6, 0.65])
    drive = Drive(PackEstimator(make_pack()), Truth(soc))
    said_to(drive, soc + wrong)
    drive.run(1.0, at_rest)
    assert (drive.estimator.filter.hypotheses > 3).all()
    drive.run(1200.0, pulses)
    cells = drive.estimator.filter
    assert np.abs(cells.soc - drive.truth.soc).max() < 0.015
    assert (cells.hypotheses <= 2).all()


@pytest.mark.parametrize('cell', [CELL, FLAT], ids=['steep', 'flat'])
def test_a_true_start_stays_true(cell):
    soc = np.array([0.45, 0.55, 0.65, 0.75])
    drive = Drive(PackEstimator(make_pack(cell=cell)), TruthOf(cell, soc))
    said_to(drive, soc)
    for _ in range(30):
        drive.run(60.0, pulses)
        assert np.abs(drive.estimator.filter.soc - drive.truth.soc).max() < 0.01


def test_where_the_voltage_says_nothing_a_wrong_start_is_not_taken_for_sure():
    soc = np.array([0.45, 0.5, 0.6, 0.65])
    drive = Drive(PackEstimator(make_pack(cell=FLAT)), TruthOf(FLAT, soc))
    said_to(drive, soc[::-1])
    drive.run(600.0, pulses)
    cells = drive.estimator.filter
    assert (cells.hypotheses > 1).all()
    assert (np.abs(cells.soc - drive.truth.soc) < 2 * cells.sigma).all()


def test_the_end_of_the_flat_part_tells_which_hypothesis_was_right():
    drive = Drive(PackEstimator(make_pack(cell=FLAT)), TruthOf(FLAT, np.full(4, 0.45)))
    said_to(drive, np.array([0.7, 0.7, 0.25, 0.45]))
    drive.run(2400.0, lambda t: -2.0)
    cells = drive.estimator.filter
    assert drive.truth.soc[0] < 0.05
    assert np.abs(cells.soc - drive.truth.soc).max() < 0.03
    assert cells.single


def test_a_cell_without_a_start_on_the_flat_part_has_several():
    drive = Drive(PackEstimator(make_pack(cell=FLAT)), TruthOf(FLAT, np.full(4, 0.55)))
    drive.run(30.0, pulses)
    cells = drive.estimator.filter
    assert (cells.hypotheses > 1).all()
    assert (np.abs(cells.soc - drive.truth.soc) < 2 * cells.sigma).all()


def test_a_gap_leaves_no_more_hypotheses_than_it_must():
    drive = Drive(PackEstimator(make_pack()), Truth(np.array([0.5, 0.6, 0.7, 0.8])))
    said_to(drive, drive.truth.soc)
    drive.run(900.0, pulses)
    before = drive.estimator.filter.soc - drive.truth.soc
    for _ in range(1500):  # s; nothing is heard
        drive.time += 0.2
        drive.truth.step(0.2, -1.0)
    drive.run(900.0, pulses)
    cells = drive.estimator.filter
    assert np.abs(before).max() < 0.01
    assert np.abs(cells.soc - drive.truth.soc).max() < 0.02
    assert cells.single


@pytest.mark.parametrize('parts', [2, 10])
def test_the_rate_of_the_readings_does_not_matter(parts):
    slow, fast = believing([0.3, 0.5, 0.7, 0.8]), believing([0.3, 0.5, 0.7, 0.8])
    truth = Truth(np.full(4, 0.6))
    for k in range(900):
        current = pulses(float(k))
        for _ in range(parts):
            truth.step(1.0 / parts, current)
            row = {'dt': 1.0 / parts, 'current': current, 'blind': 0.0, 'temperature': 25.0}
            feed(fast, row | {'voltage': truth.voltage})
        row = {'dt': 1.0, 'current': current, 'blind': 0.0, 'temperature': 25.0}
        feed(slow, row | {'voltage': truth.voltage})
    # When a hypothesis is given up is a matter of chance.
    assert (np.abs(fast.soc - slow.soc) < 0.4 * slow.sigma).all()
    assert fast.sigma == pytest.approx(slow.sigma, rel=0.2)


class TruthOf(Truth):
    """The same for another cell: its own OCV."""

    def __init__(self, cell, soc) -> None:
        super().__init__(soc)
        self.cell = cell
        self.voltage = np.interp(self.soc, cell.ocv_soc, cell.ocv_voltage)

    def step(self, dt: float, current: float) -> None:
        super().step(dt, current)
        own = np.interp(self.soc, self.cell.ocv_soc, self.cell.ocv_voltage)
        self.voltage += own - np.interp(self.soc, CELL.ocv_soc, CELL.ocv_voltage)


def test_two_sigma_hold_on_cells_with_the_errors_that_are_assumed():
    rng = np.random.default_rng(5)
    runs = 40
    soc = rng.uniform(0.5, 0.95, runs)
    said = np.where(rng.random(runs) < 0.5, soc, np.clip(soc - rng.uniform(0.2, 0.3, runs), 0, 1))
    cells, truth = believing(said), Truth(soc)
    options = cells.options
    offset = rng.normal(0, options.offset_share * options.model_error, runs)
    resistance = 1 + rng.normal(0, options.resistance_error, runs)
    bias = rng.normal(0, options.current_bias * CELL.capacity, runs)
    inside = []
    for k in range(3000):
        current = np.full(runs, pulses(float(k)))
        truth.step(1.0, current[0])
        own = np.interp(truth.soc, CELL.ocv_soc, CELL.ocv_voltage)
        voltage = own + offset + resistance * (truth.voltage - own)
        voltage += rng.normal(0, options.voltage_noise, runs)
        one = np.ones(runs)
        cells.step(one, current + bias, 0 * one, voltage, current + bias, 25 * one)
        if k > 600:
            inside.append(np.abs(cells.soc - truth.soc) < 2 * cells.sigma)
    assert 0.9 < np.mean(inside)


def test_a_cold_cell_may_have_much_left_in_its_circuit_from_before_the_start():
    drive = Truth(np.array([0.95, 0.9, 0.85, 0.8]))
    cold = {'temperature': 0.0, 'blind': 0.0, 'dt': 1.0}
    # It was driven for long; nobody told the filter.
    drive.row = 0
    for _ in range(1500):
        drive.step(1.0, -2.0)
    cells = believing(drive.soc + np.array([-0.25, 0.25, -0.2, 0.2]))
    inside = []
    for k in range(900):
        drive.step(1.0, pulses(float(k)))
        feed(cells, cold | {'current': pulses(float(k)), 'voltage': drive.voltage})
        inside.append(np.abs(cells.soc - drive.soc) < 2 * cells.sigma)
    assert np.mean(inside) > 0.98
    assert np.abs(cells.soc - drive.soc).max() < 0.03


def test_hypotheses_that_are_sure_to_the_last_digit_merge_without_a_logarithm_of_zero():
    cells = believing([0.3, 0.5, 0.7, 0.8])
    columns = cells.columns
    columns.covariance[0] = columns.covariance[:, 0] = 0.0
    columns.soc[:] = 0.5
    row = {'dt': 0.0, 'current': 0.0, 'blind': 0.0, 'temperature': 25.0}
    with np.errstate(divide='raise', invalid='raise'):
        for _ in range(10):  # neighbours only merge at once
            feed(cells, row | {'voltage': np.full(CELLS, 3.725)})
    assert cells.single
    assert np.isfinite(cells.soc).all() and np.isfinite(cells.sigma).all()


GAP = 0.02  # V, half of it
TURNING = replace(FLAT, hysteresis_voltage=np.full(8, GAP), hysteresis_soc=0.05)


def test_a_cell_with_hysteresis_may_come_from_both_branches_unless_it_is_full():
    with_gap, without = (believing([0.4, 0.6, 0.95, 0.3], cell) for cell in (TURNING, FLAT))
    assert (with_gap.hypotheses > 1.4 * without.hypotheses).all()
    full, up = with_gap.columns.soc > 0.9, with_gap.columns.hysteresis > 0
    up_share = with_gap.weight[up & ~full].sum() / with_gap.weight[~full].sum()
    assert up_share == pytest.approx(0.1, abs=0.002)
    assert full.any() and up[full].all()


@pytest.mark.parametrize('branch', [-1.0, 1.0])
def test_where_the_soc_is_right_the_voltage_tells_the_branch(branch):
    soc = np.array([0.4, 0.5, 0.6, 0.7])
    cells, truth = believing(soc, TURNING), TruthOf(FLAT, soc)
    for k in range(1800):
        current = 1.5 if k // 20 % 2 else -1.5  # it stays where it is
        truth.step(1.0, current)
        row = {'dt': 1.0, 'current': current, 'blind': 0.0, 'temperature': 25.0}
        feed(cells, row | {'voltage': truth.voltage + GAP * branch})
        assert np.abs(cells.soc - truth.soc).max() < 0.02
    assert (branch * cells.hysteresis > 0.5).all()


def test_the_branches_of_a_long_charge_become_one():
    soc = np.array([0.2, 0.25, 0.3, 0.35])
    cells, truth = believing(soc, TURNING), TruthOf(FLAT, soc)
    for _ in range(1500):
        truth.step(1.0, 2.0)
        row = {'dt': 1.0, 'current': 2.0, 'blind': 0.0, 'temperature': 25.0}
        feed(cells, row | {'voltage': truth.voltage + GAP})
    assert (cells.columns.hysteresis == 1.0).all()
    assert (np.abs(cells.soc - truth.soc) < 2 * cells.sigma).all()
