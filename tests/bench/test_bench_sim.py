# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from bench import sim


def test_all_rows_are_told_and_written(tmp_path, capsys):
    path = tmp_path / 'sim.json'
    words = ['--cells', '64', '--steps', '5', '--aim', '0', '--json', str(path)]
    assert sim.main(words) == 0
    result = json.loads(path.read_text())
    assert result['machine']['cores'] >= 1
    assert set(result['step_us']) == set(result['times_real_time'])
    for name, step in result['step_us'].items():
        assert result['times_real_time'][name] == pytest.approx(0.1e6 / step)
    # SOC, voltages, temperature and the like are 8 bytes each.
    assert 80 < result['bytes_per_cell']['cell model'] < 2000
    assert 'cell model' in capsys.readouterr().out


def test_a_missed_aim_is_an_error():
    assert sim.main(['--cells', '64', '--steps', '5', '--aim', '1e12']) == 1


@pytest.mark.parametrize('words', [['--cells', '17'], ['--dt', 'nan'], ['--steps', '0']])
def test_wrong_numbers_are_refused(words):
    with pytest.raises(SystemExit) as error:
        sim.main(words)
    assert error.value.code == 2
