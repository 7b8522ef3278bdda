# SPDX-License-Identifier: Apache-2.0
"""What a cell file says of its circuit: R0 that bends, and how far the model may be off."""

from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import CELL, ocv
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.ecm import CellTables
from dbms_estimation.ekf import CellFilter

BENT = CellTables(replace(CELL, saturation=0.1))
CURRENTS = st.lists(st.floats(-500.0, 500.0), min_size=2, max_size=20, unique=True)


@settings(max_examples=100, deadline=None)
@given(CURRENTS, st.floats(1e-4, 0.5))
def test_the_drop_is_odd_and_rises_with_the_current(currents, r0):
    current = np.sort(np.array(currents))
    resistance = np.full(len(current), r0)
    drop, slope = BENT.drop(resistance, current)
    mirrored, same = BENT.drop(resistance, -current)
    assert np.allclose(drop, -mirrored) and np.allclose(slope, same)
    assert (np.diff(drop) > 0).all() or np.diff(current).min() < 1e-9
    assert (slope > 0).all() and (slope <= r0).all()
    assert (np.abs(drop) <= np.abs(r0 * current) * (1 + 1e-12)).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(-200.0, 200.0), st.floats(1e-3, 0.5))
def test_the_slope_is_that_of_the_drop(current, r0):
    at = np.array([current - 1e-4, current + 1e-4])
    drop, _ = BENT.drop(np.full(2, r0), at)
    _, slope = BENT.drop(np.full(1, r0), np.array([current]))
    assert np.diff(drop)[0] / 2e-4 == pytest.approx(slope[0], rel=1e-4)


def test_a_small_current_and_a_cell_without_saturation_are_linear():
    r0, current = np.full(3, 0.05), np.array([-1e-3, 0.0, 1e-3])
    for tables, amps in ((BENT, current), (CellTables(CELL), 1e4 * current)):
        drop, slope = tables.drop(r0, amps)
        assert np.allclose(drop, r0 * amps, rtol=1e-6, atol=0.0)
        assert np.allclose(slope, r0, rtol=1e-6)


def test_cells_in_parallel_share_the_current():
    r0 = np.full(2, 0.05)
    one, _ = BENT.drop(r0, np.array([-4.0, 9.0]))
    four, slope = BENT.drop(r0 / 4, np.array([-16.0, 36.0]))
    assert np.allclose(one, four)
    assert (slope < r0 / 4).all()


def test_the_error_under_load_of_a_cell_file_widens_sigma():
    def sigma(share):
        tables = CellTables(replace(CELL, load_error=share))
        one = CellFilter(tables, 1, CELL.capacity, np.array([0.02]))
        one.reset(np.array([True]), np.array([0.5]), np.array([0.1]))
        amps, none = np.array([-3.0]), np.zeros(1)
        for _ in range(60):
            level = ocv(one.soc)
            one.step(none + 1.0, amps, none, level, amps, none + 25.0)
        return float(one.sigma[0])

    assert sigma(None) == sigma(0.05)  # what it is where the file does not tell
    assert sigma(0.5) > 1.2 * sigma(0.05)
