# SPDX-License-Identifier: Apache-2.0
"""Two packs on one machine, and how a run ends."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

from system_rig import DEADLINE, Log, closing, running, spy_on

from dbms_bringup.plan import make_plan


class Up:
    """`up` as a program of its own, its lines in a log."""

    def __init__(self, *words: str, log: Path) -> None:
        self.lines = Log()
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'dbms_bringup.cli', 'up', '--no-view', *words],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, 'DBMS_LOG': str(log)},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.add(line.rstrip('\n'))

    def wait(self, end: str) -> str:
        return str(self.lines.wait(lambda line: line.endswith(end), end)[1])

    def pids(self) -> list[int]:
        started = [line for line in self.lines.since(0) if ': started' in line]
        return [int(line.rpartition(' ')[2]) for line in started]

    def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(DEADLINE)


def runs(pid: int) -> bool:
    """Tell whether a process runs, other than as a zombie that somebody else is to reap."""
    try:
        return ') Z' not in Path(f'/proc/{pid}/stat').read_text(encoding='utf-8')
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_second_pack_is_not_disturbed_and_ends_cleanly(patient, tmp_path):
    """The same pack file twice: buses and topics of the same names, in two namespaces."""
    summary = tmp_path / 'aft.json'
    words = [str(patient), '--processes', '--load', 'constant:-5']
    plan = make_plan([*words, '--namespace', 'fore'], terminal=False)
    aft_words = [*words, '--namespace', 'ship/aft', '--summary', str(summary)]
    with closing(Up(*aft_words, log=tmp_path / 'aft')) as aft:
        with running(plan, tmp_path / 'fore') as fore, closing(spy_on(plan.pack, plan)) as spy:
            fore.wait_connected()
            aft.wait('pack: CONNECTED')
            mark = spy.log.mark
            os.kill(fore.rig.pids()['protection'], signal.SIGKILL)
            spy.reported('all_open', mark)
            fore.lines.wait(lambda line: 'protection: started again' in line, 'its respawn')
            assert aft.process.poll() is None
            pids = aft.pids()
            assert len(pids) == 5 and all(runs(pid) for pid in pids)
            assert aft.end(signal.SIGINT) == 0
            assert not any(runs(pid) for pid in pids)
    told = json.loads(summary.read_text(encoding='utf-8'))
    assert told['namespace'] == 'ship/aft'
    (connection,) = told['connections']  # connected once, and until it was told to end
    assert 'the run ends' in connection['why']
    assert not [one for one in told['faults'] if one['level'] == 'MSL']


def test_killed_itself_it_leaves_no_process_behind(patient, tmp_path):
    with closing(Up(str(patient), '--processes', '--no-connect', log=tmp_path)) as up:
        up.wait('pack: STANDBY')
        pids = up.pids()
        watches = [os.pidfd_open(pid) for pid in pids]
        up.process.kill()
        for pid, watch in zip(pids, watches, strict=True):
            ended = _wait_readable(watch)
            assert ended, f'process {pid} outlived the one that started it'


def _wait_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    try:
        return bool(poll.poll(DEADLINE * 1000))
    finally:
        os.close(fd)
