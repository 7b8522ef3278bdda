# SPDX-License-Identifier: Apache-2.0
"""Finds the Python that the environment is made with, and proves it by running it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BootstrapError

# The wheels of ROS 2 Jazzy exist for these; 3.12 is what Jazzy itself is made for.
PREFERENCE = ('3.12', '3.11', '3.10', '3.13')

_PROBE = """
import importlib.util, json, os, sys, sysconfig
have = lambda name: importlib.util.find_spec(name) is not None
include = sysconfig.get_paths()['include']
# A program may ask for its own headers from inside an environment; these are the base's.
print(json.dumps({
    'executable': getattr(sys, '_base_executable', sys.executable),
    'version': list(sys.version_info[:3]),
    'include': include,
    'headers': os.path.exists(os.path.join(include, 'Python.h')),
    'venv': have('venv') and have('ensurepip'),
    'threads': sysconfig.get_config_var('Py_GIL_DISABLED') != 1,
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that runs, and what it lacks."""

    path: str
    version: tuple[int, int, int]
    include: str
    headers: bool
    venv: bool

    @property
    def minor(self) -> str:
        return f'{self.version[0]}.{self.version[1]}'

    @property
    def text(self) -> str:
        return '.'.join(str(part) for part in self.version)

    @property
    def missing(self) -> tuple[str, ...]:
        """What it needs to carry the environment and does not have."""
        parts = (('headers', self.headers), ('venv', self.venv))
        return tuple(name for name, there in parts if not there)

    @property
    def packages(self) -> tuple[str, ...]:
        """The Debian packages that would complete it; none if it is not Debian's own."""
        if not re.fullmatch(r'/usr/bin/python3(\.\d+)?', self.path):
            return ()
        names = {'headers': f'python{self.minor}-dev', 'venv': f'python{self.minor}-venv'}
        return tuple(names[part] for part in self.missing)


@dataclass(frozen=True)
class Rejected:
    """A candidate that is not used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """The Python to use (none if there is none), why, and what was turned down."""

    interpreter: Interpreter | None
    reason: str
    rejected: tuple[Rejected, ...] = field(default_factory=tuple)


Probe = Callable[[str], 'Interpreter | Rejected']


def probe(path: str) -> Interpreter | Rejected:
    """Run a candidate and ask it what it is."""
    try:
        done = subprocess.run(
            [path, '-I', '-c', _PROBE], capture_output=True, text=True, timeout=20, check=False
        )
    except subprocess.TimeoutExpired:
        return Rejected(path, 'does not answer within 20 s')
    except OSError as error:
        return Rejected(path, f'cannot be run: {error.strerror}')
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ['no message'])[0]
        return Rejected(path, f'fails when run: {last[:100]}')
    try:
        told = json.loads(done.stdout)
    except ValueError:
        return Rejected(path, 'does not answer like a Python')
    if not told['threads']:
        return Rejected(path, 'is a free-threaded build, for which there are no ROS 2 wheels')
    return Interpreter(
        path=os.path.realpath(told['executable'])
        if not told['executable'].startswith('/usr/bin/')
        else told['executable'],
        version=tuple(told['version']),
        include=told['include'],
        headers=told['headers'],
        venv=told['venv'],
    )


def candidates(environ: Mapping[str, str], home: Path) -> list[str]:
    """Return every command worth trying, best first, none from inside our own environment."""
    names = [f'python{minor}' for minor in PREFERENCE] + ['python3', 'python']
    found = [name for name in (_on_path(n, environ, home) for n in names) if name]
    found += [f'/usr/bin/python{minor}' for minor in PREFERENCE] + ['/usr/bin/python3']
    base = environ.get('PYENV_ROOT') or os.path.join(environ.get('HOME', '/nonexistent'), '.pyenv')
    for minor in PREFERENCE:
        # Among several patch releases the newest first; "3.12.10" is newer than "3.12.9".
        versions = sorted(Path(base, 'versions').glob(f'{minor}.*'), key=_release, reverse=True)
        found += [str(version / 'bin' / f'python{minor}') for version in versions]
    return [path for path in dict.fromkeys(found) if os.access(path, os.X_OK)]


def _release(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', path.name)]


def _on_path(name: str, environ: Mapping[str, str], home: Path) -> str:
    entries = environ.get('PATH', os.defpath).split(os.pathsep)
    outside = [entry for entry in entries if not Path(entry).is_relative_to(home)]
    return shutil.which(name, path=os.pathsep.join(outside)) or ''


def choose(
    environ: Mapping[str, str],
    home: Path,
    can_install: bool,
    accepted: Sequence[str] = PREFERENCE,
    ask: Probe = probe,
    paths: Iterable[str] | None = None,
) -> Choice:
    """Choose the interpreter: the user's own word first, then complete ones by preference."""
    override = environ.get('DBMS_PYTHON')
    if override:
        return _forced(override, ask)
    rejected: list[Rejected] = []
    usable: dict[str, Interpreter] = {}
    for path in candidates(environ, home) if paths is None else paths:
        answer = ask(path)
        if isinstance(answer, Rejected):
            rejected.append(answer)
        elif answer.minor not in accepted:
            rejected.append(Rejected(path, f'is Python {answer.text}; {_words(accepted)} fit'))
        else:
            usable.setdefault(answer.path, answer)
    ranked = sorted(usable.values(), key=lambda one: _rank(one, accepted, can_install))
    if not ranked:
        return Choice(None, f'no Python of {_words(accepted)} was found', tuple(rejected))
    best, *others = ranked
    rejected += [Rejected(one.path, _why_not(one, best)) for one in others]
    return Choice(best, _why(best, accepted, can_install), tuple(rejected))


def _forced(path: str, ask: Probe) -> Choice:
    found = path if os.sep in path else shutil.which(path) or path
    answer = ask(found)
    if isinstance(answer, Rejected):
        raise BootstrapError(
            f'DBMS_PYTHON={path} {answer.reason}',
            'set it to a working Python 3.10 to 3.13, or unset it to let ./dbms choose',
        )
    if answer.minor not in PREFERENCE:
        raise BootstrapError(
            f'DBMS_PYTHON={path} is Python {answer.text}; {_words(PREFERENCE)} fit',
            'set it to one of these, or unset it to let ./dbms choose',
        )
    return Choice(answer, 'set by DBMS_PYTHON')


def _rank(one: Interpreter, accepted: Sequence[str], can_install: bool) -> tuple[int, int, int]:
    if not one.missing:
        trouble = 0
    elif one.packages and can_install:
        trouble = 0 if accepted.index(one.minor) == 0 else 1
    else:
        trouble = 2 if one.packages else 3
    # Of equals the system's own is the one that stays when a version manager cleans up.
    return trouble, accepted.index(one.minor), 0 if one.path.startswith('/usr/bin/') else 1


def _why(one: Interpreter, accepted: Sequence[str], can_install: bool) -> str:
    if one.missing:
        lacks = ' and '.join(one.missing)
        how = 'apt-get can install' if one.packages and can_install else 'lacks'
        return f'the best there is; {how} its {lacks}'
    order = 'first' if accepted.index(one.minor) == 0 else 'best available'
    return f'complete, and {order} in the order {", ".join(accepted)}'


def _why_not(one: Interpreter, best: Interpreter) -> str:
    if one.missing:
        return f'Python {one.text} lacks its {" and ".join(one.missing)}'
    return f'Python {one.text} would do; {best.text} is preferred'


def _words(versions: Sequence[str]) -> str:
    return ', '.join(versions[:-1]) + f' or {versions[-1]}' if len(versions) > 1 else versions[0]
