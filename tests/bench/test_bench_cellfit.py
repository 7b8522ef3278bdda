# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
from bench import cellfit

from dbms_pack import load_cell
from dbms_sim.cell_physics import Cells

HEADER = 'Time [s],Voltage [V],Current [A],Temperature [degC],Capacity [Ah]'


def write_cycle(path, offset=0.0):
    """Write what the model itself says of a drive, with every voltage off by `offset` V."""
    cells = Cells(load_cell('lg_hg2'), np.array([1.0]), [1])
    lines, charge = [HEADER], 0.0
    for second in range(900):
        current = -3.0 if second % 40 > 10 else 0.5 * (second > 0)
        cells.carry(cells.prepare(float(second > 0)), np.array([current]))
        charge += current / 3600 if second else 0.0
        lines.append(f'{second},{cells.voltages[0] + offset:.6f},{current},25,{charge:.8f}')
        cells.temperature = 25.0
    path.parent.mkdir(exist_ok=True)
    path.write_text('\n'.join(lines) + '\n')


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv('DBMS_DATA', str(tmp_path))
    return tmp_path / 'lab'


@pytest.mark.parametrize(('offset', 'code'), [(0.0, 0), (0.04, 1)])
def test_the_error_that_is_there_is_the_error_that_is_told(data, tmp_path, offset, code):
    data.mkdir()
    write_cycle(data / '25degC/1_UDDS_processed.csv', -offset)
    picture, numbers = tmp_path / 'a.png', tmp_path / 'a.json'
    words = ['--data', 'lab', '--plot', str(picture), '--json', str(numbers)]
    assert cellfit.main(words) == code
    (cycle,) = json.loads(numbers.read_text())['cycles']
    assert cycle['mean_mV'] == pytest.approx(1e3 * offset, abs=1.0)
    assert cycle['rms_mV'] == pytest.approx(1e3 * offset, abs=1.0)
    slope = 0.8  # V per unit of SOC, roughly, above 75 % SOC
    assert cycle['slow_error_soc_percent'] == pytest.approx(100 * offset / slope, rel=0.4, abs=0.2)
    assert picture.stat().st_size > 1000


def test_no_data_is_said(data, capsys):
    assert cellfit.main(['--data', 'lab']) == 2
    assert 'DBMS_DATA' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('row', 'said'), [('1,nan,0,25,0', 'line 3'), ('1,3.6,inf,25,0', 'line 3'), (None, 'Current')]
)
def test_a_bad_file_is_refused_with_its_place(data, row, said):
    path = data / 'n10degC/2_LA92.csv'
    path.parent.mkdir(parents=True)
    header = HEADER if row else HEADER.replace('Current', 'Curent')
    path.write_text(f'{header}\n0,3.6,0,25,0\n{row or ""}\n')
    with pytest.raises(ValueError, match=said):
        cellfit.read(path)


def test_directories_are_named_after_temperatures(data):
    assert cellfit.ambient(data / 'n10degC/x.csv') == -10.0
