# SPDX-License-Identifier: Apache-2.0
"""The cell files shipped are what the commands in docs/estimation.md make of the measurements."""

import re
import shlex
import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from dbms_estimation import identify_cli
from dbms_pack import load_cell

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / 'shared' / 'data'  # as the commands have it
CLOSE = {'rtol': 2e-3, 'atol': 2e-5}  # libraries of linear algebra differ


def commands() -> dict[str, str]:
    """Return the printed commands by cell, each with the line before it that sets D."""
    text = (ROOT / 'docs' / 'estimation.md').read_text(encoding='utf-8')
    text = text.replace('\\\n', ' ')
    printed = r'^(D=\S+)\n(\./dbms identify --cell (\w+) .*)$'
    return {cell: f'{d}\n{line}' for d, line, cell in re.findall(printed, text, re.M)}


def words_of(command: str) -> list[str]:
    """Return the words of a command as bash hands them to `./dbms identify`."""
    where, line = command.splitlines()
    line = line.removeprefix('./dbms identify ')
    script = f'{where}; for word in {line}; do printf "%s\\n" "$word"; done'
    out = subprocess.run(['bash', '-c', script], cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 0 and not out.stderr
    return out.stdout.splitlines()


def test_there_is_a_command_for_each_cell_that_identify_made():
    made = {
        path.stem
        for path in (ROOT / 'config' / 'cells').glob('*.yaml')
        if 'Made by ./dbms identify' in path.read_text(encoding='utf-8')
    }
    assert made == set(commands())
    for cell, command in commands().items():
        words = shlex.split(command.splitlines()[1])
        assert words[words.index('-o') + 1] == f'config/cells/{cell}.yaml'
        assert words.count('-o') == 1


slow = pytest.mark.slow


@pytest.mark.parametrize(
    'cell',
    [
        'tbsi_lfp',
        'leaf',
        pytest.param('a123_m1a', marks=slow),
        pytest.param('ncr18650pf', marks=[slow, pytest.mark.timeout(600)]),
        pytest.param('lg_hg2', marks=[slow, pytest.mark.timeout(600)]),
    ],
)
def test_a_shipped_cell_file_is_what_its_command_makes(cell, tmp_path, monkeypatch):
    words = words_of(commands()[cell])
    if not DATA.is_dir():
        pytest.skip(f'no measured data at {DATA}')
    monkeypatch.chdir(ROOT)
    made = tmp_path / f'{cell}.yaml'
    words[words.index('-o') + 1] = str(made)
    assert identify_cli.main(words) == 0
    again, shipped = load_cell(made), load_cell(ROOT / 'config' / 'cells' / f'{cell}.yaml')
    for field in (field for field in fields(shipped) if field.name != 'path'):
        ours, theirs = getattr(again, field.name), getattr(shipped, field.name)
        if isinstance(theirs, np.ndarray):
            np.testing.assert_allclose(ours, theirs, err_msg=field.name, **CLOSE)
        elif isinstance(theirs, tuple):
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(one, other, err_msg=field.name, **CLOSE)
        else:
            assert ours == theirs, field.name
