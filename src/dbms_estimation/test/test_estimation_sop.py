# SPDX-License-Identifier: Apache-2.0
"""State of power: laws, and currents it foretells applied to simulated cells."""

from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import CELL
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.ecm import CellTables
from dbms_estimation.sop import (
    CHARGE,
    DISCHARGE,
    HORIZONS,
    Bounds,
    CellsNow,
    cell_power,
    parallel_power,
    string_power,
)
from dbms_sim.cell_physics import Cells

TABLES = CellTables(CELL)
BOUNDS = Bounds(2.8, 4.2, 24.0, 24.0)  # 8 1/h
FREE = Bounds(2.8, 4.2, 1e4, 1e4)


def cells(at=0.5, n=1, **known) -> CellsNow:
    """Return cells at rest of which all is known, but for what is said."""
    soc = np.broadcast_to(np.asarray(at, dtype=float), (n,)).copy()
    temperature = np.broadcast_to(np.asarray(known.get('temperature', 25.0), dtype=float), (n,))
    ocv = TABLES.ocv(np.nan_to_num(soc, nan=0.5), temperature)[0]
    values = {
        'soc': soc, 'soc_sigma': 0.0, 'ocv': ocv, 'ocv_sigma': 0.0,
        'v1': 0.0, 'v2': 0.0, 'hysteresis': 0.0, 'temperature': 25.0,
        'capacity': CELL.capacity, 'capacity_sigma': 0.0, 'resistance': 1.0,
        'resistance_sigma': 0.0,
    }  # fmt: skip
    values.update(known)
    return CellsNow(
        **{k: np.broadcast_to(np.asarray(v, dtype=float), (n,)).copy() for k, v in values.items()}
    )


class TestAgainstSimulation:
    """The current it foretells, let flow: the limit is met at the end and not passed before."""

    MET = 0.020  # V, to which a limit is met in up to 30 s
    MET_LATE = 0.050  # V, in 600 s

    @pytest.mark.parametrize('cell', [CELL, replace(CELL, saturation=0.05)], ids=['line', 'bent'])
    @pytest.mark.parametrize('temperature', [0.0, 25.0])
    @pytest.mark.parametrize('way', [CHARGE, DISCHARGE])
    @pytest.mark.parametrize('which', range(len(HORIZONS)))
    def test_limit(self, cell, temperature, way, which):
        plant = self.used(cell, temperature)
        soc = plant.soc.copy()
        n = len(soc)
        now = cells(
            soc, n, ocv=plant.ocv, v1=plant._v1, v2=plant._v2, temperature=temperature,
            resistance=self.ratio(n),
        )  # fmt: skip
        power = cell_power(CellTables(cell), now, BOUNDS)
        current = power.current[way, which]
        sign, limit = (1, BOUNDS.voltage_max) if way == CHARGE else (-1, BOUNDS.voltage_min)
        extreme = np.full(n, -np.inf)
        for _ in range(100):
            plant.carry(plant.prepare(HORIZONS[which] / 100), sign * current)
            extreme = np.maximum(extreme, sign * (plant.voltages - limit))
            plant.temperature = np.full(n, temperature)
        met = self.MET if HORIZONS[which] <= 30 else self.MET_LATE
        assert extreme.max() <= met
        free = (plant.soc > 0.002) & (plant.soc < 0.998) & (current < 23.9)
        shorter = current >= power.current[way, max(which - 1, 0)] - 1e-3
        at_limit = free & ~(shorter & (which > 0)) & (current > 0)
        assert (extreme[at_limit] >= -met).all()
        assert at_limit.any() or which <= 1
        end = sign * (power.end[way, which] - limit)
        assert (end[at_limit] >= -met).all()

    @staticmethod
    def ratio(n: int) -> np.ndarray:
        return 1 + 0.3 * np.random.default_rng(3).random(n)

    def used(self, cell, temperature: float) -> Cells:
        n = 20
        plant = Cells(cell, np.linspace(0.06, 0.96, n), [n], resistance=self.ratio(n),
                      ambient=temperature)  # fmt: skip
        plant.temperature = np.full(n, temperature)
        for rate in (-0.7, 0.5, -0.3):
            plant.carry(plant.prepare(20.0), np.full(n, rate * cell.capacity))
        plant.temperature = np.full(n, temperature)
        return plant


@given(
    st.floats(0, 1), st.floats(0, 0.3), st.floats(-20, 50), st.floats(0.5, 4), st.floats(0, 0.3),
    st.floats(-0.3, 0.3),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_laws(soc, sigma, temperature, ratio, ratio_sigma, v1):
    known = cells(soc, resistance=ratio, temperature=temperature, v1=v1)
    current = cell_power(TABLES, known, FREE).current
    assert np.isfinite(current).all() and (current >= 0).all()
    assert (np.diff(current, axis=1) <= 1e-9).all()  # longer is never more
    doubtful = cells(
        soc, resistance=ratio, temperature=temperature, v1=v1, soc_sigma=sigma,
        resistance_sigma=ratio_sigma,
    )  # fmt: skip
    less = cell_power(TABLES, doubtful, FREE).current
    slack = 0.02 * (1 + current)
    if sigma == 0:
        assert (less <= current + slack).all()
    tight = cell_power(TABLES, known, Bounds(3.0, 4.1, 5.0, 5.0)).current
    assert (tight <= np.minimum(current, 5.0) + slack).all()


def test_what_is_not_known_counts_against_the_load():
    sure, unsure = cells([0.1, 0.5, 0.9], 3), cells([0.1, 0.5, 0.9], 3, soc_sigma=0.05)
    more = cell_power(TABLES, sure, FREE).current
    less = cell_power(TABLES, unsure, FREE).current
    assert (less[DISCHARGE, :, 0] < 0.5 * more[DISCHARGE, :, 0])[-1]
    assert (less[CHARGE, -1, 1:] <= more[CHARGE, -1, 1:]).all()
    assert less[CHARGE, -1, 2] == pytest.approx(0.0)
    for wider in ({'resistance_sigma': 0.2}, {'ocv_sigma': 0.02}, {'capacity_sigma': 0.2}):
        other = cell_power(TABLES, cells([0.1, 0.5, 0.9], 3, **wider), FREE).current
        assert (other <= more + 1e-6).all() and (other < more).any()


def test_empty_gives_nothing_full_takes_nothing_and_unknown_is_unknown():
    soc = np.array([0.0, 1.0, np.nan, 0.5])
    known = cells(0.5, 4, soc=soc)
    known.ocv[:2] = [2.8, 4.18]
    current = cell_power(TABLES, known, FREE).current
    assert (current[DISCHARGE, :, 0] == 0).all() and (current[CHARGE, :, 1] == 0).all()
    assert np.isnan(current[:, :, 2]).all()
    alone = cell_power(TABLES, cells(0.5), FREE).current
    assert np.array_equal(current[:, :, 3], alone[:, :, 0])


def test_cells_in_parallel_carry_as_many_times_the_current():
    three = CellTables(CELL, 3)
    one = cell_power(TABLES, cells(0.4), FREE).current
    many = cell_power(three, cells(0.4, capacity=3 * CELL.capacity), FREE).current
    assert many == pytest.approx(3 * one, rel=1e-3)


def string(soc, most=1e4, factor=(1.0, 1.0), **known):
    n = len(soc)
    power = cell_power(TABLES, cells(soc, n, **known), FREE)
    return string_power(power, slice(0, n), np.array(factor), np.full(2, most))


def test_the_weakest_cell_limits_a_string_and_is_named():
    even, uneven = string([0.5] * 4), string([0.5, 0.5, 0.08, 0.5])
    assert (uneven.current[DISCHARGE] < even.current[DISCHARGE]).all()
    assert (uneven.cell[DISCHARGE] == 2).all()
    capped = string([0.5] * 4, most=2.0)
    assert (capped.current <= 2.0).all() and (capped.cell == -1).all()
    assert string([0.5] * 4, factor=(0.0, 0.5)).current[CHARGE] == pytest.approx(np.zeros(4))
    assert np.isnan(string([0.5, np.nan]).current).all()
    lowest = even.voltage[DISCHARGE]
    assert even.power[DISCHARGE] == pytest.approx(even.current[DISCHARGE] * lowest)
    assert (lowest < 4 * TABLES.ocv(np.array([0.5]))[0][0]).all()


def test_strings_in_parallel_share_by_resistance():
    one = string([0.5] * 4)
    pack = parallel_power([one, one])
    assert pack.current == pytest.approx(2 * one.current)
    assert pack.power == pytest.approx(2 * one.power)
    aged = string([0.5] * 4, resistance=2.0)
    mixed = parallel_power([one, aged])
    assert (mixed.current <= one.current + aged.current + 1e-9).all()
    assert (mixed.current > np.maximum(one.current, aged.current)).all()
    unknown = parallel_power([one, string([0.5, np.nan, 0.5, 0.5])])
    assert np.isnan(unknown.current).all() and np.isnan(unknown.power).all()
