# SPDX-License-Identifier: Apache-2.0
"""The commands that ./dbms itself knows. All others go to dbms_bringup."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from . import workspace
from .environ import export_lines
from .errors import BootstrapError
from .lock import exclusive
from .progress import Progress
from .setup import Setup, Wanted


def wanted_here(environ: Mapping[str, str], dev: bool = False) -> Wanted:
    """Return what a command needs; DBMS_NO_BUILD=1 takes the last build as it is."""
    return Wanted(dev=dev, build=environ.get('DBMS_NO_BUILD', '') in ('', '0'))


def build(arguments: Sequence[str]) -> int:
    """Set up and build; --clean removes the last build first."""
    unknown = [one for one in arguments if one != '--clean']
    if unknown:
        raise BootstrapError(
            f'build: unknown argument {unknown[0]}', 'usage: ./dbms build [--clean]', 2
        )
    setup = Setup()
    if '--clean' in arguments:
        with exclusive(setup.layout.lock, Progress()):
            workspace.clean(setup.layout)
    setup.ensure(Wanted())
    return 0


def clean(arguments: Sequence[str]) -> int:
    """Remove the build, with --all the environment too."""
    unknown = [one for one in arguments if one != '--all']
    if unknown:
        raise BootstrapError(
            f'clean: unknown argument {unknown[0]}', 'usage: ./dbms clean [--all]', 2
        )
    layout = Setup().layout
    if not layout.home.exists():
        return 0
    with exclusive(layout.lock, Progress()):
        workspace.clean(layout)
        shutil.rmtree(layout.log, ignore_errors=True)
        if '--all' in arguments and layout.venv.exists():
            shutil.rmtree(layout.venv)
    return 0


def test(arguments: Sequence[str]) -> int:
    """Run pytest over the workspace; arguments are pytest's, and --all adds the slow tests."""
    setup = Setup()
    setup.ensure(wanted_here(os.environ, dev=True))
    words = [one for one in arguments if one != '--all']
    if '--all' in arguments:
        words = ['-m', '', *words]  # overrides the "not slow" of pyproject.toml
    os.chdir(setup.layout.root)
    _replace([setup.layout.python, '-m', 'pytest', *words], setup.environ())


def lint(arguments: Sequence[str]) -> int:
    """Run the formatter's check, the linter and the type checker; all of them, always."""
    unknown = [one for one in arguments if one != '--fix']
    if unknown:
        raise BootstrapError(
            f'lint: unknown argument {unknown[0]}', 'usage: ./dbms lint [--fix]', 2
        )
    setup = Setup()
    # The type checker reads the generated message classes, hence the build.
    setup.ensure(wanted_here(os.environ, dev=True))
    fix = '--fix' in arguments
    python = setup.layout.python
    checks: list[list[str | Path]] = [
        [python, '-m', 'ruff', 'check', *(['--fix'] if fix else []), '.'],
        [python, '-m', 'ruff', 'format', *([] if fix else ['--check']), '.'],
        [python, '-m', 'mypy'],
    ]
    failed = []
    for command in checks:
        name = ' '.join(str(word) for word in command[2:4])
        print(f'-- {name}', flush=True)
        done = subprocess.run(
            [str(word) for word in command],
            cwd=setup.layout.root,
            env=setup.environ(),
            check=False,
        )
        if done.returncode:
            failed.append(name)
    if failed:
        print(f'dbms: failed: {", ".join(failed)}', file=sys.stderr)
    return 1 if failed else 0


def shell(arguments: Sequence[str]) -> int:
    """Start a shell in the environment."""
    setup = Setup()
    setup.ensure(wanted_here(os.environ))
    bash = shutil.which('bash') or '/bin/sh'
    _replace([bash, *arguments], setup.environ())


def python(arguments: Sequence[str]) -> int:
    """Run the environment's Python."""
    setup = Setup()
    setup.ensure(wanted_here(os.environ))
    _replace([setup.layout.python, *arguments], setup.environ())


def env(arguments: Sequence[str]) -> int:
    """Print shell lines that set the environment."""
    setup = Setup()
    setup.ensure(wanted_here(os.environ))
    print(export_lines(setup.environ()))
    return 0


def bringup(arguments: Sequence[str]) -> int:
    """Hand a command to the system's own command line."""
    setup = Setup()
    setup.ensure(wanted_here(os.environ))
    _replace([setup.layout.python, '-m', 'dbms_bringup.cli', *arguments], setup.environ())


def _replace(command: Sequence[str | Path], environ: Mapping[str, str]) -> NoReturn:
    """Become the command, so that signals and the exit code are its own."""
    words = [str(word) for word in command]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(words[0], words, dict(environ))
