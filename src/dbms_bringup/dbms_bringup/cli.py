# SPDX-License-Identifier: Apache-2.0
"""The commands of ./dbms that need the built workspace. Each is imported only when it is run."""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

Run = Callable[[Sequence[str]], int]


def _module(name: str) -> Run:
    """Return a command that is `main(arguments)` of a module."""

    def run(arguments: Sequence[str]) -> int:
        return int(importlib.import_module(name).main(list(arguments)) or 0)

    return run


def _service(command: str) -> Run:
    def run(arguments: Sequence[str]) -> int:
        from . import commands

        return commands.main(command, arguments)

    return run


def bench(arguments: Sequence[str]) -> int:
    """Run a module of the directory bench/ as a program."""
    root = Path(os.environ.get('DBMS_ROOT', '.'))
    found = {
        path.stem.replace('_', '-'): path.stem
        for path in sorted((root / 'bench').glob('*.py'))
        if "__name__ == '__main__'" in path.read_text(encoding='utf-8')
    }
    if not arguments or arguments[0] not in found:
        known = ', '.join(found) or f'none, there is no bench/ in {root}'
        print(f'usage: ./dbms bench NAME [ARGUMENTS]; there are: {known}', file=sys.stderr)
        return 0 if arguments and arguments[0] in ('-h', '--help') else 2
    sys.path.insert(0, str(root))
    sys.argv[:] = [f'./dbms bench {arguments[0]}', *arguments[1:]]
    # Imported, not run as __main__: a process of a pool must find its functions again by name.
    return int(importlib.import_module(f'bench.{found[arguments[0]]}').main() or 0)


COMMANDS: dict[str, Run] = {
    'up': _module('dbms_bringup.up'),
    'status': _module('dbms_monitor.status'),
    'check': _module('dbms_pack.cli'),
    'estimate': _module('dbms_estimation.estimate_cli'),
    'identify': _module('dbms_estimation.identify_cli'),
    'record': _module('dbms_replay.record_cli'),
    'replay': _module('dbms_replay.replay_cli'),
    'play': _module('dbms_bringup.play'),
    'convert': _module('dbms_replay.convert_cli'),
    'events': _module('dbms_protection.events_cli'),
    'hub': _module('dbms_sim.socketcand_server'),
    'scenario': _module('dbms_bringup.scenarios'),
    'policy': _module('dbms_bringup.security'),
    'bench': bench,
    **{name: _service(name) for name in ('connect', 'disconnect', 'reset')},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ('-h', '--help'):
        print(f'usage: ./dbms COMMAND [ARGUMENTS]; here: {", ".join(COMMANDS)}')
        return 0 if words else 2
    run = COMMANDS.get(words[0])
    if run is None:
        near = difflib.get_close_matches(words[0], COMMANDS, n=1)
        guess = f'; did you mean {near[0]}?' if near else ''
        print(f'dbms: unknown command: {words[0]}{guess}', file=sys.stderr)
        return 2
    return run(words[1:])


if __name__ == '__main__':
    sys.exit(main())
