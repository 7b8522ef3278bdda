# SPDX-License-Identifier: Apache-2.0
"""Reads the command line of ./dbms."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence

from .errors import BootstrapError
from .process import StepFailed, tail

# Commands of dbms_bringup: they run in the environment, and print their own --help.
SYSTEM_COMMANDS = (
    'up', 'status', 'check', 'connect', 'disconnect', 'reset', 'events', 'bench',
    'scenario', 'estimate', 'identify', 'hub', 'record', 'replay', 'play', 'convert',
    'policy',
)  # fmt: skip

HELP = """\
usage: ./dbms COMMAND [ARGUMENTS]

A distributed battery management system for ROS 2. The first command sets up all it needs
below .dbms/ and builds the workspace; later ones start at once.

Run
  up [PACK]            start the system on a pack (a simulated one when none is named)
     --play FILE       ... on a recording; --speed N plays it N times faster
     --processes       ... with a process per node instead of one for all
  status               show the running system: state, cells, limits, faults
  check                check pack files and configuration without starting anything
  connect, disconnect  close or open the contactors of the running system
  reset                clear latched faults whose cause is gone
  events               faults, commands and contactor moves as protection has kept them
  record [DIR]         record a running system as a bag (MCAP); up --record DIR does it too
  replay BAG           a recording through estimation and protection, compared, repeatable
  play BAG             say a recording again, with /clock; --nodes feeds the nodes of today
  convert FILE...      a bag of a CAN log or of a CSV file
  scenario [FILE...]   run scenarios on a simulated pack and judge what happens
  estimate             the SOC over a recording of one cell, with its uncertainty
  policy               an SROS2 policy: who may say and ask what
  hub                  a CAN hub on TCP, for processes that share a virtual bus
  identify             make a cell file from laboratory measurements
  bench                measure latency, load and accuracy on this machine

Develop
  build [--clean]      set up and build; --clean forgets the last build
  test [--all] [ARGS]  run the tests; ARGS go to pytest, --all adds the slow ones
  lint [--fix]         ruff and mypy; --fix repairs what can be
  shell                a shell with the environment set
  python [ARGS]        the environment's Python
  env                  lines that set the environment: eval "$(./dbms env)"

Help
  doctor               what is there, what is missing, what to do
  clean [--all]        remove the build; --all the Python environment too
  COMMAND --help       more about a command of the first group

Settings
  DBMS_HOME=DIR        keep everything made there instead of in .dbms/
  DBMS_PYTHON=PATH     use this Python (3.10 to 3.13)
  DBMS_ROS=wheels      ignore a sourced ROS 2
  DBMS_NO_BUILD=1      run the last build as it is, even if sources have changed
"""


def _own_commands() -> dict[str, Callable[[Sequence[str]], int]]:
    from . import commands, doctor

    return {
        'build': commands.build,
        'clean': commands.clean,
        'doctor': doctor.doctor,
        'env': commands.env,
        'lint': commands.lint,
        'python': commands.python,
        'shell': commands.shell,
        'test': commands.test,
    }


def main(arguments: Sequence[str]) -> int:
    """Run a command; every error a user can meet ends as a message here."""
    if not arguments or arguments[0] in ('help', '--help', '-h'):
        print(HELP, end='')
        return 0
    try:
        return run(arguments[0], arguments[1:])
    except StepFailed as error:
        print(f'\n{tail(error.log)}\n', file=sys.stderr)
        print(f'dbms: {error.message}\n  log: {error.log}', file=sys.stderr)
        _print_remedy(error)
        return error.code
    except BootstrapError as error:
        print(f'dbms: {error.message}', file=sys.stderr)
        _print_remedy(error)
        return error.code
    except KeyboardInterrupt:
        print('dbms: interrupted; the same command goes on from here', file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141


def run(name: str, arguments: Sequence[str]) -> int:
    """Find and run a command."""
    from . import commands

    own = _own_commands()
    if name in own:
        if name not in ('python', 'test') and {'-h', '--help'} & set(arguments):
            print(HELP, end='')
            return 0
        return own[name](arguments)
    if name in SYSTEM_COMMANDS:
        return commands.bringup([name, *arguments])
    near = difflib.get_close_matches(name, [*own, *SYSTEM_COMMANDS], n=1)
    guess = f'did you mean {near[0]}? ' if near else ''
    raise BootstrapError(f'unknown command: {name}', f'{guess}./dbms --help lists them all', 2)


def _print_remedy(error: BootstrapError) -> None:
    if error.remedy:
        print('  ' + error.remedy.replace('\n', '\n  '), file=sys.stderr)
