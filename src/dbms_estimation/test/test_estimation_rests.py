# SPDX-License-Identifier: Apache-2.0
"""An OCV from the rests of a pulse test without a counter and without a header."""

import numpy as np
import pytest

from dbms_estimation.identification.circuit import filtered
from dbms_estimation.identification.laboratory import (
    LaboratoryError,
    read_layout,
    read_measurement,
)
from dbms_estimation.identification.ocv import from_rests

CAPACITY = 30.0
LAYOUT = """
columns: {time: t, current: i, voltage: v}
also: [{columns: {time: '#2', current: '#3', voltage: '#4'}}]
temperature_in_name: 'test-(n?)(\\d+)c'
from_full: true
ocv_from_rests: true
cell: {chemistry: LMO}
"""


def ocv(soc):
    return 3.4 + 0.7 * soc + 0.05 * np.tanh((soc - 0.55) / 0.05) - 0.3 * np.exp(-soc / 0.04)


def pulse_test(rests: int = 9):
    """Return time, current, voltage: charged to full, a rest, then parts of 10 % and rests."""
    current = [10.0] * 1080 + [0.01] * 360
    for _ in range(rests):
        current += [-10.0] * 108 + [0.0] * 360
    current += [-10.0] * (1080 - 108 * rests)
    current = np.array(current)
    soc = np.cumsum(current) * 10.0 / 3600.0 / CAPACITY
    slow = filtered(np.full(len(soc), 10.0), current[:, None], 200.0)[:, 0]
    return 10.0 * np.arange(len(soc)) + 10.0, current, ocv(soc) + 0.002 * current + 0.003 * slow


def written(folder, header: bool = True, rests: int = 9):
    path = folder / 'test-n10c.csv'
    rows = [f'No,{t:g},{i:g},{v:.5f}' for t, i, v in zip(*pulse_test(rests), strict=True)]
    path.write_text('\n'.join((['no,t,i,v'] if header else []) + rows) + '\n')
    (folder / 'layout.yaml').write_text(LAYOUT)
    return read_measurement(path, read_layout(folder / 'layout.yaml'))


@pytest.mark.parametrize('header', [True, False])
def test_a_file_without_counter_or_header_counts_from_full(tmp_path, header):
    m = written(tmp_path, header)
    assert m.begins == 1.0
    assert m.charge[-1] == pytest.approx(-CAPACITY, rel=0.002)
    assert m.charge.max() < 0.05
    assert m.temperature[0] == -10.0
    assert m.time[0] == pytest.approx(10800.0, abs=60.0)  # the charge is left out, the rest is not


def test_the_ocv_is_found_from_rests(tmp_path):
    found = from_rests(written(tmp_path))
    assert found.capacity == pytest.approx(CAPACITY, rel=0.002)
    here = found.soc > 0.1
    assert np.abs(found.voltage - ocv(found.soc))[here].max() < 0.008
    assert found.voltage[-1] == pytest.approx(ocv(1.0), abs=0.003)
    assert (np.diff(found.voltage) > 0).all() and not found.gap.any()


def test_too_few_rests_are_refused(tmp_path):
    with pytest.raises(LaboratoryError, match='3 rests'):
        from_rests(written(tmp_path, rests=3))


@pytest.mark.filterwarnings('ignore')
def test_a_row_that_is_too_short_is_refused_and_named(tmp_path):
    (tmp_path / 'test-10c.csv').write_text('No,1\n' * 20)
    (tmp_path / 'layout.yaml').write_text(LAYOUT)
    with pytest.raises(LaboratoryError, match='test-10c.csv'):
        read_measurement(tmp_path / 'test-10c.csv', read_layout(tmp_path / 'layout.yaml'))
