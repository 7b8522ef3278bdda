# SPDX-License-Identifier: Apache-2.0
"""The shipped scenarios on the real graph, and what the command says of bad ones."""

import json
import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, '-m', 'dbms_bringup.cli', 'scenario']
# One of each sort: a limit, a loss with a way back, several strings.
REPRESENTATIVE = ['cell_overvoltage', 'module_silent', 'marine_one_string_lost']


def scenario(*arguments, timeout):
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, check=False,
        env={**os.environ, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'},
    )  # fmt: skip


def test_representative_scenarios_end_as_expected(tmp_path):
    done = scenario(*REPRESENTATIVE, '--jobs', 2, '--out', tmp_path, '--no-pictures', timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'{len(REPRESENTATIVE)} of {len(REPRESENTATIVE)} as expected' in done.stdout
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert [one['name'] for one in summary['scenarios']] == sorted(REPRESENTATIVE)
    for name in REPRESENTATIVE:
        assert (tmp_path / name / 'samples.csv').read_text().count('\n') > 20


def test_an_expectation_that_does_not_come_true_fails_the_run(tmp_path):
    file = tmp_path / 'never.yaml'
    file.write_text(
        'purpose: It expects what will not be\npack: robot_13s\nduration: 2\ntimeline:\n'
        '  - {at: 0.5, expect: [{fault: SHORT_CIRCUIT}, {state: CONNECTED}], within: 0.5}\n'
    )
    done = scenario(file, '--out', tmp_path, '--no-pictures', timeout=100)
    assert done.returncode == 1
    assert 'FAIL  never' in done.stdout and 'faults: none' in done.stdout
    assert 'never.yaml:5' in done.stdout and 'failed: never' in done.stdout
    told = json.loads((tmp_path / 'never' / 'verdicts.json').read_text())
    assert sorted(one['passed'] for one in told['verdicts']) == [False, True]


def test_a_control_run_leaves_the_faults_out_and_finds_who_does_not_look(tmp_path):
    file = tmp_path / 'blind.yaml'
    file.write_text(
        'purpose: It does not look\npack: robot_13s\nload: constant:-20\nduration: 2\ntimeline:\n'
        '  - {at: 0.5, inject: busbar_loose}\nalways:\n  - contactors: connected\n'
    )
    done = scenario(
        file, 'insulation_low', 'robot_drive', '--control', '--out', tmp_path, '--no-pictures',
        timeout=110,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'failed: blind\n' in done.stdout and 'they are not seen' in done.stdout
    assert 'pass  insulation_low' in done.stdout and 'robot_drive' not in done.stdout


def test_a_bad_file_is_refused_before_anything_runs(tmp_path):
    file = tmp_path / 'bad.yaml'
    file.write_text(
        'purpose: x\npack: robot_13s\nduration: 2\n'
        'always:\n  - {cell_voltage: {below: 4}, place: m1:8}\n'
    )
    done = scenario('module_silent', file, timeout=60)
    assert done.returncode == 2
    assert "bad.yaml:5: always[0].place: 'm1:8'; cells m1:1 to m1:7" in done.stderr
    assert not done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_set_ends_as_expected_in_ten_minutes(tmp_path):
    done = scenario('--jobs', 2, '--out', tmp_path, '--no-pictures', timeout=850)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / 'summary.json').read_text())['seconds'] < 600
