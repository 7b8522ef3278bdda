# SPDX-License-Identifier: Apache-2.0
"""Puts the parts together: what has to be done before a command can run, and doing it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import toolchain, wheels, workspace
from .environ import compose
from .errors import BootstrapError
from .interpreters import PREFERENCE, Interpreter, Rejected, choose, probe
from .layout import Layout, read_stamp
from .lock import exclusive
from .process import Runner, interrupt_on_termination
from .progress import Progress
from .ros import SOURCE_ROS, Ros, detect, probe_rclpy
from .venv import Environment

Step = tuple[str, Callable[[Runner], None]]


@dataclass(frozen=True)
class Wanted:
    """How much has to be there."""

    dev: bool = False
    build: bool = True


class Setup:
    """The environment and workspace of one checkout, brought up to date on demand."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.user_environ = environ
        self.ros = detect(environ, _remembering_probe)
        self.layout = Layout.find(environ, self.ros.flavour)
        self.environment = Environment(self.layout, self.ros, environ)

    def environ(self) -> dict[str, str]:
        """Return what children run with."""
        return compose(self.layout, self.ros, self.user_environ)

    def ensure(self, wanted: Wanted) -> None:
        """Bring everything up to date; says nothing when there is nothing to do."""
        if self._is_ready(wanted):
            return
        progress = Progress(environ=self.user_environ)
        interrupt_on_termination()
        with exclusive(self.layout.lock, progress) as held:
            steps = self._steps(wanted)  # planned under the lock: another run may have done it
            progress.total = len(steps)
            runner = Runner(self.layout.log, progress, (held,))
            for title, work in steps:
                with progress.step(title):
                    work(runner)

    def _is_ready(self, wanted: Wanted) -> bool:
        if not self.environment.has('base') or (wanted.dev and not self.environment.has('dev')):
            return False
        return not wanted.build or workspace.is_built(self.layout, self.environment_key())

    def environment_key(self) -> str:
        return str(read_stamp(self.layout.stamp('base')).get('key', ''))

    def _steps(self, wanted: Wanted) -> list[Step]:
        steps: list[Step] = []
        environment = self.environment
        made = environment.is_made()
        base = made and environment.has('base')
        if not base:
            steps += self._base_steps(made)
        if wanted.dev and not (base and environment.has('dev')):
            steps.append(
                ('Install the test tools', lambda run: environment.install('dev', (), run))
            )
        fresh = base and workspace.is_built(self.layout, self.environment_key())
        if wanted.build and not fresh:
            count = len(workspace.packages(self.layout))
            steps.append((f'Build {count} package{"s" if count != 1 else ""}', self._build))
        return steps

    def _base_steps(self, made: bool) -> list[Step]:
        problem = '' if self.ros.sourced else wheels.unsupported()
        if problem:
            raise BootstrapError(f'the ROS 2 wheels do not fit here: {problem}', SOURCE_ROS)
        installer = toolchain.find_installer()
        interpreter = find_interpreter(self.layout, self.ros, self.user_environ, installer)
        needs = toolchain.assess(interpreter, installer, self.user_environ)
        toolchain.require_fixable(needs, installer, interpreter)
        steps: list[Step] = []
        if needs.packages:
            title = f'Install {", ".join(needs.packages)} with apt-get'
            packages = needs.packages
            steps.append((title, lambda run: toolchain.install_packages(packages, installer, run)))
        if not made:
            title = f'Make a Python {interpreter.text} environment'
            steps.append((title, lambda run: self.environment.make(interpreter, run)))
        what = 'what is missing' if self.ros.sourced else 'ROS 2 Jazzy and the libraries'
        steps.append(
            (f'Install {what}', lambda run: self.environment.install('base', needs.wheels, run))
        )
        return steps

    def _build(self, runner: Runner) -> None:
        workspace.build(self.layout, self.environment_key(), self.environ(), runner)


def find_interpreter(
    layout: Layout, ros: Ros, environ: Mapping[str, str], installer: toolchain.Installer
) -> Interpreter:
    """Return the Python for the environment, or raise with all that was tried."""
    if ros.sourced:
        answer = probe(ros.python)
        if isinstance(answer, Rejected):
            raise BootstrapError(
                f'the Python of ROS 2 {ros.distro}, {ros.python}, {answer.reason}',
                'mend it, or set DBMS_ROS=wheels to do without this ROS 2',
            )
        return answer
    choice = choose(environ, layout.home, installer.possible)
    if choice.interpreter is None:
        tried = ''.join(f'\n  {one.path}: {one.reason}' for one in choice.rejected)
        raise BootstrapError(
            f'{choice.reason}; tried:{tried or " nothing, none is on PATH"}',
            f'install Python {PREFERENCE[0]} (on Debian or Ubuntu: sudo apt-get install -y '
            'python3 python3-dev python3-venv), or name one with DBMS_PYTHON=/path/to/python3.12',
        )
    return choice.interpreter


def _remembering_probe(environ: Mapping[str, str]) -> tuple[str, str]:
    """Ask the sourced ROS 2 only when it is not the one an environment was made for."""
    layout = Layout.find(environ, environ.get('ROS_DISTRO', ''))
    stamp = read_stamp(layout.stamp('venv'))
    if stamp.get('skeleton', {}).get('ament') == environ.get('AMENT_PREFIX_PATH'):
        python = str(stamp.get('known_as', [''])[0])
        if os.access(python, os.X_OK):
            return python, ''
    return probe_rclpy(environ)
