# SPDX-License-Identifier: Apache-2.0
"""The command line and the running of children, from outside."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bootstrap import cli, findings
from bootstrap.lock import exclusive
from bootstrap.process import Runner, StepFailed, tail
from bootstrap.progress import Progress, wants_colour

ROOT = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def dbms(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / 'dbms'), *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_command_and_needs_nothing(tmp_path):
    done = dbms(DBMS_HOME=str(tmp_path / 'none'))
    assert done.returncode == 0 and done.stderr == ''
    for name in (*cli.SYSTEM_COMMANDS, *cli._own_commands()):
        assert name in done.stdout, name
    assert not (tmp_path / 'none').exists()


def test_an_unknown_command_names_the_nearest(tmp_path):
    done = dbms('stats', DBMS_HOME=str(tmp_path / 'none'))
    assert done.returncode == 2 and 'did you mean status?' in done.stderr


def test_it_works_through_a_symbolic_link_from_anywhere(tmp_path):
    link = tmp_path / 'link'
    link.symlink_to(ROOT / 'dbms')
    done = subprocess.run([link, '--help'], cwd='/', capture_output=True, text=True, check=False)
    assert done.stdout == cli.HELP


def test_doctor_changes_nothing(tmp_path):
    done = dbms('doctor', DBMS_HOME=str(tmp_path / 'none'))
    assert 'is not made yet' in ' '.join(done.stdout.split()) and not (tmp_path / 'none').exists()


def test_a_python_that_fails_is_an_error_with_a_remedy(tmp_path):
    fake = tmp_path / 'python3.12'
    fake.write_text('#!/bin/sh\nexit 3\n')
    fake.chmod(0o755)
    done = dbms('build', DBMS_PYTHON=str(fake), DBMS_HOME=str(tmp_path / 'none'))
    assert done.returncode == 1 and f'DBMS_PYTHON={fake} fails when run' in done.stderr


def run(tmp_path: Path, code: str, stream: io.StringIO | None = None) -> Path:
    progress = Progress(stream or io.StringIO(), {})
    with progress.step('Work'):
        return Runner(tmp_path, progress).run('work', [sys.executable, '-c', code], os.environ)


def test_a_childs_output_goes_to_its_log(tmp_path):
    log = run(tmp_path, 'print("hello")')
    assert log == tmp_path / 'work.log' and log.read_text().endswith('hello\n')


def test_a_failure_tells_its_log_and_the_end_of_it(tmp_path):
    with pytest.raises(StepFailed, match='exit code 3') as caught:
        run(tmp_path, 'import sys\nfor n in range(99): print(n)\nsys.exit(3)')
    lines = tail(caught.value.log).splitlines()
    assert len(lines) == 30 and lines[-1] == '98'


def test_a_log_gets_lines_and_a_terminal_a_running_clock(tmp_path):
    calm, live = io.StringIO(), Terminal()
    run(tmp_path, 'import time; time.sleep(.3)', calm)
    run(tmp_path, 'import time; time.sleep(.3)', live)
    assert '\r' not in calm.getvalue() and len(calm.getvalue().splitlines()) == 2
    assert '\r' in live.getvalue()


def test_colour_is_for_terminals_that_want_it():
    assert wants_colour(Terminal(), {})
    assert not wants_colour(Terminal(), {'NO_COLOR': '1'})
    assert not wants_colour(Terminal(), {'TERM': 'dumb'})
    assert not wants_colour(io.StringIO(), {})


INTERRUPTED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from bootstrap.process import Runner, interrupt_on_termination
from bootstrap.progress import Progress
interrupt_on_termination()
where = Path(sys.argv[2])
code = 'import os,time,pathlib; pathlib.Path("pid").write_text(str(os.getpid())); time.sleep(60)'
Runner(where, Progress()).run('nap', [sys.executable, '-c', code], os.environ, cwd=where)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_takes_the_children_along(tmp_path, number):
    command = [sys.executable, '-c', INTERRUPTED, str(ROOT / 'tools'), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        pid = tmp_path / 'pid'
        deadline = time.monotonic() + 20
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(number)
        assert parent.wait(timeout=20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_second_run_waits_for_the_first(tmp_path):
    path = tmp_path / 'lock'
    stream = io.StringIO()
    holder = subprocess.Popen(
        [sys.executable, '-c', _HOLD, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == 'held\n'
    with exclusive(path, Progress(stream, {})):
        assert holder.wait(timeout=10) == 0
    assert 'waiting for another ./dbms' in stream.getvalue()


_HOLD = """
import fcntl, sys, time
with open(sys.argv[1], 'w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print('held', flush=True)
    time.sleep(0.6)
"""


def test_the_doctors_table_never_breaks_a_command_line(monkeypatch):
    monkeypatch.setenv('COLUMNS', '60')
    line = 'run: ' + ' '.join(['word'] * 40)
    shown = findings.show([findings.bad('thing', 'not found ' * 12, line)], colour=False)
    assert f'> {line}' in shown and shown.startswith('!!  thing')
