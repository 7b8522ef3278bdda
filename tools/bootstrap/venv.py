# SPDX-License-Identifier: Apache-2.0
"""Makes and keeps the Python environment."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from . import requirements, wheels
from .environ import site_packages
from .errors import BootstrapError
from .interpreters import Interpreter
from .layout import Layout, read_stamp, write_stamp
from .process import Runner, StepFailed, tail
from .ros import SOURCE_ROS, Ros

_NETWORK_TROUBLE = re.compile(
    r'NewConnectionError|Temporary failure in name resolution|Name or service not known|'
    r'Network is unreachable|Connection (?:refused|reset)|timed out|ProxyError|SSLError|'
    r'Max retries exceeded|ReadTimeoutError|ConnectTimeoutError|No route to host'
)


class Environment:
    """The virtual environment of one home, and what is known to be in it."""

    def __init__(self, layout: Layout, ros: Ros, environ: Mapping[str, str]) -> None:
        self.layout = layout
        self.ros = ros
        self.environ = environ

    # What is there

    def is_made(self) -> bool:
        """Say whether the environment itself is whole, here, and of the Python asked for."""
        stamp = read_stamp(self.layout.stamp('venv'))
        if stamp.get('skeleton') != self._skeleton() or not self.layout.python.exists():
            return False
        wanted = self.environ.get('DBMS_PYTHON')
        if wanted and wanted not in stamp.get('known_as', []):
            return False
        # A package whose installation was cut short can neither be trusted nor removed.
        return not self._unfinished.exists()

    def has(self, group: str) -> bool:
        """Say whether a group of packages ('base' or 'dev') is installed as pinned now."""
        stamp = read_stamp(self.layout.stamp(group))
        return self.is_made() and stamp.get('key') == self._key(group)

    def python_version(self) -> str:
        return str(read_stamp(self.layout.stamp('venv')).get('version', ''))

    def _skeleton(self) -> dict[str, str]:
        # An environment holds absolute paths, so it is good only where it was made.
        return {
            'location': str(self.layout.venv),
            'machine': platform.machine(),
            'ros': self.ros.distro if self.ros.sourced else 'wheels',
            'ament': self.environ.get('AMENT_PREFIX_PATH', '') if self.ros.sourced else '',
        }

    @property
    def _unfinished(self) -> Path:
        return self.layout.venv / '.dbms-installing'

    def _files(self, group: str) -> list[Path]:
        names = ['dev'] if group == 'dev' else ['build', 'runtime']
        if group == 'base' and not self.ros.sourced:
            names.append('ros')
        return [self.layout.requirements(name) for name in names]

    def _key(self, group: str) -> str:
        digest = hashlib.sha256()
        for path in self._files(group):
            digest.update(path.read_bytes())
        digest.update(json.dumps([self.python_version(), wheels.REVISION]).encode())
        return digest.hexdigest()

    # Making it

    def make(self, interpreter: Interpreter, runner: Runner) -> None:
        """Make the environment anew."""
        venv = self.layout.venv
        if venv.exists():
            shutil.rmtree(venv)
        command: list[str | Path] = [interpreter.path, '-m', 'venv', venv]
        if self.ros.sourced:
            command.insert(3, '--system-site-packages')
        environ = {key: value for key, value in self.environ.items() if key != 'PYTHONHOME'}
        try:
            runner.run('venv', command, environ)
        except StepFailed as error:
            error.remedy = (
                f'check that {interpreter.path} can make environments '
                f'(on Debian or Ubuntu: sudo apt-get install -y python{interpreter.minor}-venv), '
                'or name another with DBMS_PYTHON=/path/to/python3.12'
            )
            raise
        known_as = [interpreter.path, self.environ.get('DBMS_PYTHON', '')]
        stamp = {
            'skeleton': self._skeleton(),
            'version': interpreter.text,
            'include': interpreter.include,
            'known_as': [name for name in known_as if name],
        }
        write_stamp(self.layout.stamp('venv'), stamp)

    def install(self, group: str, extra: tuple[str, ...], runner: Runner) -> None:
        """Install a group of packages, and `extra` names from the build tools' file."""
        key = self._key(group)
        pins = [one for path in self._files(group) for one in requirements.read(path)]
        if self.ros.sourced:
            pins = requirements.unmet(pins, self._installed())
        if extra:
            tools = requirements.read(self.layout.requirements('build-tools'))
            pins += [one for one in tools if one.name in extra]
        self._unfinished.touch()
        if pins:
            self._pip(group, [one.pin for one in pins], runner)
        if group == 'base' and not self.ros.sourced:
            self._localise()
        self._unfinished.unlink()
        write_stamp(self.layout.stamp(group), {'key': key, 'extra': list(extra)})

    def _pip(self, group: str, pins: list[str], runner: Runner) -> None:
        wanted = self.layout.log / f'{group}-requirements.txt'
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.write_text('\n'.join(pins) + '\n', encoding='utf-8')
        command: list[str | Path] = [self.layout.python, '-m', 'pip', 'install', '--no-input']
        command += ['--disable-pip-version-check', '--no-warn-script-location']
        command += ['--retries', '3', '--requirement', wanted]
        if self.ros.sourced:
            command += ['--constraint', self._keep_numpy()]
        try:
            runner.run(f'pip-{group}', command, self._pip_environ())
        except StepFailed as error:
            error.message = f'the Python packages do not install ({error.message})'
            error.remedy = _pip_remedy(tail(error.log, 200))
            raise

    def _pip_environ(self) -> dict[str, str]:
        # A user's settings for where pip installs must not lead it out of the environment.
        strays = ('PIP_TARGET', 'PIP_PREFIX', 'PIP_ROOT', 'PIP_USER', 'PYTHONHOME')
        result = {key: value for key, value in self.environ.items() if key not in strays}
        if not self.ros.sourced:
            result.pop('PYTHONPATH', None)
        result['_ROS_WHEELS_BOOTSTRAP_COMPLETE'] = '1'
        return result

    def _keep_numpy(self) -> Path:
        """Pin numpy to what the sourced ROS 2 was compiled against: a newer one breaks it."""
        version = self._installed().get('numpy', '')
        path = self.layout.log / 'constraints.txt'
        path.write_text(f'numpy=={version}\n' if version else '', encoding='utf-8')
        return path

    def _installed(self) -> dict[str, str]:
        code = (
            'import importlib.metadata as m, json; '
            'print(json.dumps([[d.metadata["Name"], d.version] for d in m.distributions()]))'
        )
        done = subprocess.run(
            [str(self.layout.python), '-c', code],
            env=self._pip_environ(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BootstrapError(
                f'{self.layout.python}: cannot list its packages: {done.stderr.strip()[-300:]}',
                'run ./dbms clean --all and try again',
            )
        found: dict[str, str] = {}
        for name, version in json.loads(done.stdout):
            # The first on the path is the one that gets imported.
            found.setdefault(requirements.normalise(name or ''), version)
        return found

    def _localise(self) -> None:
        venv = self.layout.venv
        packages = site_packages(venv)
        numpy = packages / 'numpy' / '_core' / 'include'
        if not numpy.is_dir():  # numpy 1
            numpy = packages / 'numpy' / 'core' / 'include'
        include = Path(read_stamp(self.layout.stamp('venv')).get('include', ''))
        wheels.rewrite_tree(venv / 'share', wheels.Places(venv, include, numpy))


def _pip_remedy(text: str) -> str:
    if _NETWORK_TROUBLE.search(text):
        return (
            'the package index cannot be reached: check the network, or a proxy '
            '(HTTPS_PROXY) or mirror (PIP_INDEX_URL), then run the same command again'
        )
    if 'No space left on device' in text:
        return 'the disk is full: about 1 GB is needed; DBMS_HOME=/other/place moves it'
    if 'No matching distribution found' in text:
        return (
            'the package index in use lacks a package that the log names: check PIP_INDEX_URL '
            f'and the network; or {SOURCE_ROS}'
        )
    return 'run ./dbms doctor; if it finds nothing, ./dbms clean --all and try again'
