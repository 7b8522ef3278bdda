# SPDX-License-Identifier: Apache-2.0
"""Runs the slow children: output to a log, the end of it told on failure, no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from .errors import BootstrapError
from .progress import Progress

TAIL_LINES = 30
_GRACE_S = 5.0


class StepFailed(BootstrapError):
    """A child process failed; its output is in a log."""

    def __init__(self, message: str, log: Path, remedy: str = '') -> None:
        super().__init__(message, remedy)
        self.log = log


class Runner:
    """Runs children of this bootstrap one after the other."""

    def __init__(self, log_dir: Path, progress: Progress, held: Sequence[int] = ()) -> None:
        self._log_dir = log_dir
        self._progress = progress
        # Held by the children too: should this process be killed, the lock stays taken until
        # the last of them is gone, so a second run never works beside orphans of the first.
        self._held = tuple(held)

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        environ: Mapping[str, str],
        cwd: Path | None = None,
    ) -> Path:
        """Run a command to its end and return its log, or raise StepFailed."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        log = self._log_dir / f'{name}.log'
        words = [str(word) for word in command]
        with log.open('wb') as output:
            output.write(('$ ' + ' '.join(words) + '\n').encode())
            output.flush()
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,
                pass_fds=self._held,
            )
            code = self._wait(child)
        if code != 0:
            how = f'signal {-code}' if code < 0 else f'exit code {code}'
            raise StepFailed(f'{Path(words[0]).name} ended with {how}', log)
        return log

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        try:
            while True:
                try:
                    return child.wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    self._progress.tick()
        except BaseException:
            # Ctrl-C or a termination: the child has its own session, so it is ended here,
            # and everything it started with it.
            end_group(child)
            raise


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and all it started: politely, then for good."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        try:
            child.wait(timeout=_GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the end of a log."""
    try:
        text = log.read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        return f'(the log cannot be read: {error})'
    return '\n'.join(text.rstrip().splitlines()[-lines:])


def interrupt_on_termination() -> None:
    """Make SIGTERM and SIGHUP end this process the way Ctrl-C does: children first."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f'signal {number}')

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
