# SPDX-License-Identifier: Apache-2.0
"""./dbms doctor: what is there, what is missing, what to do. Changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from . import machine, toolchain, workspace
from .environ import site_packages
from .errors import BootstrapError
from .findings import Finding, bad, good, note, show
from .interpreters import Interpreter, Rejected, choose, probe
from .layout import read_stamp
from .progress import wants_colour
from .setup import Setup


def doctor(arguments: Sequence[str]) -> int:
    """Print the table; 0 if the system would start, or ./dbms can make it so."""
    if arguments:
        raise BootstrapError(f'doctor: unknown argument {arguments[0]}', 'usage: ./dbms doctor', 2)
    setup = Setup()
    findings = examine(setup, setup.user_environ)
    print(show(findings, wants_colour(sys.stdout, setup.user_environ)))
    print()
    wrong = [one.name for one in findings if one.level == 'bad']
    if wrong:
        print(f'In the way: {", ".join(wrong)}.')
    else:
        print('Ready: ./dbms up will work; what is marked -- is optional or done by itself.')
    return 1 if wrong else 0


def examine(setup: Setup, environ: Mapping[str, str]) -> list[Finding]:
    """Look at everything and return what was found."""
    installer = toolchain.find_installer()
    interpreter, python = _python(setup, environ, installer)
    findings = [machine.system(setup.ros), _ros(setup), python]
    findings += _tools(environ, installer)
    if interpreter is not None:
        findings.append(_completeness(interpreter, installer))
    made = setup.environment.has('base')
    findings += [_environment(setup), _build(setup)]
    findings.append(machine.disk(setup.layout, made))
    findings.append(machine.can_bus())
    findings.append(machine.middleware(setup.ros, environ))
    findings.append(machine.discovery(setup.environ(), environ))
    return findings


def _ros(setup: Setup) -> Finding:
    ros = setup.ros
    if ros.sourced:
        return good('ROS 2', f'{ros.distro}, sourced; its Python is {ros.python}')
    found = sorted(site_packages(setup.layout.venv).glob('ros_rclpy-*.dist-info'))
    version = found[-1].name.split('-')[1].removesuffix('.dist') if found else 'not installed yet'
    text = f'{ros.distro} from wheels (rclpy {version}): {ros.reason}'
    return good('ROS 2', text) if 'not usable' not in ros.reason else note('ROS 2', text)


def _python(
    setup: Setup, environ: Mapping[str, str], installer: toolchain.Installer
) -> tuple[Interpreter | None, Finding]:
    if setup.ros.sourced:
        answer = probe(setup.ros.python)
        if isinstance(answer, Rejected):
            remedy = 'mend it, or set DBMS_ROS=wheels'
            return None, bad('Python', f'{answer.path}: {answer.reason}', remedy)
        return answer, good('Python', f'{answer.text} at {answer.path}: that of ROS 2')
    try:
        choice = choose(environ, setup.layout.home, installer.possible)
    except BootstrapError as error:
        return None, bad('Python', error.message, error.remedy)
    details = tuple(f'not {one.path}: {one.reason}' for one in choice.rejected)
    best = choice.interpreter
    if best is None:
        remedy = 'install Python 3.12, or name one with DBMS_PYTHON=/path/to/python3.12'
        return None, bad('Python', choice.reason, remedy, details)
    return best, good('Python', f'{best.text} at {best.path}: {choice.reason}', details)


def _completeness(interpreter: Interpreter, installer: toolchain.Installer) -> Finding:
    name = 'Python parts'
    if not interpreter.missing:
        return good(name, f'headers in {interpreter.include}; venv and ensurepip')
    text = f'missing: {" and ".join(interpreter.missing)}'
    if not interpreter.packages:
        return bad(name, text, 'install a complete Python, or name one with DBMS_PYTHON')
    return _by_package(name, text, interpreter.packages, installer)


def _tools(environ: Mapping[str, str], installer: toolchain.Installer) -> list[Finding]:
    findings = []
    for tool in toolchain.TOOLS:
        path = toolchain.find_tool(tool, environ)
        if path:
            findings.append(good(tool.name, path))
        elif tool.wheel and not installer.possible:
            remedy = './dbms installs it from the package index'
            findings.append(note(tool.name, 'not found', remedy))
        else:
            findings.append(_by_package(tool.name, 'not found', tool.packages, installer))
    return findings


def _by_package(
    name: str, text: str, packages: tuple[str, ...], installer: toolchain.Installer
) -> Finding:
    if installer.possible:
        words = ', '.join(packages)
        return note(name, text, f'./dbms installs {words} with apt-get ({installer.reason})')
    line = toolchain.install_line(packages)
    return bad(name, f'{text} ({installer.reason})', f'run: {line}')


def _environment(setup: Setup) -> Finding:
    layout, environment = setup.layout, setup.environment
    place = layout.shown(layout.venv)
    if not environment.is_made():
        stamp = read_stamp(layout.stamp('venv'))
        if not layout.venv.exists():
            text = f'{place} is not made yet'
        elif stamp and stamp.get('skeleton', {}).get('location') != str(layout.venv):
            text = f'{place} was made elsewhere and moved here'
        else:
            text = f'{place} is unfinished or of another Python'
        return note('environment', text, 'the next ./dbms command makes it')
    if not environment.has('base'):
        text = f'{place}: requirements have changed since it was made'
        return note('environment', text, 'the next ./dbms command updates it')
    tools = 'with' if environment.has('dev') else 'without'
    return good(
        'environment', f'{place}, Python {environment.python_version()}, {tools} test tools'
    )


def _build(setup: Setup) -> Finding:
    layout = setup.layout
    names = workspace.packages(layout)
    if not names:
        return bad('workspace', f'no packages in {layout.root / "src"}', 'check it out again')
    if workspace.is_built(layout, setup.environment_key()):
        return good('workspace', f'{len(names)} packages, built from the sources as they are')
    built = layout.stamp('build').exists()
    state = 'sources have changed since the last build' if built else 'not built yet'
    return note('workspace', f'{len(names)} packages, {state}', 'the next ./dbms command builds')
