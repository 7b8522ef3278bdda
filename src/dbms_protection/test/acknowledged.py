# SPDX-License-Identifier: Apache-2.0
"""Run by test_acknowledged.py: processes that kill themselves when a command was answered.

Arguments: folder for the event logs, number of rounds. Prints a line for every answer.
"""

import os
import signal
import sys
from pathlib import Path

from node_rig import World
from test_protection_node import patient_pack

from dbms_protection import protection_node

KINDS = ('reset_faults', 'disconnect', 'connect')


def be_killed(file: Path, kind: str, out: int) -> None:
    pack = patient_pack()
    protection_node.load_pack = lambda name: pack
    world = World(pack, event_file=str(file))
    world.node.trigger_configure()
    world.node.trigger_activate()
    answer = world.ask(kind)
    os.write(out, answer.message.encode())  # a pipe outlives its writer
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, rounds: int) -> None:
    for number in range(rounds):
        kind = KINDS[number % len(KINDS)]
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            be_killed(folder / f'{number}.sqlite', kind, writer)
        os.close(writer)
        said = b''.join(iter(lambda: os.read(reader, 4096), b'')).decode()  # noqa: B023
        os.close(reader)
        _, status = os.waitpid(child, 0)
        print(number, kind, os.WTERMSIG(status), said, sep='\t', flush=True)


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]))
