# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

pytest.importorskip('filterpy')

from bench import estimator  # noqa: E402

from dbms_pack import load_cell  # noqa: E402


def test_all_numbers_are_told_and_written(tmp_path, capsys):
    path = tmp_path / 'estimator.json'
    code = estimator.main(['--cells', '5', '20', '--seconds', '0.01', '--json', str(path)])
    result = json.loads(path.read_text())
    assert code == (1 if result['missed'] else 0)
    for found in result['cells'].values():
        assert found['filterpy_per_filter'] == pytest.approx(found['filterpy'] / found['filter'])
        assert all(value > 0 for value in found['tick_us'].values())
    assert 'filterpy / filter' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['lg_hg2', 'a123_m1a', 'ncr18650pf', 'lfp_280ah'])
def test_the_compiled_loop_gives_the_numbers_of_the_filter(name):
    pytest.importorskip('numba')
    from bench.estimator_numba import FusedFilter

    given = estimator.Given(load_cell(name), 40)
    filter_ = given.filter()
    twin = FusedFilter(filter_, given.tables, given.cell.capacity)
    for _ in range(200):
        charge, current, voltage, temperature = given.readings()
        filter_.step(given.dt, charge, np.zeros(40), voltage, current, temperature)
        twin.step(given.dt, charge, voltage, current, temperature)
    upper = np.triu_indices(6)
    assert np.allclose(twin.state.T, filter_.state, rtol=1e-7, atol=1e-10)
    found = np.moveaxis(twin.covariance, 0, 2)[upper]
    assert np.allclose(found, filter_.covariance[upper], rtol=1e-6, atol=1e-12)
    assert np.isfinite(filter_.innovation).all() and np.abs(filter_.soc - given.soc).max() > 0


@pytest.mark.parametrize('words', [['--cells', '0'], ['--seconds', '0']])
def test_wrong_numbers_are_refused(words):
    with pytest.raises(SystemExit) as error:
        estimator.main(words)
    assert error.value.code == 2
