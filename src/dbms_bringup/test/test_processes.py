# SPDX-License-Identifier: Apache-2.0
"""The supervisor with processes that do nothing but live, die, or refuse to."""

import contextlib
import os
import queue
import signal

import pytest

from dbms_bringup import processes
from dbms_bringup.processes import Job, Supervisor

DEADLINE = 30.0  # s
CODE = """
import pathlib, signal, sys
def main(arguments):
    what, mark = arguments
    if what == 'fail':
        return 3
    if what == 'stubborn':
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open(mark, 'a') as file:
        file.write('x')
    while True:
        signal.pause()
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Return what makes supervisors of such processes; all are ended with the test."""
    (tmp_path / 'idle_job.py').write_text(CODE, encoding='utf-8')
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    monkeypatch.setenv('PYTHONPATH', path)
    with contextlib.ExitStack() as stack:

        def make(**jobs):
            lines, given_up = queue.SimpleQueue(), queue.SimpleQueue()
            made = [
                Job(name, 'idle_job', (what, str(tmp_path / name)), stage)
                for stage, (name, what) in enumerate(jobs.items())
            ]
            supervisor = Supervisor(made, tmp_path / 'log', lines.put, given_up.put)
            supervisor.start()
            stack.callback(_stop_once(supervisor))
            return supervisor, lines, given_up

        yield make


def _stop_once(supervisor):
    def stop():
        if supervisor._thread.is_alive():
            supervisor.stop()

    return stop


def until(lines, words):
    while True:
        line = lines.get(timeout=DEADLINE)
        if words in line:
            return line


def gone(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def test_what_is_killed_is_started_again(bench):
    supervisor, lines, _ = bench(one='idle', two='idle')
    until(lines, 'one: started')
    until(lines, 'two: started')
    before = supervisor.pids()
    os.kill(before['one'], signal.SIGKILL)
    until(lines, 'one: ended with signal SIGKILL')
    until(lines, 'one: started again')
    after = supervisor.pids()
    assert after['one'] != before['one']
    assert after['two'] == before['two']
    supervisor.stop()
    assert all(gone(pid) for pid in after.values())


def test_what_never_starts_well_is_given_up(bench, monkeypatch):
    monkeypatch.setattr(processes, 'LONGEST_DELAY', 0.01)
    monkeypatch.setattr(processes, 'FIRST_DELAY', 0.01)
    supervisor, lines, given_up = bench(one='fail')
    reason = given_up.get(timeout=DEADLINE)
    assert 'one: ended with exit code 3 5 times in a row' in reason
    assert supervisor.pids() == {}


def test_what_does_not_listen_is_killed(bench, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, 'GRACE', 0.2)
    supervisor, lines, _ = bench(one='stubborn')
    until(lines, 'one: started')
    while not (tmp_path / 'one').exists():  # SIGTERM is ignored from then on
        os.sched_yield()
    pid = supervisor.pids()['one']
    supervisor.stop()
    assert until(lines, 'killed')
    assert gone(pid)
