# SPDX-License-Identifier: Apache-2.0
"""./dbms identify: finds a made-up cell again, and says what is wrong with files."""

import numpy as np
import pytest
from estimation_rig import Truth, ocv

from dbms_estimation import identify_cli
from dbms_estimation.identification.circuit import hats
from dbms_pack import load_cell

LAYOUT = """
columns: {time: t, current: i, voltage: v, temperature: temp, charge: ah}
cell:
  chemistry: NMC
  source: made up
  voltage: {min: 2.5, max: 4.2, nominal: 3.6}
  thermal: {heat_capacity: 45, resistance: 10}
"""


def write(path, load, step: float, rows: int) -> None:
    truth, lines, charge = Truth([1.0]), ['t,i,v,temp,ah'], 0.0
    for k in range(rows):
        current = load(k)
        if k:
            truth.step(step, current)
            charge += current * step / 3600
        lines.append(f'{k * step},{current},{truth.voltage[0]:.6f},25,{charge:.7f}')
    path.write_text('\n'.join(lines) + '\n')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('laboratory')
    (folder / 'columns.yaml').write_text(LAYOUT)
    write(folder / 'slow.csv', lambda k: -0.15 if 0 < k < 1195 else 0.0, 60.0, 1200)
    write(folder / 'pulse.csv', lambda k: -3.0 if k % 600 < 200 and k else 0.0, 1.0, 9000)
    return folder


def run(folder, *more: str) -> int:
    words = ['--cell', 'made_up', '--columns', str(folder / 'columns.yaml')]
    words += ['--ocv', str(folder / 'slow.csv'), '--pulse', str(folder / 'pulse.csv')]
    return identify_cli.main([*words, '-o', str(folder / 'made_up.yaml'), *more])


def test_a_made_up_cell_is_found_again(files, capsys):
    assert run(files) == 0
    assert 'error' in capsys.readouterr().out
    cell = load_cell(files / 'made_up.yaml')
    assert cell.capacity == pytest.approx(3.0, rel=0.01)
    middle = (cell.ocv_soc > 0.2) & (cell.ocv_soc < 0.9)
    assert np.abs(cell.ocv_voltage - ocv(cell.ocv_soc))[middle].max() < 0.02
    warm = list(cell.temperatures).index(25.0)
    total = (cell.r0 + cell.r1 + cell.r2)[warm][list(cell.socs).index(0.5)]
    assert total == pytest.approx(0.038, rel=0.3)
    assert (cell.r0 > 0).all() and cell.model_errors[1][-1] < 0.02


def test_a_report_is_written(files):
    pytest.importorskip('matplotlib')
    assert run(files, '--report', str(files / 'report')) == 0
    assert 'pulse.csv' in (files / 'report' / 'residuals.md').read_text()
    assert (files / 'report' / 'report.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    'change, says',
    [
        (('t,i,v', 'time,i,v'), 'no header with t, i, v'),
        (('charge: ah', 'amount: ah'), 'columns.amount: unknown'),
        (('cell:', 'cells:'), 'cells: unknown'),
    ],
)
def test_what_does_not_fit_is_said(files, tmp_path, capsys, change, says):
    for path in files.glob('*.*'):
        if path.suffix in ('.csv', '.yaml'):
            (tmp_path / path.name).write_text(path.read_text().replace(*change, 1))
    assert run(tmp_path) == 1
    assert says in capsys.readouterr().err


def test_weights_of_interpolation_add_up_to_one():
    nodes = np.array([0.0, 0.2, 1.0])
    x = np.linspace(-0.2, 1.2, 50)
    assert np.allclose(hats(x, nodes).sum(axis=1), 1.0)
    assert np.allclose(hats(x, nodes) @ nodes, np.clip(x, 0, 1))
