# SPDX-License-Identifier: Apache-2.0
"""The fixtures for tests of others, found by pytest without an import."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[3] / 'tests' / 'replay' / 'golden'
TEST = """
def test_it_trips(battery_replay):
    outcome = battery_replay('cell_overvoltage.mcap', pack='robot_13s')
    assert outcome.trips == ['CELL_OVERVOLTAGE m1:3']
    assert 2.4 < outcome.when('CELL_OVERVOLTAGE', 'm1:3') < 2.7
    assert outcome.value('charge_limit', at=4.5) == 0.0
    assert outcome.states[-1] == 'a CONNECTED'
    outcome.must_meet('{expect}')
"""


def test_a_replay_test_of_ten_lines_passes(battery_replay):
    outcome = battery_replay(GOLDEN / 'cell_overvoltage.mcap', until=3.0)
    assert outcome.trips == ['CELL_OVERVOLTAGE m1:3'] and outcome.states[-1] == 'a FAULTED'
    with pytest.raises(AssertionError, match='SHORT_CIRCUIT never came'):
        outcome.when('SHORT_CIRCUIT')


def test_a_csv_file_becomes_a_bag(battery_bag, battery_replay, tmp_path):
    rows = '\n'.join(f'{n / 10},0,{",".join(["3.7"] * 6)}' for n in range(30))
    names = ','.join(f'Cell {n}(V)' for n in range(1, 7))
    (tmp_path / 'm.csv').write_text(f'Time(s),Current(A),{names}\n{rows}\n')
    outcome = battery_replay(battery_bag(tmp_path / 'm.csv', 'leaf_module'))
    assert outcome.outcome.messages.total() > 20


def test_a_project_of_ones_own_needs_no_import_and_is_told_in_words(tmp_path):
    for name in ('cell_overvoltage.mcap', 'cell_overvoltage.yaml'):
        shutil.copy(GOLDEN / name, tmp_path)
    wrong = (tmp_path / 'cell_overvoltage.yaml').read_text('utf-8')
    first = wrong.index('level: MSL')
    (tmp_path / 'wrong.yaml').write_text(wrong[:first] + 'level: RSL' + wrong[first + 10 :])
    (tmp_path / 'test_right.py').write_text(TEST.format(expect='cell_overvoltage.yaml'))
    (tmp_path / 'test_wrong.py').write_text(TEST.format(expect='wrong.yaml'))
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert '1 failed, 1 passed' in done.stdout, done.stdout + done.stderr
    assert 'wrong.yaml: not as expected' in done.stdout
    assert 'UNEXPECTED' in done.stdout
