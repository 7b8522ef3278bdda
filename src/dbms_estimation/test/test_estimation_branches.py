# SPDX-License-Identifier: Apache-2.0
"""Hysteresis, entropic and polarisation of a made-up LFP cell are told apart and found again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dbms_estimation.identification.circuit import filtered
from dbms_estimation.identification.hysteresis import play
from dbms_estimation.identification.identify import discharge_of, identify
from dbms_estimation.identification.laboratory import (
    LaboratoryError,
    Layout,
    Measurement,
    read_layout,
)
from dbms_estimation.identification.model_error import LEAST_ERROR, ZONES
from dbms_estimation.identification.ocv import counted_from_empty, from_measurements, slow_legs

CAPACITY, SPAN, GAP, ENTROPIC = 2.0, 0.05, 0.012, 1.5e-4
TAUS = (40.0, 1200.0)
LAYOUT = Layout(Path('layout.yaml'), {}, {})
OHMS = {5.0: (0.018, 0.020, 0.050), 25.0: (0.010, 0.011, 0.028)}


def ocv(soc):
    return 3.2 + 0.1 * soc + 0.02 * np.tanh((soc - 0.7) / 0.03) - 0.5 * np.exp(-soc / 0.03)


def measured(name, celsius, step, current, begins):
    """Return a recording of the made-up cell, and its SOC."""
    time = step * np.arange(len(current))
    mean = np.r_[current[0], 0.5 * (current[1:] + current[:-1])]
    charge = np.cumsum(mean * step / 3600.0) - mean[0] * step / 3600.0
    soc = begins + charge / CAPACITY
    dt = np.diff(time, prepend=0.0)
    r0, *pairs = OHMS[celsius]
    voltage = ocv(soc) + ENTROPIC * (celsius - 25.0) + r0 * current
    voltage += GAP * play(soc, SPAN, 1.0 if begins > 0.5 else -1.0)
    for ohms, tau in zip(pairs, TAUS, strict=True):
        voltage += ohms * filtered(dt, mean[:, None], tau)[:, 0]
    return Measurement(
        Path(name), time, current, voltage, np.full(len(time), celsius), charge, np.nan
    )


def leg(celsius, sign):
    rows = round(CAPACITY / 0.0667 * 30)  # C/30, a row every two minutes
    return measured('leg', celsius, 120.0, np.full(rows, sign * 0.0667), float(sign < 0))


def cycle(celsius):
    """Brakes and pulls, by turns with rests, from full to nearly empty."""
    rng = np.random.default_rng(7)
    load = np.repeat(rng.normal(-0.68, 2.5, 1200), 6)
    load[np.arange(len(load)) % 1200 > 700] = 0.0
    return measured('cycle', celsius, 2.0, np.r_[np.full(60, -1.0), load], 1.0)


@pytest.fixture(scope='module')
def found():
    files = [leg(celsius, sign) for celsius in OHMS for sign in (-1, 1)]
    cycles = [cycle(celsius) for celsius in OHMS]
    return identify(from_measurements(files), [], cycles, LAYOUT, slow_legs(files))


def middle(found):
    return (found.ocv.soc > 0.2) & (found.ocv.soc < 0.9)


def test_the_gap_of_slow_legs_holds_more_than_hysteresis(found):
    here = middle(found)
    assert found.ocv.gap[here].mean() > GAP + 0.002
    assert found.fit.gap()[here].mean() == pytest.approx(GAP, abs=0.0012)


def test_the_change_with_temperature_is_found(found):
    assert found.fit.entropic()[middle(found)].mean() == pytest.approx(ENTROPIC, abs=3e-5)


def test_the_ocv_between_the_branches_is_found(found):
    here = middle(found)
    assert np.abs(found.voltage - ocv(found.ocv.soc))[here].max() < 0.004


@pytest.mark.parametrize('celsius', [5.0, 25.0])
def test_the_resistances_are_found(found, celsius):
    row = list(found.temperatures).index(celsius)
    tables = found.tables[:, row, 5:13].mean(axis=1)
    assert tables == pytest.approx(OHMS[celsius], rel=0.15)


def test_legs_at_one_temperature_tell_nothing_of_it():
    assert slow_legs([leg(25.0, -1), leg(25.0, 1)]) == ()


def test_a_cold_leg_stops_short_of_the_other_end():
    cold = leg(5.0, -1).rows(slice(0, 800))
    legs = slow_legs([leg(25.0, -1), cold, leg(5.0, 1)])
    assert legs[0].soc[-1] == pytest.approx(0.0)
    assert legs[1].soc[-1] > 0.1
    assert [one.begin for one in legs] == [1.0, 1.0, -1.0]


def test_an_aged_cell_keeps_the_charge_between_empty_and_the_steps_of_its_ocv():
    files = [leg(celsius, sign) for celsius in OHMS for sign in (-1, 1)]
    fresh, legs = from_measurements(files), slow_legs(files)
    aged, moved = counted_from_empty(fresh, legs, 0.98 * fresh.capacity)
    for soc in (0.2, 0.5, 0.8):  # of the fresh cell
        there = np.interp(soc / 0.98, aged.soc, aged.voltage)
        assert there == pytest.approx(np.interp(soc, fresh.soc, fresh.voltage), abs=5e-4)
    assert aged.capacity == 0.98 * fresh.capacity
    assert aged.voltage[[0, -1]] == pytest.approx(fresh.voltage[[0, -1]])
    for before, after in zip(legs, moved, strict=True):
        assert after.soc.max() == pytest.approx(1.0, abs=0.01)
        low = before.soc < 0.8
        assert after.soc[low] * 0.98 == pytest.approx(before.soc[low])


def test_the_error_grows_where_nothing_was_measured(found):
    errors = found.errors
    assert list(errors.temperatures) == [-25.0, -15.0, -5.0, 5.0, 25.0]
    assert (np.diff(errors.voltage[:4]) < 0).all()
    half = list(ZONES).index(0.5)
    assert errors.by_soc[-1, half] == LEAST_ERROR  # the ends are no matter of the middle
    assert errors.by_soc[-1, 0] > LEAST_ERROR


@pytest.mark.parametrize(
    'line',
    [
        'hysteresis_soc: 0',
        'hysteresis_soc: wide',
        'activation: -1',
        'load_error: 0',
        'load_error: 5 %',
        'entropic: 0.0001',
        'entropic: {soc: [0, 1]}',
        'entropic: {soc: [0, 1], voltage: [0.0001]}',
        'entropic: {soc: [0, x], voltage: [0, 0]}',
    ],
)
def test_a_layout_that_cannot_be_is_refused(tmp_path, line):
    path = tmp_path / 'layout.yaml'
    path.write_text(f'columns: {{time: t}}\ncell: {{}}\n{line}\n')
    with pytest.raises(LaboratoryError, match=line.split(':')[0]):
        read_layout(path)


def test_a_file_that_tells_its_soc_keeps_the_charge_at_its_end():
    m = leg(25.0, -1)
    back = replace(m, charge=np.r_[m.charge[:450], m.charge[449::-1]], begins=0.9)
    assert len(discharge_of(back).time) == 900
    assert len(discharge_of(replace(back, begins=np.nan)).time) == 450
