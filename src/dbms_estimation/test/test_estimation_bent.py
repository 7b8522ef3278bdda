# SPDX-License-Identifier: Apache-2.0
"""A made-up cell whose R0 bends at strong currents is found again; a linear fit cannot."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dbms_estimation.identification.cell_file import cell_text
from dbms_estimation.identification.circuit import SOCS, filtered
from dbms_estimation.identification.identify import identify
from dbms_estimation.identification.laboratory import (
    LaboratoryError,
    Layout,
    Measurement,
    read_layout,
)
from dbms_estimation.identification.ocv import GRID, Ocv
from dbms_pack.loader import load_cell_text

CAPACITY, BEND = 2.5, 0.15
TAUS = (30.0, 900.0)
CELL = {
    'chemistry': 'NMC',
    'source': 'made up',
    'voltage': {'min': 2.5, 'max': 4.2, 'nominal': 3.6},
    'thermal': {'heat_capacity': 45, 'resistance': 10, 'neighbour_resistance': 6},
    'self_discharge': 0.02,
    'ageing': {'cycle_fade': 0.0004},
}
LAYOUT = Layout(Path('layout.yaml'), {}, CELL, saturation=BEND, time_constants=TAUS)
OCV = Ocv(GRID, 3.0 + 1.1 * GRID, np.zeros(len(GRID)), CAPACITY)


def r0(soc):
    return 0.06 - 0.02 * soc


def cycle(seed: int) -> Measurement:
    """Pull and brake from full to nearly empty."""
    rng = np.random.default_rng(seed)
    current = np.repeat(rng.normal(-2.0, 4.0, 390), 10)
    current[np.arange(len(current)) % 700 > 500] = 0.0
    time = np.arange(len(current), dtype=float)
    mean = np.r_[current[0], 0.5 * (current[1:] + current[:-1])]
    charge = np.cumsum(mean / 3600.0) - mean[0] / 3600.0
    soc = 1.0 + charge / CAPACITY
    dt = np.diff(time, prepend=0.0)
    voltage = np.interp(soc, OCV.soc, OCV.voltage) + BEND * np.arcsinh(r0(soc) * current / BEND)
    for ohms, tau in zip((0.02, 0.01), TAUS, strict=True):
        voltage += ohms * filtered(dt, mean[:, None], tau)[:, 0]
    return Measurement(
        Path(f'{seed}'), time, current, voltage, np.full(len(time), 25.0), charge, 1.0
    )


@pytest.fixture(scope='module')
def cycles():
    return [cycle(seed) for seed in (1, 2)]


def test_a_bent_resistance_is_found(cycles):
    found = identify(OCV, [], cycles, LAYOUT)
    assert max(r.rms for r in found.residuals) < 0.001
    here = (SOCS >= 0.3) & (SOCS <= 0.9)
    warm = list(found.temperatures).index(25.0)
    assert found.tables[0][warm][here] == pytest.approx(r0(SOCS[here]), rel=0.03)
    linear = identify(OCV, [], cycles, replace(LAYOUT, saturation=np.inf))
    assert linear.residuals[0].rms > 10 * found.residuals[0].rms


def test_the_capacity_of_each_temperature_may_be_said(cycles):
    aged = replace(LAYOUT, capacities={25: CAPACITY, 0: 0.9 * CAPACITY})
    found = identify(OCV, [], [*cycles, shrunk(cycles[0])], aged)
    assert max(r.rms for r in found.residuals) < 0.002
    cell = load_cell_text(cell_text('aged', aged, found), Path('aged.yaml'))
    assert cell.capacities[1].tolist() == [2.25, 2.5]


def shrunk(m: Measurement) -> Measurement:
    """Return the recording of a cell that holds a tenth less, at 0 degC."""
    return replace(m, charge=0.9 * m.charge, temperature=np.zeros(len(m.charge)))


def test_the_file_says_what_was_found_and_what_the_layout_knows(cycles):
    text = cell_text('bent', LAYOUT, identify(OCV, [], cycles, LAYOUT))
    cell = load_cell_text(text, Path('bent.yaml'))
    assert cell.saturation == BEND
    assert (cell.tau1 == TAUS[0]).all() and (cell.tau2 == TAUS[1]).all()
    assert (cell.neighbour_resistance, cell.self_discharge) == (6.0, 0.02)
    assert cell.ageing.cycle_fade == 0.0004


@pytest.mark.parametrize(
    'line, says',
    [
        ('saturation: 0', 'at least 0.01 V'),
        ('saturation: much', 'at least 0.01 V'),
        ('saturation: .nan', 'at least 0.01 V'),
        ('ocv_by_temperature: true', '0 to 0.01'),
        ('ocv_by_temperature: .nan', '0 to 0.01'),
        ('capacities: 2.8', 'Ah at each'),
        ('capacities: {25: 2.8, 0: low}', 'Ah at each'),
        ('capacities: {25: 0}', 'Ah at each'),
        ('time_constants: 40', 'two numbers'),
        ('time_constants: [40, fast]', 'two numbers'),
        ('time_constants: [1200, 40]', 'rising'),
        ('time_constants: [0, 40]', 'rising'),
    ],
)
def test_a_circuit_that_cannot_be_is_refused(tmp_path, line, says):
    path = tmp_path / 'layout.yaml'
    path.write_text(f'columns: {{time: t}}\ncell: {{chemistry: NMC}}\n{line}\n')
    with pytest.raises(LaboratoryError, match=says):
        read_layout(path)
