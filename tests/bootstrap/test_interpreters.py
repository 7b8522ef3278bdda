# SPDX-License-Identifier: Apache-2.0
import stat
import sys
from pathlib import Path

import pytest

from bootstrap import interpreters
from bootstrap.errors import BootstrapError
from bootstrap.interpreters import Interpreter, Rejected, choose, probe


def python(minor: int, path: str = '', headers: bool = True, venv: bool = True) -> Interpreter:
    path = path or f'/opt/p/python3.{minor}'
    return Interpreter(path, (3, minor, 1), '/include', headers, venv)


def choice_of(*known: Interpreter | Rejected, can_install: bool = False, **environ: str):
    table = {one.path: one for one in known}
    return choose(environ, Path('/home/.dbms'), can_install, ask=table.__getitem__, paths=table)


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_preferred_version_wins_whatever_the_order_found():
    assert choice_of(python(13), python(10), python(12), python(11)).interpreter == python(12)


def test_a_complete_one_beats_a_preferred_one_without_headers():
    choice = choice_of(python(12, headers=False), python(10))
    assert choice.interpreter == python(10)
    assert 'lacks its headers' in choice.rejected[0].reason


def test_headers_that_apt_can_install_count_as_there():
    debian = python(12, '/usr/bin/python3.12', headers=False)
    assert choice_of(debian, python(10), can_install=True).interpreter == debian
    assert choice_of(debian, python(10), can_install=False).interpreter == python(10)
    assert debian.packages == ('python3.12-dev',)


def test_apt_cannot_complete_what_is_not_debians():
    assert python(12, '/opt/p/python3.12', headers=False).packages == ()


def test_unfit_versions_are_named():
    choice = choice_of(python(9), python(14), Rejected('/shim', 'fails when run: not found'))
    assert choice.interpreter is None
    reasons = ' '.join(one.reason for one in choice.rejected)
    assert '3.9.1' in reasons and '3.14.1' in reasons and 'fails when run' in reasons


def test_the_users_word_is_final():
    named = python(10, '/opt/mine')
    assert choice_of(named, python(12), DBMS_PYTHON='/opt/mine').interpreter == named


@pytest.mark.parametrize(
    'answer', [Rejected('/opt/mine', 'fails when run: x'), python(9, '/opt/mine')]
)
def test_an_unusable_override_is_an_error_with_a_remedy(answer):
    with pytest.raises(BootstrapError, match='DBMS_PYTHON=/opt/mine') as caught:
        choice_of(answer, python(12), DBMS_PYTHON='/opt/mine')
    assert 'unset it' in caught.value.remedy


def test_a_shim_that_fails_is_rejected_with_what_it_says(tmp_path):
    answer = probe(script(tmp_path / 'python3.12', 'echo "pyenv: not found" >&2; exit 127'))
    assert isinstance(answer, Rejected) and 'pyenv: not found' in answer.reason


def test_something_that_is_no_python_is_rejected(tmp_path):
    assert isinstance(probe(script(tmp_path / 'python3', 'echo hello')), Rejected)
    assert isinstance(probe(str(tmp_path / 'missing')), Rejected)


def test_this_python_passes_the_probe():
    answer = probe(sys.executable)
    assert isinstance(answer, Interpreter)
    assert answer.version == sys.version_info[:3]


def test_candidates_include_version_managers_and_exclude_our_own(tmp_path):
    home = tmp_path / 'repo' / '.dbms'
    own = script(home / 'venv' / 'bin' / 'python3', '')
    on_path = script(tmp_path / 'bin' / 'python3', '')
    old = script(tmp_path / 'pyenv/versions/3.12.9/bin/python3.12', '')
    new = script(tmp_path / 'pyenv/versions/3.12.10/bin/python3.12', '')
    environ = {
        'PATH': f'{home}/venv/bin:{tmp_path}/bin',
        'PYENV_ROOT': str(tmp_path / 'pyenv'),
    }
    found = interpreters.candidates(environ, home)
    assert own not in found and on_path in found
    assert found.index(new) < found.index(old)
