# SPDX-License-Identifier: Apache-2.0
"""The recorder beside a run: a process of its own, so that it outlives what it records."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from dbms_pack import Pack

from .graph import ProgramSpec
from .plan import Plan

ENDING = 10.0  # s, for the recorder to write what it has


def recorder(pack: Pack, namespace: str, directory: Path, time_scale: float) -> ProgramSpec:
    """Return the program that records a pack; `directory` is that of the bag."""
    arguments = (
        str(directory), '--namespace', namespace, '--pack', str(pack.path.absolute()),
        '--time-scale', f'{time_scale:g}',
    )  # fmt: skip
    return ProgramSpec('dbms_replay', 'record', 'dbms_replay.record_cli', arguments)


def bag_within(directory: Path) -> Path:
    """Return where the bag of this start goes: each start makes one of its own."""
    return directory.absolute() / time.strftime('dbms_%Y-%m-%d_%H-%M-%S')


class Recording:
    """Runs `./dbms record` for a plan that asks for it, from `with` to the end of the block."""

    def __init__(self, plan: Plan, log: Path) -> None:
        self._plan = plan
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> 'Recording':
        plan = self._plan
        if plan.record is None:
            return self
        spec = recorder(plan.pack, plan.namespace, plan.record, plan.options.time_scale)
        command = [sys.executable, '-m', spec.module, *spec.arguments]
        self._log.mkdir(parents=True, exist_ok=True)
        with (self._log / 'record.log').open('wb') as log:
            # In a session of its own: Ctrl-C ends the graph first, and its end is recorded too.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=dict(os.environ),
            )  # fmt: skip
        return self

    def stop(self) -> None:
        """End the recording; may be called more than once."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
