# SPDX-License-Identifier: Apache-2.0
"""Laws that hold for any input, an oracle, and the truth the filter has to find."""

from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import (
    CELL,
    SOCS,
    TEMPERATURES,
    Drive,
    Truth,
    at_rest,
    make_pack,
    ocv,
    pulses,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.charge import StringCharge
from dbms_estimation.columns import SIGMA_MAX
from dbms_estimation.ecm import SOC_HIGH, SOC_LOW, CellTables
from dbms_estimation.ekf import CellFilter
from dbms_estimation.filter_options import FilterOptions
from dbms_estimation.frozen import FrozenReadings
from dbms_estimation.pack_estimator import PackEstimator

CELLS = 5
anything = st.floats(allow_nan=True, allow_infinity=True, width=32)
voltages = st.one_of(st.floats(2.0, 4.5), anything)
step = st.fixed_dictionaries(
    {
        'dt': st.one_of(st.floats(-1.0, 2.0), st.floats(0.0, 4000.0)),
        'current': st.one_of(st.floats(-60.0, 60.0), st.just(np.nan)),
        'blind': st.floats(0.0, 1.0),
        'voltage': st.lists(voltages, min_size=CELLS, max_size=CELLS),
        'temperature': st.one_of(st.floats(-40.0, 80.0), st.just(np.nan)),
    }
)


def make_filter(cells: int = CELLS, options: FilterOptions | None = None) -> CellFilter:
    return CellFilter(CellTables(CELL), cells, CELL.capacity, np.full(cells, 0.02), options)


def feed(cells: CellFilter, row: dict, voltage) -> None:
    n = len(cells.soc)
    dt = max(row['dt'], 0.0)
    charge = 0.0 if np.isnan(row['current']) else row['current'] * dt
    full = np.full(n, 1.0)
    cells.step(
        row['dt'] * full,
        charge * full,
        row['blind'] * dt * full,
        np.array(voltage, dtype=float),
        row['current'] * full,
        row['temperature'] * full,
    )


def matrices(cells: CellFilter) -> np.ndarray:
    return cells.covariance.transpose(2, 0, 1)


def begin(cells: CellFilter) -> None:
    n = len(cells.soc)
    cells.reset(np.ones(n, dtype=bool), np.full(n, 0.5), np.full(n, 0.2))


@settings(deadline=None, max_examples=200)
@given(st.lists(step, min_size=1, max_size=20))
def test_state_stays_finite_and_covariance_positive(rows):
    cells = make_filter()
    begin(cells)
    for row in rows:
        feed(cells, row, row['voltage'])
        assert ((cells.soc >= SOC_LOW) & (cells.soc <= SOC_HIGH)).all()
        assert (cells.sigma <= SIGMA_MAX * (1 + 1e-9)).all()
        p = matrices(cells)
        scale = np.sqrt(np.einsum('kii->ki', p))
        assert np.isfinite(p).all() and (scale > 0).all()
        correlation = p / (scale[:, :, None] * scale[:, None, :])
        assert np.linalg.eigvalsh(correlation).min() > -1e-9


@settings(deadline=None, max_examples=100)
@given(st.lists(step, min_size=1, max_size=20), st.integers(0, CELLS - 1))
def test_what_one_cell_reads_never_reaches_another(rows, spoilt):
    clean, dirty = make_filter(), make_filter()
    begin(clean)
    begin(dirty)
    others = np.arange(CELLS) != spoilt
    for row in rows:
        voltage = np.array(row['voltage'])
        feed(clean, row, voltage)
        feed(dirty, row, np.where(others, voltage, np.nan))
    for name in ('soc', 'v1', 'v2', 'innovation', 'sigma'):
        a, b = getattr(clean, name)[others], getattr(dirty, name)[others]
        assert a.tobytes() == b.tobytes(), name


def test_a_filter_of_many_cells_is_many_filters_of_one():
    rng = np.random.default_rng(1)
    together = make_filter(3)
    begin(together)
    alone = [make_filter(1) for _ in range(3)]
    for one in alone:
        begin(one)
    for _ in range(200):
        row = {'dt': 0.1, 'current': rng.normal(0, 3), 'blind': 0.0, 'temperature': 17.0}
        voltage = rng.normal(3.7, 0.02, 3)
        feed(together, row, voltage)
        for one, value in zip(alone, voltage, strict=True):
            feed(one, row, [value])
    # Sums over three columns and over one may round differently.
    assert together.soc == pytest.approx([one.soc[0] for one in alone], abs=1e-12)


class Oracle:
    """The textbook filter of one cell: matrices, Joseph form, tables read by plain bilinear."""

    def __init__(self, soc: float, sigma: float) -> None:
        o = FilterOptions()
        self.x = np.array([soc, 0.0, 0.0, 0.0, 0.0, 0.0])
        self.bias = max(0.02, o.current_bias * CELL.capacity)
        self.offset = o.offset_share * o.model_error
        pairs = [self.bilinear(table, 25.0) * CELL.capacity for table in (CELL.r1, CELL.r2)]
        sizes = (o.past_current, o.past_mean_current)
        left = [(r * s) ** 2 + 1e-6 for r, s in zip(pairs, sizes, strict=True)]
        self.x[1:3] = [-r * o.past_load for r in pairs]
        self.p = np.diag([sigma**2, *left, self.bias**2, self.offset**2, o.resistance_error**2])
        self.drift = self.load = 0.0

    def step(self, dt: float, current: float, voltage: float, temperature: float) -> None:
        o = FilterOptions()
        names = ('r0', 'r1', 'tau1', 'r2', 'tau2')
        r0, r1, tau1, r2, tau2 = (self.bilinear(getattr(CELL, n), temperature) for n in names)
        a = np.exp(-dt / np.array([tau1, tau2]))
        r = np.array([r1, r2])
        full = 3600 * CELL.capacity
        load = current - self.x[3]
        gained = abs(load) * dt / full
        slow = np.exp(-dt / o.drift_time)
        self.drift = slow * self.drift + (1 - slow) * load / full
        net = abs(self.drift) * dt
        kept = np.exp(-net / o.offset_soc - dt / o.offset_time)
        same = np.exp(-net / o.resistance_soc - dt / o.resistance_time)
        held = np.exp(-dt / o.current_bias_time)
        f = np.diag([1.0, *a, held, kept, same])
        f[:3, 3] = [-dt / full, *(-(1 - a) * r)]
        self.x = f @ self.x
        self.x[:3] += np.array([dt / full, *((1 - a) * r)]) * current
        rc = (1 - a**2) * (o.quick_error * r * load) ** 2
        q = [o.gain_error**2 * o.gain_error_soc * gained, *rc, (1 - held**2) * self.bias**2]
        q += [(1 - kept**2) * self.offset**2, (1 - same**2) * o.resistance_error**2]
        self.p = f @ self.p @ f.T + np.diag(q)
        self.correct(dt, current, voltage, r0)

    def correct(self, dt: float, current: float, voltage: float, r0: float) -> None:
        o = FilterOptions()
        soc, v1, v2, bias, offset, more = self.x
        slope = (ocv_extended(soc + 0.01) - ocv_extended(soc - 0.01)) / 0.02
        drop = r0 * (current - bias) + v1 + v2
        h = np.array([slope, 1 + more, 1 + more, -r0 * (1 + more), 1.0, drop])
        quick = (o.quick_share * o.model_error) ** 2 + (o.quick_error * (1 + more) * drop) ** 2
        late = np.exp(-dt / o.slow_time)
        self.load = late * self.load + (1 - late) * abs(drop)
        quick += (o.slow_error * (1 + more) * self.load) ** 2 + (o.soc_axis_error * slope) ** 2
        noise = o.voltage_noise**2 + quick * max(o.quick_time / dt, 1.0)
        k = self.p @ h / (h @ self.p @ h + noise)
        self.x = self.x + k * (voltage - (ocv_extended(soc) + (1 + more) * drop + offset))
        left = np.eye(6) - np.outer(k, h)
        self.p = left @ self.p @ left.T + noise * np.outer(k, k)

    def bilinear(self, table, temperature: float) -> float:
        column = [np.interp(self.x[0], SOCS, row) for row in table]
        return float(np.interp(temperature, TEMPERATURES, column))


def ocv_extended(soc: float) -> float:
    return float(ocv(soc))


def test_the_filter_agrees_with_the_textbook():
    rng = np.random.default_rng(2)
    truth = Truth([0.75])
    cells = make_filter(1)
    cells.reset(np.array([True]), np.array([0.65]), np.array([0.1]))
    oracle = Oracle(0.65, 0.1)
    for k in range(3000):
        current = pulses(0.5 * k) + rng.normal(0, 0.1)
        truth.step(0.5, current)
        voltage = truth.voltage + rng.normal(0, 0.002)
        row = {'dt': 0.5, 'current': current, 'blind': 0.0, 'temperature': 25.0}
        feed(cells, row, voltage)
        oracle.step(0.5, current, float(voltage[0]), 25.0)
        assert cells.soc[0] == pytest.approx(oracle.x[0], abs=2e-5)
        assert matrices(cells)[0] == pytest.approx(oracle.p, rel=2e-3, abs=1e-9)


@pytest.mark.parametrize('wrong', [-0.3, -0.2, 0.2, 0.3])
def test_a_wrong_start_is_found_out(wrong):
    soc = np.array([0.4, 0.5, 0.6, 0.65])
    drive = Drive(PackEstimator(make_pack()), Truth(soc))
    drive.run(1.0, at_rest)
    everyone = np.ones(4, dtype=bool)
    drive.estimator.filter.reset(everyone, soc + wrong, np.full(4, 0.25))
    drive.run(600.0, pulses)
    error = np.abs(drive.estimator.filter.soc - drive.truth.soc)
    # A load before the start is allowed for, and there was none.
    assert error.max() < 0.02
    assert (drive.estimator.filter.sigma < 0.03).all()


@pytest.mark.parametrize('bias', [-0.1, 0.1])
def test_a_biased_current_does_not_carry_the_soc_away(bias):
    drive = Drive(PackEstimator(make_pack()), Truth([0.8, 0.85, 0.9, 0.95]))
    drive.run(1.0, at_rest)
    drive.run(3600.0, pulses, sensor=lambda amps: amps + bias)
    filtered = np.abs(drive.estimator.filter.soc - drive.truth.soc).max()
    counted = np.abs(drive.estimator.coulomb.soc - drive.truth.soc).max()
    assert counted > 0.03
    assert filtered < 0.5 * counted
    assert (filtered < 3 * drive.estimator.filter.sigma).all()


def test_a_start_under_load_is_less_sure_than_one_at_rest():
    sigmas = []
    for load in (0.0, -6.0):
        truth = Truth([0.5] * 4)
        truth.step(30.0, load)
        drive = Drive(PackEstimator(make_pack()), truth)
        drive.run(1.0, lambda t, load=load: load)
        sigmas.append(drive.estimator.filter.sigma[0])
        assert abs(drive.estimator.filter.soc[0] - truth.soc[0]) < 2.5 * sigmas[-1]
    assert sigmas[1] > 2 * sigmas[0]


def test_parallel_cells_share_the_current():
    drive = Drive(PackEstimator(make_pack(parallel=5)), Truth([0.8] * 4, parallel=5))
    drive.run(1.0, at_rest)
    drive.run(600.0, lambda t: 5 * pulses(t))
    assert np.abs(drive.estimator.filter.soc - drive.truth.soc).max() < 0.005
    assert np.allclose(drive.estimator.coulomb.soc, drive.truth.soc, atol=1e-4)


def test_time_scale_makes_charge_flow_faster():
    estimator = PackEstimator(make_pack(), time_scale=60.0)
    truth = Truth([0.8] * 4)
    for k in range(300):
        time = 0.1 * k
        if k:
            truth.step(6.0, -3.0)
        estimator.add_current(0, time, -3.0 if k else 0.0)
        estimator.add_scan(0, time, time, truth.voltage, [25.0, 25.0])
        estimator.tick()
    assert truth.soc[0] < 0.31
    assert np.allclose(estimator.coulomb.soc, truth.soc, atol=2e-3)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.floats(-20.0, 20.0), min_size=30, max_size=120),
    st.lists(st.floats(0.0, 1.0), min_size=3, max_size=10),
)
def test_charge_between_scans_adds_up_whenever_they_come(currents, places):
    string = StringCharge(0.02)
    for k, current in enumerate(currents):
        string.add(0.02 * k, current)
    end = 0.02 * (len(currents) - 1)
    stamps = np.sort(np.array([0.0, *(np.array(places) * end), end]))
    charge = string.at(stamps).charge
    area = 0.02 * (sum(currents) - 0.5 * (currents[0] + currents[-1]))
    assert np.diff(charge).sum() == pytest.approx(area, abs=1e-9)
    assert not string.at(stamps).blind.any()


def test_tables_are_bilinear_and_hold_their_edges():
    tables = CellTables(replace(CELL), parallel=2)
    soc = np.array([-0.04, 0.0, 0.05, 0.3, 0.9, 1.0, 1.04])
    for temperature in (-30.0, 0.0, 12.5, 25.0, 33.0, 40.0, 90.0):
        z = tables.impedance(soc, np.full(len(soc), temperature))
        for got, name, share in zip(
            z, ('r0', 'r1', 'tau1', 'r2', 'tau2'), (2, 2, 1, 2, 1), strict=True
        ):
            column = [np.interp(soc, SOCS, row) for row in getattr(CELL, name)]
            want = [np.interp(temperature, TEMPERATURES, x) for x in np.transpose(column)]
            assert np.allclose(got, np.array(want) / share, rtol=1e-9), (name, temperature)


def test_ocv_and_its_inverse_belong_together():
    tables = CellTables(CELL)
    soc = np.linspace(0.0, 1.0, 501)
    voltage, slope = tables.ocv(soc)
    assert np.allclose(voltage, ocv(soc), atol=1e-9)
    assert np.allclose(tables.soc(voltage), soc, atol=1e-6)
    assert (slope > 0).all()
    outside, _ = tables.ocv(np.array([SOC_LOW, SOC_HIGH]))
    assert outside[0] < voltage[0] and outside[1] > voltage[-1]


def test_a_reading_found_to_stand_still_counts_no_more_until_it_changes():
    still = FrozenReadings(1, 0.01)
    one = np.ones(1)

    def found(voltage: float, load: float) -> bool:
        return bool(still.find(one > 0, voltage * one, load * one, 0.02 * one, one)[0])

    assert not found(3.7, 0.0)
    assert not found(3.7, 0.1)  # 2 mV: it may be so
    assert found(3.7, -2.0)
    assert found(3.7, 0.0)  # the load is back where it was
    assert not found(3.71, 0.0)
    assert not found(3.71, 0.0)


def test_a_rest_just_after_a_load_corrects_less_than_a_long_one():
    widths = []
    for past in (-3.0, 0.0):
        cells = make_filter(1)
        cells.reset(np.array([True]), np.array([0.5]), np.array([0.1]))
        row = {'dt': 1.0, 'blind': 0.0, 'temperature': 25.0}
        for current, voltage in ((past, np.nan), (0.0, 3.7)):
            for _ in range(300):
                feed(cells, row | {'current': current}, [voltage])
        widths.append(cells.sigma[0])
    assert widths[0] > 1.05 * widths[1]
