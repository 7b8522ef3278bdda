# SPDX-License-Identifier: Apache-2.0
"""A cell whose OCV is that of the discharge, and what is left of cycles left out of the fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dbms_estimation.identification.circuit import filtered
from dbms_estimation.identification.identify import identify, matched
from dbms_estimation.identification.laboratory import (
    LaboratoryError,
    Layout,
    Measurement,
    read_layout,
)
from dbms_estimation.identification.ocv import GRID, Ocv

CAPACITY = 3.0
LAYOUT = Layout(Path('layout.yaml'), {}, {}, hysteresis=False, ocv_by_temperature=1e-4)


def volts(soc):
    return 3.2 + 0.9 * soc + 0.03 * np.sin(9.0 * soc)


def cycle(seed: int, celsius: float = 25.0, ohms: float = 0.02) -> Measurement:
    """Return a drive with rests from full; it has no hysteresis."""
    rng = np.random.default_rng(seed)
    current = np.repeat(rng.normal(-1.6, 2.0, 400), 10)
    current[np.arange(len(current)) % 800 > 500] = 0.0
    time = 2.0 * np.arange(len(current))
    mean = np.r_[current[0], 0.5 * (current[1:] + current[:-1])]
    dt = np.diff(time, prepend=0.0)
    charge = np.cumsum(mean * dt) / 3600.0
    voltage = volts(1.0 + charge / CAPACITY) + ohms * current
    voltage += 0.01 * filtered(dt, mean[:, None], 40.0)[:, 0]
    warm = np.full(len(time), celsius)
    return Measurement(Path(f'{seed}'), time, current, voltage, warm, charge)


def ocv(scale: float = 1.0) -> Ocv:
    """Return that of the cell, over `scale` times its charge."""
    voltage = volts(1.0 - (1.0 - GRID) * scale)
    return Ocv(GRID, voltage, np.zeros(len(GRID)), CAPACITY)


def test_without_hysteresis_none_is_found():
    found = identify(ocv(), [], [cycle(1), cycle(2)], LAYOUT)
    assert not found.fit.gap().any()
    assert max(r.rms for r in found.residuals) < 0.002


def test_the_error_of_cycles_is_that_of_a_fit_without_them():
    strange = cycle(3, ohms=0.035)  # another resistance than the rest
    files = [cycle(1), cycle(2), strange]
    inside = identify(ocv(), [], files, LAYOUT).residuals[-1].rms
    left_out = identify(ocv(), [], files, replace(LAYOUT, left_out=True)).residuals[-1].rms
    alone = identify(ocv(), [], files[:2], LAYOUT)
    soc = 1.0 + strange.charge / CAPACITY
    expected = np.sqrt(np.mean(np.square(alone.fit.residual(strange, soc)[0][1:])))
    assert left_out > 1.2 * inside
    assert left_out == pytest.approx(expected, rel=0.02)


def test_the_only_cycle_at_a_temperature_is_not_left_out():
    files = [cycle(1), cycle(2), cycle(3, celsius=0.0, ohms=0.05)]
    inside = identify(ocv(), [], files, LAYOUT).residuals[-1].rms
    left_out = identify(ocv(), [], files, replace(LAYOUT, left_out=True)).residuals[-1].rms
    assert left_out == pytest.approx(inside)


def test_the_ocv_is_brought_in_line_with_rests():
    parts = np.tile(np.r_[np.full(54, -2.0), np.zeros(200)], 9)  # 10 s each: 0.3 Ah, then a rest
    time = 10.0 * np.arange(len(parts))
    charge = np.cumsum(parts) * 10.0 / 3600.0
    voltage = volts(1.0 + charge / CAPACITY) + 0.02 * parts
    warm = np.full(len(time), 25.0)
    pulses = Measurement(Path('pulses'), time, parts, voltage, warm, charge)
    off = ocv(1.06)  # the slow discharge took 6 % more out
    assert np.abs(off.voltage - ocv().voltage).max() > 0.03
    found = matched(off, [pulses])
    assert found.voltage == pytest.approx(ocv().voltage, abs=0.004)
    assert matched(off, []) is off


@pytest.mark.parametrize('key', ['hysteresis', 'left_out', 'ocv_matched'])
def test_what_is_neither_true_nor_false_is_refused(tmp_path, key):
    path = tmp_path / 'layout.yaml'
    path.write_text(f'columns: {{time: t}}\ncell: {{chemistry: NMC}}\n{key}: 1\n')
    with pytest.raises(LaboratoryError, match=key):
        read_layout(path)
