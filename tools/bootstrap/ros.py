# SPDX-License-Identifier: Apache-2.0
"""Which ROS 2 to use: the one the user has sourced, or the wheels."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# Set in every environment we make: a sourced-looking ROS in it is our own, not the user's.
OWN_MARK = 'DBMS_ENVIRONMENT'
WHEELS_DISTRO = 'jazzy'
SOURCE_ROS = (
    'install ROS 2 (Humble, Jazzy or later), source its setup file '
    '(. /opt/ros/jazzy/setup.bash) and run the same command again'
)

_PROBE = (
    'import json, sys, rclpy; '
    'own = getattr(sys, "_base_executable", sys.executable); '
    'print(json.dumps([own, list(sys.version_info[:3])]))'
)


@dataclass(frozen=True)
class Ros:
    """The ROS 2 in use. `python` is the interpreter that a sourced one belongs to."""

    sourced: bool
    distro: str
    reason: str
    python: str = ''

    @property
    def flavour(self) -> str:
        """The name that keeps environments for different ROS 2 installations apart."""
        return self.distro if self.sourced else ''


def probe_rclpy(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the Python that imports the sourced rclpy and no error, or no Python and why."""
    python = shutil.which('python3', path=environ.get('PATH'))
    if not python:
        return '', 'there is no python3 on PATH'
    try:
        done = subprocess.run(
            [python, '-c', _PROBE],
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        executable, version = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = error if isinstance(error, OSError) else 'import rclpy fails in it'
        return '', f'{python}: {why}'
    if tuple(version) < (3, 10):
        return '', f'{python}: Python {version[0]}.{version[1]} is older than 3.10'
    return executable, ''


def detect(
    environ: Mapping[str, str],
    probe: Callable[[Mapping[str, str]], tuple[str, str]] = probe_rclpy,
) -> Ros:
    """Decide between the sourced ROS 2 and the wheels, and say why."""
    if environ.get(OWN_MARK):
        return Ros(False, WHEELS_DISTRO, 'inside an environment of ./dbms')
    distro = environ.get('ROS_DISTRO', '')
    if not distro or not environ.get('AMENT_PREFIX_PATH'):
        return Ros(False, WHEELS_DISTRO, 'no ROS 2 is sourced')
    if environ.get('DBMS_ROS') == 'wheels':
        return Ros(False, WHEELS_DISTRO, 'DBMS_ROS=wheels')
    python, problem = probe(environ)
    if not python:
        return Ros(False, WHEELS_DISTRO, f'ROS 2 {distro} is sourced but not usable: {problem}')
    return Ros(True, distro, f'ROS 2 {distro} is sourced', python)
