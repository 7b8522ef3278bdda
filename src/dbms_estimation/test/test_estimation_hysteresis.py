# SPDX-License-Identifier: Apache-2.0
"""Laws of the hysteresis; identification and filter must obey the same ones."""

from dataclasses import replace

import numpy as np
import pytest
from estimation_rig import CELL

from dbms_estimation.ecm import CellTables
from dbms_estimation.identification.hysteresis import play

SPAN = 0.05
TABLES = CellTables(replace(CELL, hysteresis_voltage=np.full(1, 0.02), hysteresis_soc=SPAN))
LOAD = np.random.default_rng(3).normal(-0.001, 0.01, 2000)  # changes of SOC: brakes and pulls


def walked(changes: np.ndarray, begin: float) -> np.ndarray:
    """Return the states the filter's law goes through."""
    state, states = np.array([begin]), []
    for change in changes:
        state = TABLES.turned(state, np.array([change]))
        states.append(state[0])
    return np.array(states)


def test_filter_and_identification_obey_one_law():
    soc = np.r_[0.8, 0.8 + np.cumsum(LOAD)]
    assert np.allclose(play(soc, SPAN, 1.0)[1:], walked(LOAD, 1.0))


@pytest.mark.parametrize('begin', [-1.0, 0.3, 1.0])
def test_the_state_is_bounded_and_forgets_where_it_began(begin):
    states = walked(np.r_[LOAD, np.full(200, -0.001)], begin)
    assert np.abs(states).max() <= 1.0
    assert states[-1] == -1.0


def test_the_state_follows_the_direction():
    assert walked(np.array([-2 * SPAN]), 1.0)[-1] == -1.0
    assert walked(np.array([2 * SPAN]), -1.0)[-1] == 1.0
    assert walked(np.array([SPAN]), -1.0)[-1] == pytest.approx(0.0)
    assert walked(np.array([0.0]), 0.4)[-1] == 0.4


@pytest.mark.parametrize('parts', [2, 7, 1000])
def test_the_length_of_a_step_does_not_matter(parts):
    whole = walked(np.array([-0.03, 0.04, -0.02]), 0.2)[-1]
    cut = np.repeat(np.array([-0.03, 0.04, -0.02]) / parts, parts)
    assert walked(cut, 0.2)[-1] == pytest.approx(whole)


def test_a_short_charge_within_a_discharge_is_taken_back():
    discharged = walked(np.full(100, -0.002), 1.0)[-1]
    braked = walked(np.r_[np.full(100, -0.002), 0.01, -0.01], 1.0)[-1]
    assert discharged == braked == -1.0


def test_the_ocv_goes_with_the_temperature_and_back_to_its_soc():
    slope = np.linspace(-2e-4, 3e-4, len(CELL.ocv_soc))
    tables, plain = CellTables(replace(CELL, entropic=slope)), CellTables(CELL)
    soc = np.linspace(0.05, 0.95, 19)
    for celsius in (-25.0, 25.0, 45.0):
        warm = np.full(len(soc), celsius)
        voltage, steepness = tables.ocv(soc, warm)
        change = np.interp(soc, CELL.ocv_soc, slope) * (celsius - 25.0)
        assert np.allclose(voltage, plain.ocv(soc)[0] + change, atol=1e-4)
        assert np.allclose(tables.soc(voltage, warm), soc, atol=2e-3)
        numeric = (tables.ocv(soc + 0.01, warm)[0] - tables.ocv(soc - 0.01, warm)[0]) / 0.02
        assert np.allclose(steepness, numeric, rtol=0.05)
    assert (tables.ocv(soc)[0] == plain.ocv(soc)[0]).all()


def test_the_error_of_the_model_goes_with_temperature_and_soc():
    by_soc = (np.array([0.0, 0.2, 1.0]), np.array([[0.05, 0.01, 0.02], [0.03, 0.005, 0.01]]))
    whole = (np.array([0.0, 20.0]), np.array([0.02, 0.01]))
    tables = CellTables(replace(CELL, model_errors=whole, model_errors_by_soc=by_soc))
    warm, soc = np.array([-10.0, 10.0, 20.0, 30.0]), np.array([0.2, 0.1, 0.6, 1.05])
    assert tables.model_error(warm, 9.0, soc) == pytest.approx([0.01, 0.02375, 0.0075, 0.01])
    assert tables.model_error(warm, 9.0) == pytest.approx([0.02, 0.015, 0.01, 0.01])
    assert CellTables(CELL).model_error(warm, 9.0, soc) == pytest.approx(9.0)
    only = replace(CELL, model_errors=whole)
    assert CellTables(only).model_error(warm, 9.0, soc) == pytest.approx([0.02, 0.015, 0.01, 0.01])
