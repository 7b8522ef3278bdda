# SPDX-License-Identifier: Apache-2.0
"""What the machine itself must have to build messages, and how to get it there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .errors import BootstrapError
from .interpreters import Interpreter
from .process import Runner, StepFailed

Which = Callable[[str], 'str | None']


@dataclass(frozen=True)
class Tool:
    """A program the build needs, under any of its names."""

    name: str
    commands: tuple[str, ...]
    packages: tuple[str, ...]
    wheel: bool = False  # the package index has it too


TOOLS = (
    Tool('C compiler', ('cc', 'gcc', 'clang'), ('build-essential',)),
    Tool('C++ compiler', ('c++', 'g++', 'clang++'), ('build-essential',)),
    Tool('CMake', ('cmake',), ('cmake',), wheel=True),
    Tool('make or ninja', ('make', 'gmake', 'ninja'), ('build-essential',), wheel=True),
)


@dataclass(frozen=True)
class Installer:
    """How system packages get installed here; `prefix` runs apt-get with the rights it needs."""

    prefix: tuple[str, ...]
    possible: bool
    reason: str


def find_installer(which: Which = shutil.which, uid: int | None = None) -> Installer:
    """Find out whether system packages can be installed without asking for a password."""
    if not which('apt-get'):
        return Installer((), False, 'there is no apt-get on this machine')
    if (os.geteuid() if uid is None else uid) == 0:
        return Installer((), True, 'running as root')
    sudo = which('sudo')
    if not sudo:
        return Installer(('sudo',), False, 'not root, and there is no sudo')
    try:
        done = subprocess.run([sudo, '-n', 'true'], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Installer(('sudo',), False, 'not root, and sudo does not answer')
    if done.returncode == 0:
        return Installer((sudo, '-n'), True, 'sudo needs no password')
    return Installer(('sudo',), False, 'not root, and sudo asks for a password')


@dataclass(frozen=True)
class Needs:
    """What is missing, the packages that bring it, and the wheels that can stand in."""

    missing: tuple[str, ...]
    packages: tuple[str, ...]
    wheels: tuple[str, ...]
    unfixable: tuple[str, ...]  # no package of this system brings these

    def __bool__(self) -> bool:
        return bool(self.missing)


def find_tool(tool: Tool, environ: Mapping[str, str], which: Which = shutil.which) -> str:
    """Return where a tool is, '' if nowhere. CC and CXX count, as CMake honours them."""
    override = {'C compiler': 'CC', 'C++ compiler': 'CXX'}.get(tool.name)
    names = tool.commands
    if override and environ.get(override):
        names = (environ[override].split()[0], *names)
    return next((path for path in (which(name) for name in names) if path), '')


def assess(
    interpreter: Interpreter,
    installer: Installer,
    environ: Mapping[str, str],
    which: Which = shutil.which,
) -> Needs:
    """Find what is missing and the cheapest way to get it."""
    absent = [tool for tool in TOOLS if not find_tool(tool, environ, which)]
    # Where packages can be installed they win: they serve the whole machine. Elsewhere a
    # wheel does for what the package index has.
    wheels = [] if installer.possible else [tool for tool in absent if tool.wheel]
    by_package = [tool for tool in absent if tool not in wheels]
    packages = [name for tool in by_package for name in tool.packages]
    packages += interpreter.packages
    unfixable = () if interpreter.packages else interpreter.missing
    missing = [tool.name for tool in by_package] + [
        f'{part} of Python {interpreter.text} ({interpreter.path})' for part in interpreter.missing
    ]
    return Needs(
        tuple(missing),
        tuple(dict.fromkeys(packages)),
        tuple('cmake' if tool.name == 'CMake' else 'ninja' for tool in wheels),
        tuple(unfixable),
    )


def install_line(packages: tuple[str, ...]) -> str:
    return f'sudo apt-get update && sudo apt-get install -y {" ".join(packages)}'


def require_fixable(needs: Needs, installer: Installer, interpreter: Interpreter) -> None:
    """Raise the error that names the missing things and the exact line to run."""
    if needs.unfixable:
        raise BootstrapError(
            f'{interpreter.path} (Python {interpreter.text}) lacks its '
            + ' and '.join(needs.unfixable),
            'install a complete Python 3.10 to 3.13 (on Debian or Ubuntu: '
            'sudo apt-get install -y python3 python3-dev python3-venv), '
            'or name one with DBMS_PYTHON=/path/to/python3.12',
        )
    if needs.packages and not installer.possible:
        raise BootstrapError(
            f'missing: {", ".join(needs.missing)} ({installer.reason})',
            'run this line, then the same ./dbms command again:\n'
            f'  {install_line(needs.packages)}\n'
            '(other systems: install a C and C++ compiler, CMake, make and the Python headers)',
        )


def install_packages(packages: tuple[str, ...], installer: Installer, runner: Runner) -> None:
    """Install system packages, unattended."""
    environ = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
    # sudo drops the environment, so the setting goes through env(1).
    apt = [*installer.prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get']
    try:
        runner.run('apt-update', [*apt, 'update'], environ)
    except StepFailed:
        pass  # one broken source must not stop an install that the others can serve
    options = ['install', '-y', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=300']
    try:
        runner.run('apt-install', [*apt, *options, *packages], environ)
    except StepFailed as error:
        error.remedy = f'run it by hand to see more:\n  {install_line(packages)}'
        raise
