# SPDX-License-Identifier: Apache-2.0
"""Field data with columns of its own becomes a bag."""

import os
from pathlib import Path

import numpy as np
import pytest

from dbms_pack import load_pack, paths
from dbms_replay.bags import Bag
from dbms_replay.convert_cli import main
from dbms_replay.decoding import CELLS, unpack_cells, unpack_string
from dbms_replay.field_csv import FieldError, read_layout, rewrite

DATA = Path(os.environ.get('DBMS_DATA', Path(__file__).parents[4] / 'shared' / 'data'))
CAR = DATA / 'ev_field' / 'car1_processed.zip'


def car(path, cells=6, rows=8):
    names = ['tboxTime', 'vehSpeed', 'BMSBatteryCurrent', 'BMSCellVoltageM']
    names += [f'V_{n + 1}' for n in range(cells)] + [f'T_{n + 1}' for n in range(3)]
    lines = [','.join(names)]
    for row in range(rows):
        voltages = [f'{3.9 - 0.01 * row:.3f}'] * cells
        if row == 5:
            voltages[2] = '66.5'  # what such a bus says when it does not know
        lines.append(','.join([f'2021-05-05 09:10:{row:02d}', '0', '30', '3.7', *voltages,
                               '25', '26', '']))  # fmt: skip
    path.write_text('\n'.join(lines) + '\n')
    return path


def test_names_signs_and_dates_are_translated(tmp_path):
    source = car(tmp_path / 'car.csv')
    layout = read_layout(paths.find('recordings', 'ev_field'))
    assert rewrite(source, tmp_path / 'out.csv', layout, 2, 4) == 4
    lines = (tmp_path / 'out.csv').read_text().splitlines()
    assert lines[0].startswith('Time(s),Current(A),Cell 1(V)') and lines[0].endswith('T3(C)')
    assert [line.split(',')[0] for line in lines[1:]] == ['0', '1', '2', '3']
    assert {line.split(',')[1] for line in lines[1:]} == {'-30.0'}


def test_a_sentinel_does_not_become_a_voltage(tmp_path):
    source, target = car(tmp_path / 'car.csv'), tmp_path / 'car.mcap'
    words = ['--columns', 'ev_field', '--pack', 'leaf_module', '-o', str(target)]
    assert main([str(source), *words]) == 0
    scans, currents = [], []
    for topic, _, data in Bag(target).messages():
        if topic.type == CELLS:
            scans.append(unpack_cells(data))
        else:
            currents.append(unpack_string(data).current)
    voltages = np.array([scan.voltages for scan in scans])
    assert np.nanmax(voltages) < 6.6
    assert np.nanmax(np.delete(voltages, 2, axis=1)) < 4.0
    assert np.isnan(np.array([scan.temperatures for scan in scans])[:, 2]).all()
    assert np.nanmin(currents) == pytest.approx(-30.0)


@pytest.mark.parametrize(
    ('text', 'word'),
    [
        ('time: t', 'keys are'),
        ('{time: t, current: i, positive: up, cells: V, temperatures: T}', 'charge or discharge'),
        ('{time: t, current: i, positive: charge, cells: "(", temperatures: T}', 'missing'),
    ],
)
def test_a_wrong_layout_is_refused(tmp_path, text, word):
    (tmp_path / 'a.yaml').write_text(text)
    with pytest.raises(FieldError, match=word):
        read_layout(tmp_path / 'a.yaml')


def test_a_file_without_the_columns_is_refused(tmp_path, capsys):
    (tmp_path / 'a.csv').write_text('a,b\n1,2\n')
    words = ['--columns', 'ev_field', '--pack', 'leaf_module', '-o', str(tmp_path / 'o.mcap')]
    assert main([str(tmp_path / 'a.csv'), *words]) == 2
    assert 'no column tboxTime' in capsys.readouterr().err


@pytest.mark.slow
def test_a_car_of_96_cells_becomes_a_bag(tmp_path):
    if not CAR.exists():
        pytest.skip(f'no measured data: {CAR}')
    text = load_pack('leaf_module').path.read_text()
    head, _, rest = text.partition('    modules:\n')
    limits = rest[rest.index('\nlimits:') :]
    modules = ''.join(
        f'      - {{name: m{n + 1}, bus: main, address: {n}, cells: 12, temperatures: 2, '
        'period: 0.1}\n'
        for n in range(8)
    )
    pack = tmp_path / 'car.yaml'
    pack.write_text(f'{head}    modules:\n{modules}{limits}')
    target = tmp_path / 'car.mcap'
    words = ['--columns', 'ev_field', '--rows', '500:60', '--pack', str(pack), '-o', str(target)]
    assert main([str(CAR), *words]) == 0
    topics = {topic.name for topic, _, _ in Bag(target).messages()}
    assert len(topics) == 9
