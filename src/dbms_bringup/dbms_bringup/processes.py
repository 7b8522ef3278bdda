# SPDX-License-Identifier: Apache-2.0
"""The graph in many processes: each is started again when it ends, and ended with this one."""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .graph import NodeSpec, ProgramSpec

FIRST_DELAY, LONGEST_DELAY = 0.25, 8.0  # s before a process is started again, doubling
PROVEN = 5.0  # s; a process that has lived that long was started well
TRIES = 5  # starts in a row without one of them proven: given up
GRACE = 5.0  # s from SIGTERM to SIGKILL


@dataclass(frozen=True)
class Job:
    """What runs in one process. Jobs of a higher stage are ended before those of a lower one."""

    name: str
    module: str
    arguments: tuple[str, ...]
    stage: int

    def command(self) -> list[str]:
        """Return the command line that runs it as a process that ends with this one."""
        child = [sys.executable, '-m', 'dbms_bringup.child', str(os.getpid())]
        return [*child, self.module, *self.arguments]


def jobs(nodes: Sequence[NodeSpec], programs: Sequence[ProgramSpec], namespace: str) -> list[Job]:
    """Return the jobs of a graph: the hub is ended last, what plays the pack before it."""
    made = [Job(one.name, one.module, one.arguments, 0) for one in programs]
    for node in nodes:
        words = ['--ros-args', '-r', f'__node:={node.name}', '-r', f'__ns:=/{namespace}']
        for name, value in node.parameters.items():
            # JSON is YAML that says whether it means a text or a number.
            words += ['-p', f'{name}:={json.dumps(value)}']
        stage = 1 if node.package == 'dbms_sim' else 2
        made.append(Job(node.name, node.module, tuple(words), stage))
    return made


class _Child:
    """A job and its process, if it runs now."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.process: subprocess.Popen[bytes] | None = None
        self.fd = -1  # pidfd: becomes readable when the process ends
        self.started = 0.0
        self.due: float | None = 0.0  # when to start it; None: runs, or was given up
        self.delay = FIRST_DELAY
        self.failures = 0


class Supervisor:
    """Starts jobs, starts them again, ends them in order. One thread does all of it.

    The thread that starts a child has to live as long as the child: its end is what the kernel
    tells the child as the end of the parent.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        log: Path,
        tell: Callable[[str], None],
        give_up: Callable[[str], None],
    ) -> None:
        self._children = [_Child(job) for job in jobs]
        self._log = log
        self._tell = tell
        self._give_up = give_up
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = os.pipe()
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._ending = False
        self._thread = threading.Thread(target=self._run, name='supervisor')

    def start(self) -> None:
        """Start all jobs."""
        self._log.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def stop(self) -> None:
        """End all jobs, those of the highest stage first; all are gone when this returns."""
        self._ending = True
        os.write(self._wake_out, b'.')
        self._thread.join()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def pids(self) -> dict[str, int]:
        """Return the process ids of the jobs that run now."""
        return {
            child.job.name: child.process.pid
            for child in self._children
            if child.process is not None
        }

    def _run(self) -> None:
        try:
            while not self._ending:
                self._start_due()
                self._wait(self._timeout())
        finally:
            for stage in sorted({child.job.stage for child in self._children}, reverse=True):
                self._end([child for child in self._children if child.job.stage == stage])
            self._selector.close()

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.due is not None and child.due <= now:
                self._spawn(child)

    def _timeout(self) -> float | None:
        due = [child.due for child in self._children if child.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _spawn(self, child: _Child) -> None:
        job = child.job
        path = self._log / f'{job.name}.log'
        mode = 'wb' if child.started == 0.0 else 'ab'
        with path.open(mode) as log:
            child.process = subprocess.Popen(
                job.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for this process alone: it ends the others
            )
        child.fd = os.pidfd_open(child.process.pid)
        self._selector.register(child.fd, selectors.EVENT_READ, child)
        again = '' if child.started == 0.0 else ' again'
        child.started, child.due = time.monotonic(), None
        self._tell(f'{job.name}: started{again}, process {child.process.pid}')

    def _wait(self, timeout: float | None) -> None:
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                os.read(self._wake_in, 64)
            else:
                self._ended(key.data)

    def _ended(self, child: _Child) -> None:
        code = self._reap(child)
        how = f'signal {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'
        if time.monotonic() - child.started >= PROVEN:
            child.delay, child.failures = FIRST_DELAY, 0
        child.failures += 1
        if child.failures >= TRIES:
            log = self._log / f'{child.job.name}.log'
            self._give_up(f'{child.job.name}: ended with {how} {TRIES} times in a row, see {log}')
            return
        self._tell(f'{child.job.name}: ended with {how}, starts again in {child.delay:g} s')
        child.due = time.monotonic() + child.delay
        child.delay = min(2.0 * child.delay, LONGEST_DELAY)

    def _reap(self, child: _Child) -> int:
        assert child.process is not None
        self._selector.unregister(child.fd)
        os.close(child.fd)
        code = child.process.wait()
        child.process = None
        return code

    def _end(self, children: list[_Child]) -> None:
        deadline = time.monotonic() + GRACE
        running = [child for child in children if child.process is not None]
        for child in running:
            assert child.process is not None
            child.process.send_signal(signal.SIGTERM)
        for child in running:
            assert child.process is not None
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._tell(f'{child.job.name}: did not end within {GRACE:g} s, killed')
                child.process.kill()
            self._reap(child)
