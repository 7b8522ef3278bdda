# SPDX-License-Identifier: Apache-2.0
"""./dbms up: starts a graph, connects it, shows it, ends it, and says what happened."""

import json
import os
import queue
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import log_directory, standard_error_to
from .plan import Plan, make_plan
from .recording import Recording
from .view import View

if TYPE_CHECKING:
    from .rig import Rig

STATUS_PERIOD = 10.0  # s, between lines that say how it stands
AFTERWARDS = 2.0  # s, that a recording's end is shown before the run ends
LEAVING = 3.0  # s, for contactors to open, beyond the grace time of the pack

LINE, FINISHED, FAILED, INTERRUPT = range(4)
Event = tuple[int, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until it is told to end, or has ended by itself."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        plan = make_plan(words, terminal=sys.stdout.isatty())
        return Run(plan).run()
    except ValueError as error:
        print(f'dbms up: {error}', file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our lines has gone
        return 141


class Run:
    """One run of a graph, from its start to its summary."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._interrupts = 0
        self._failure = ''
        self._log = log_directory(os.environ)
        self._view = View(plan.namespace)

    def run(self) -> int:
        """Run it; return the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupted)
        plan = self._plan
        if plan.domain is not None:
            os.environ['ROS_DOMAIN_ID'] = str(plan.domain)
        os.environ.setdefault('ROS_LOG_DIR', str(self._log / 'ros'))
        log = self._log / f'up-{plan.namespace.replace("/", "-")}'
        for note in plan.notes:
            self._print(note)
        self._print(f'pack {plan.pack.name} in /{plan.namespace}; logs in {log}')
        with ExitStack() as stack:
            stack.enter_context(standard_error_to(log / 'up.log'))
            try:
                self._whole(stack, log)
            except Exception as error:
                if not isinstance(error, ValueError):
                    raise
                self._failure = str(error)
        if self._failure:
            print(f'dbms up: {self._failure}\n  log: {log}', file=sys.stderr)
        return 1 if self._failure else 0

    def _whole(self, stack: ExitStack, log: Path) -> None:
        from .neighbours import refuse_second  # ROS 2 takes its time to import:
        from .rig import Rig  # a wrong option is told before

        if not self._plan.force:
            refuse_second(self._plan.namespace)

        started = time.time()
        put = self._events.put
        rig = Rig(
            self._plan,
            log,
            lambda text: put((LINE, text)),
            lambda text: put((FINISHED, text)),
            lambda text: put((FAILED, text)),
        )
        recording = stack.enter_context(Recording(self._plan, log))
        stack.callback(rig.stop)
        rig.start()
        if self._plan.view:
            stack.callback(self._view.stop)
            self._view.start()
        why = self._follow(rig)
        self._view.stop()
        if rig.story.connected and self._interrupts < 2:
            self._leave(rig)
        rig.stop()
        recording.stop()
        self._drain()
        self._tell_summary(rig, why, started)

    def _follow(self, rig: 'Rig') -> str:
        """Show what happens until something ends the run; return what that was."""
        ends = time.monotonic() + (self._plan.duration or float('inf'))
        status = time.monotonic() + STATUS_PERIOD
        why = f'after {self._plan.duration} s'
        while True:
            now = time.monotonic()
            if now >= ends:
                return why
            if now >= status:
                self._print(rig.story.status_line(rig.observer.now))
                status = now + STATUS_PERIOD
            try:
                kind, text = self._events.get(timeout=min(ends, status) - now)
            except queue.Empty:
                continue
            if kind == LINE:
                self._print(text)
            elif kind == INTERRUPT:
                return text
            elif kind == FAILED:
                self._failure = text
                return text
            elif kind == FINISHED and now + AFTERWARDS < ends:
                ends, why = now + AFTERWARDS, text

    def _leave(self, rig: 'Rig') -> None:
        """Let protection open in its own way: announced under load."""
        grace = max(string.contactors.grace for string in self._plan.pack.strings)
        deadline = time.monotonic() + grace + LEAVING
        rig.observer.disconnect()
        while not rig.story.settled and (left := deadline - time.monotonic()) > 0:
            try:
                kind, text = self._events.get(timeout=left)
            except queue.Empty:
                break
            if kind == LINE:
                self._print(text)
            elif kind == INTERRUPT:
                return

    def _drain(self) -> None:
        while not self._events.empty():
            kind, text = self._events.get()
            if kind == LINE:
                self._print(text)

    def _interrupted(self, number: int, frame: Any) -> None:
        self._interrupts += 1
        if self._interrupts > 2:
            os._exit(130)
        self._events.put((INTERRUPT, f'stopped by {signal.Signals(number).name}'))

    def _tell_summary(self, rig: 'Rig', why: str, started: float) -> None:
        plan = self._plan
        self._print(f'\nended: {why}')
        for line in rig.story.lines():
            self._print('  ' + line)
        if plan.summary is None:
            return
        content = {
            'pack': plan.pack.name,
            'digest': plan.pack.digest,
            'namespace': plan.namespace,
            'form': 'processes' if plan.processes else 'one process',
            'simulated': plan.options.simulate,
            'play': plan.options.play or None,
            'speed': plan.options.time_scale,
            'started': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(started)),
            'seconds': rig.observer.now.wall,
            'ended': why,
            **rig.story.summary(),
        }
        plan.summary.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')

    def _print(self, text: str) -> None:
        """Print a line, or write it to the log while the terminal is the view's."""
        print(text, file=sys.stderr if self._view.shown else sys.stdout, flush=True)
