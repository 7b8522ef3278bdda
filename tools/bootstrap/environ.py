# SPDX-License-Identifier: Apache-2.0
"""The variables that everything we start runs with."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from .layout import Layout
from .ros import OWN_MARK, Ros

# What `./dbms env` prints: all that compose() may set.
EXPORTED = (
    'AMENT_PREFIX_PATH',
    'CMAKE_PREFIX_PATH',
    'COLCON_PREFIX_PATH',
    'DBMS_ROOT',
    OWN_MARK,
    'LD_LIBRARY_PATH',
    'PATH',
    'PYTHONPATH',
    'PYTHONUNBUFFERED',
    'RCUTILS_COLORIZED_OUTPUT',
    'ROS_AUTOMATIC_DISCOVERY_RANGE',
    'ROS_DISTRO',
    'ROS_LOCALHOST_ONLY',
    'ROS_PYTHON_VERSION',
    'ROS_VERSION',
    'VIRTUAL_ENV',
    '_ROS_WHEELS_BOOTSTRAP_COMPLETE',
)


def site_packages(prefix: Path) -> Path:
    """Return the site-packages directory of a prefix, whichever Python it was made with."""
    found = sorted((prefix / 'lib').glob('python3*/site-packages'))
    return found[-1] if found else prefix / 'lib' / 'python3' / 'site-packages'


def develop_paths(install: Path) -> list[str]:
    """Return the source paths of packages installed by symbolic link.

    They are found through .egg-link files, which Python reads only in a site directory and
    ours is none, so PYTHONPATH has to name what they point to.
    """
    paths = []
    for link in sorted(site_packages(install).glob('*.egg-link')):
        lines = link.read_text(encoding='utf-8').splitlines()
        if lines and Path(lines[0]).is_dir():
            paths.append(lines[0])
    return paths


def compose(
    layout: Layout, ros: Ros, environ: Mapping[str, str], colour: bool | None = None
) -> dict[str, str]:
    """Return the environment for a child: the user's, with the workspace on top."""
    result = dict(environ)
    _forget(result, layout)
    if not ros.sourced:
        _add_wheels(result, layout, environ)
    _add_workspace(result, layout)
    result['PATH'] = _join([layout.venv / 'bin', *_parts(result, 'PATH')])
    result['VIRTUAL_ENV'] = str(layout.venv)
    result['DBMS_ROOT'] = str(layout.root)
    result[OWN_MARK] = str(layout.home)
    result['PYTHONUNBUFFERED'] = '1'
    result.pop('PYTHONHOME', None)
    _keep_local(result, ros)
    if 'RCUTILS_COLORIZED_OUTPUT' not in environ:
        if colour is None:
            colour = sys.stderr.isatty() and not environ.get('NO_COLOR')
        result['RCUTILS_COLORIZED_OUTPUT'] = '1' if colour else '0'
    return result


def _keep_local(result: dict[str, str], ros: Ros) -> None:
    """Keep a battery's commands off the network unless the user has asked for it."""
    if 'ROS_AUTOMATIC_DISCOVERY_RANGE' in result or 'ROS_LOCALHOST_ONLY' in result:
        return
    if ros.distro == 'humble':  # it knows only the older setting
        result['ROS_LOCALHOST_ONLY'] = '1'
    else:
        result['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


def _forget(result: dict[str, str], layout: Layout) -> None:
    """Drop what an outer `./dbms shell` of the same home has put in, so it is not put twice."""
    for name in (
        'AMENT_PREFIX_PATH',
        'CMAKE_PREFIX_PATH',
        'LD_LIBRARY_PATH',
        'PATH',
        'PYTHONPATH',
    ):
        if name in result:
            result[name] = _join(
                part for part in _parts(result, name) if not Path(part).is_relative_to(layout.home)
            )


def _add_wheels(result: dict[str, str], layout: Layout, environ: Mapping[str, str]) -> None:
    """Put the wheels' ROS 2 in place of any other: two of them in one process do not mix."""
    foreign = [Path(part) for part in _parts(environ, 'AMENT_PREFIX_PATH')]
    for name in ('PYTHONPATH', 'LD_LIBRARY_PATH', 'PATH'):
        result[name] = _join(
            part
            for part in _parts(result, name)
            if not any(Path(part).is_relative_to(prefix) for prefix in foreign)
        )
    result['AMENT_PREFIX_PATH'] = str(layout.venv)
    result['CMAKE_PREFIX_PATH'] = str(layout.venv)
    result.pop('COLCON_PREFIX_PATH', None)
    # Each wheel brings the shared libraries it was linked with in a directory of its own.
    bundled = sorted(site_packages(layout.venv).glob('ros_*.libs'))
    libraries: list[str | Path] = [
        layout.venv / 'lib',
        *bundled,
        *_parts(result, 'LD_LIBRARY_PATH'),
    ]
    result['LD_LIBRARY_PATH'] = _join(libraries)
    # The wheels would otherwise start every Python twice, to set the same path.
    result['_ROS_WHEELS_BOOTSTRAP_COMPLETE'] = '1'
    result.update(ROS_DISTRO='jazzy', ROS_VERSION='2', ROS_PYTHON_VERSION='3')


def _add_workspace(result: dict[str, str], layout: Layout) -> None:
    install = layout.install
    for name in ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH'):
        result[name] = _join([install, *_parts(result, name)])
    result['LD_LIBRARY_PATH'] = _join([install / 'lib', *_parts(result, 'LD_LIBRARY_PATH')])
    ours: list[str | Path] = [*develop_paths(install), site_packages(install)]
    result['PYTHONPATH'] = _join([*ours, *_parts(result, 'PYTHONPATH')])


def _parts(environ: Mapping[str, str], name: str) -> list[str]:
    return [part for part in environ.get(name, '').split(os.pathsep) if part]


def _join(parts: Iterable[str | Path]) -> str:
    return os.pathsep.join(dict.fromkeys(str(part) for part in parts))


def export_lines(composed: Mapping[str, str]) -> str:
    """Return shell lines that set the environment, to be given to eval."""
    names = [name for name in EXPORTED if composed.get(name)]
    return '\n'.join(f'export {name}={shlex.quote(composed[name])}' for name in names)
