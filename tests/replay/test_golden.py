# SPDX-License-Identifier: Apache-2.0
"""The golden recordings: what was recorded once is judged today as it was then."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dbms_replay import expect
from dbms_replay.bags import Bag
from dbms_replay.replay import Replay

HERE = Path(__file__).parent / 'golden'
ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in HERE.glob('*.mcap'))


def differences(name, pack=None):
    outcome = Replay(Bag(HERE / f'{name}.mcap'), pack).run()
    return expect.compare(expect.load(HERE / f'{name}.yaml'), outcome), outcome


@pytest.mark.parametrize('name', NAMES)
def test_a_recorded_scenario_goes_as_it_went(name):
    found, outcome = differences(name)
    assert not found, '\n' + '\n'.join(map(str, found))
    # The first measurements of a start have no current yet; nothing else may be wrong.
    assert not set(+outcome.problems) - {'currents not measured'}, dict(+outcome.problems)


def test_every_recording_is_small_and_has_expectations():
    assert len(NAMES) >= 6
    for name in NAMES:
        assert (HERE / f'{name}.mcap').stat().st_size < 300_000
        assert (HERE / f'{name}.yaml').exists()


@pytest.mark.parametrize(
    ('name', 'file', 'pattern', 'replacement', 'words'),
    [
        ('deep_discharge', 'limits/nmc.yaml', r'(cell_undervoltage:.*?msl: \{at: )[\d.]+',
         r'\g<1>2.3', 'CELL_UNDERVOLTAGE MSL at m2:6'),
        ('cell_overvoltage', 'limits/nmc.yaml', r'(cell_overvoltage:.*?msl: .*?debounce: )[\d.]+',
         r'\g<1>2.0', 'CELL_OVERVOLTAGE MSL at m1:3'),
        ('module_silent', 'packs/robot_13s.yaml', r'(module_lost: \{timeout: )[\d.]+',
         r'\g<1>1.5', 'MODULE_LOST RSL at m2'),
    ],
)  # fmt: skip
def test_another_limit_is_noticed(tmp_path, monkeypatch, name, file, pattern, replacement, words):
    shutil.copytree(ROOT / 'config', tmp_path / 'config')
    _change(tmp_path / 'config' / file, pattern, replacement)
    monkeypatch.setenv('DBMS_CONFIG', str(tmp_path / 'config'))
    found, _ = differences(name)
    assert any(words in str(one) for one in found), [str(one) for one in found]


def _change(path, pattern, replacement):
    """Change one place of a file."""
    text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.DOTALL)
    assert count == 1, f'{pattern} is not in {path}'
    path.write_text(text)


def mutated(tmp_path, name, package, file, pattern, replacement):
    """Replay with one line of a package's source changed; return what the command says."""
    copy = tmp_path / package
    shutil.copytree(ROOT / 'src' / package / package, copy)
    _change(copy / file, pattern, replacement)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    return subprocess.run(
        [sys.executable, '-m', 'dbms_replay.replay_cli', str(HERE / f'{name}.mcap'),
         '--expect', str(HERE / f'{name}.yaml')],
        env={**os.environ, 'PYTHONPATH': path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'package', 'file', 'pattern', 'replacement', 'words'),
    [
        ('contactor_welded', 'dbms_protection', 'contactors.py',
         r'allowed = self\._unit\.feedback_timeout', 'allowed = 10.0', ('MISSING',)),
        ('robot_drive', 'dbms_estimation', 'filter_options.py',
         r'start_voltage_error: float = [\d.e-]+', 'start_voltage_error: float = 2.0', ('VALUE',)),
    ],
)  # fmt: skip
def test_a_changed_line_of_the_code_is_noticed(
    tmp_path, name, package, file, pattern, replacement, words
):
    done = mutated(tmp_path, name, package, file, pattern, replacement)
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'not as expected' in done.stdout and any(word in done.stdout for word in words)
