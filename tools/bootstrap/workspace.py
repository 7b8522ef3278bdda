# SPDX-License-Identifier: Apache-2.0
"""Builds src/ with colcon, when and only when something that gets installed has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from .errors import BootstrapError
from .layout import Layout, read_stamp, write_stamp
from .process import Runner, StepFailed

# Older kernels cut the line after 127 characters.
_LONGEST_FIRST_LINE = 127

# Installed from the top level by dbms_bringup, so they count as its sources.
_SHARED = ('launch', 'config')
_SKIPPED = {'__pycache__', 'test', 'tests', '.git', '.mypy_cache', '.pytest_cache', '.ruff_cache'}


def packages(layout: Layout) -> list[str]:
    """Return the names of the packages below src/."""
    return sorted(path.parent.name for path in layout.root.glob('src/*/package.xml'))


def _files(top: Path) -> Iterator[Path]:
    for directory, subdirectories, names in os.walk(top):
        subdirectories[:] = sorted(
            name for name in subdirectories if name not in _SKIPPED and name[-9:] != '.egg-info'
        )
        yield from (
            Path(directory, name)
            for name in sorted(names)
            if not name.endswith(('.pyc', '~', '.swp', '.swo'))
        )


def fingerprint(layout: Layout) -> str:
    """Return a hash over all that a build depends on.

    Python modules count by name only: they are installed as symbolic links, so an edit works
    at once, while a new or removed one has to be linked or unlinked.
    """
    digest = hashlib.sha256()
    for top in ('src', *_SHARED):
        for path in _files(layout.root / top):
            digest.update(b'\0' + str(path.relative_to(layout.root)).encode(errors='replace'))
            if path.suffix == '.py' and path.name != 'setup.py' and top == 'src':
                continue
            try:
                content = path.read_bytes()
            except OSError:  # a dangling link, or gone since it was listed
                content = b''
            digest.update(b'\0' + hashlib.sha256(content).digest())
    return digest.hexdigest()


def _key(layout: Layout, environment_key: str) -> dict[str, object]:
    return {
        'sources': fingerprint(layout),
        'environment': environment_key,
        'location': str(layout.home),
        'root': str(layout.root),
    }


def is_built(layout: Layout, environment_key: str) -> bool:
    """Say whether the installed workspace is what the sources say now."""
    stamp = read_stamp(layout.stamp('build'))
    stamp.pop('packages', None)
    return stamp == _key(layout, environment_key)


def build(
    layout: Layout, environment_key: str, environ: Mapping[str, str], runner: Runner
) -> None:
    """Build and install every package."""
    names = packages(layout)
    if not names:
        raise BootstrapError(
            f'{layout.root / "src"}: no packages found',
            'is this checkout complete? try: git status',
        )
    key = _key(layout, environment_key)  # before the build: an edit during it makes it stale
    _drop_stale(layout, key, names)
    command: list[str | Path] = [
        layout.python,
        '-m',
        'colcon',
        '--log-base',
        layout.log / 'colcon',
    ]
    command += ['build', '--base-paths', layout.root / 'src', '--build-base', layout.build]
    command += ['--install-base', layout.install, '--merge-install', '--symlink-install']
    command += [
        '--event-handlers',
        'console_cohesion+',
        'console_direct-',
        'desktop_notification-',
    ]
    command += ['--cmake-args', f'-DPython3_EXECUTABLE={layout.python}', '-DBUILD_TESTING=OFF']
    command += ['-DCMAKE_BUILD_TYPE=Release', '--no-warn-unused-cli']
    layout.home.mkdir(parents=True, exist_ok=True)
    try:
        runner.run('build', command, build_environ(layout, environ), cwd=layout.home)
    except StepFailed as error:
        error.message = f'the workspace does not build ({error.message})'
        error.remedy = 'mend what the log names; ./dbms build --clean starts from nothing'
        raise
    mend_scripts(layout)
    write_stamp(layout.stamp('build'), {**key, 'packages': names})


def mend_scripts(layout: Layout) -> int:
    """Make installed scripts start where the kernel cannot follow their first line.

    It takes neither blanks nor great length in the path of an interpreter.
    """
    mended = 0
    for path in layout.install.glob('lib/*/*'):
        if not path.is_file() or path.suffix == '.so':
            continue
        with path.open('rb') as file:
            first = file.readline(4096).decode(errors='replace').rstrip()
        interpreter = first[2:].strip().strip('"')
        if first[:2] != '#!' or interpreter != str(layout.python):
            continue
        if ' ' not in interpreter and len(first) <= _LONGEST_FIRST_LINE:
            continue
        rest = path.read_text(encoding='utf-8').split('\n', 1)[1]
        # A shell reads the second line as exec, Python all four as a comment and a string.
        start = f"#!/bin/sh\n'''exec' \"{interpreter}\" \"$0\" \"$@\"\n' '''\n"
        path.write_text(start + rest, encoding='utf-8')
        mended += 1
    return mended


def _drop_stale(layout: Layout, key: Mapping[str, object], names: list[str]) -> None:
    """Remove what an incremental build would carry on from wrongly."""
    old = read_stamp(layout.stamp('build'))
    moved = any(old.get(part) != key[part] for part in ('environment', 'location', 'root'))
    gone = set(old.get('packages', [])) - set(names)
    if old and (moved or gone):
        clean(layout)
    elif not old and not _same_place(layout):
        clean(layout)
    # Without its stamp an install is unfinished: a build cut short is seen as one.
    layout.stamp('build').unlink(missing_ok=True)
    layout.build.mkdir(parents=True, exist_ok=True)
    (layout.build / '.location').write_text(_place(layout), encoding='utf-8')


def _place(layout: Layout) -> str:
    return f'{layout.root}\n{layout.home}\n'


def _same_place(layout: Layout) -> bool:
    """Say whether an unfinished build was begun here: CMake refuses a cache that was moved."""
    try:
        return (layout.build / '.location').read_text(encoding='utf-8') == _place(layout)
    except OSError:
        return not layout.build.exists()


def build_environ(layout: Layout, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for colcon: one that does not see the install it is writing."""
    result = dict(environ)
    own = (str(layout.install), str(layout.build))
    for name in ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'PYTHONPATH', 'LD_LIBRARY_PATH'):
        parts = [
            part
            for part in result.get(name, '').split(os.pathsep)
            if part and not part.startswith(own)
        ]
        result[name] = os.pathsep.join(parts)
        if not parts:
            del result[name]
    if not any(shutil.which(name, path=result.get('PATH')) for name in ('make', 'gmake')):
        result.setdefault('CMAKE_GENERATOR', 'Ninja')
    # Deprecation notices of setuptools are about how colcon works, not about this workspace.
    result.setdefault('PYTHONWARNINGS', 'ignore:::setuptools')
    result.pop('COLCON_DEFAULTS_FILE', None)
    return result


def clean(layout: Layout) -> None:
    """Remove what was built; the stamp is in there, and goes first by renaming the whole."""
    for directory in (layout.install, layout.build):
        if directory.exists():
            doomed = directory.with_name(directory.name + '.old')
            shutil.rmtree(doomed, ignore_errors=True)
            directory.rename(doomed)
            shutil.rmtree(doomed)
