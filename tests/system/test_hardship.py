# SPDX-License-Identifier: Apache-2.0
"""What a machine does to a graph: processes that hang or die in each state, no processor time, a
full disk, a cut wire. Safe within the lease, and nothing lost that was acknowledged.

Each test runs the many-process form; times are those of the pack, waited for with deadlines.
"""

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from dbms_msgs.msg import Faults, ProtectionState
from dbms_msgs.srv import Command, InjectFault
from system_rig import STATE, Ears, closing, running, spy_on

from dbms_bringup.plan import make_plan

TOPICS = {
    'state': (ProtectionState, 'protection/state', STATE),
    'faults': (Faults, 'faults', STATE),
}
STATES = ('standby', 'precharge', 'connected', 'charging', 'fault')
SLACK = 1.0  # s, of a machine that does other things too, beyond what the pack allows


def plan_of(pack, events='none', load='constant:-5'):
    plan = make_plan([str(pack), '--processes', '--load', load], terminal=False)
    extra = {'protection': {'event_file': str(events)}}
    return dataclasses.replace(plan, options=dataclasses.replace(plan.options, extra=extra))


@contextmanager
def graph(plan, log):
    with running(plan, log) as run, closing(spy_on(plan.pack, plan)) as spy:
        with closing(Ears('battery', **TOPICS)) as ears:
            run.wait_connected()
            spy.reported('main_closed')
            yield run, spy, ears


def ask(ears, kind, reason='hardship'):
    return ears.call(Command, kind, Command.Request(origin='test', reason=reason))


def inject(ears, name, place, *parameters):
    answer = ears.call(
        InjectFault, 'sim/inject_fault',
        InjectFault.Request(name=name, place=place, parameters=list(parameters)),
    )  # fmt: skip
    assert answer.success, answer.message


def bring_to(state, spy, ears):
    """Bring a connected pack to a state."""
    mark, told = spy.log.mark, ears.logs['state'].mark
    if state in ('standby', 'precharge'):
        ask(ears, 'disconnect')
        spy.reported('all_open', mark)
        ears.logs['state'].wait(lambda one: one.state_name == 'STANDBY', 'STANDBY', told)
    if state == 'precharge':
        inject(ears, 'precharge_open', 'a')  # so that it lasts
        mark = spy.log.mark
        while not ask(ears, 'connect').success:
            pass
        spy.log.wait(lambda one: one[:2] == (2, 2), 'precharge', mark)
    if state == 'fault':
        inject(ears, 'cell_overvoltage', 'm1:3', 'offset=1.0')
        spy.reported('all_open', mark)
        ears.logs['state'].wait(lambda one: one.state_name == 'FAULT', 'FAULT', told)


@pytest.mark.slow
@pytest.mark.parametrize('state', STATES)
@pytest.mark.parametrize('blow', [signal.SIGKILL, signal.SIGSTOP], ids=['killed', 'stopped'])
@pytest.mark.parametrize('victim', ['protection', 'driver'])
def test_who_dies_or_hangs_in_any_state_leaves_open_contactors(
    patient, tmp_path, state, blow, victim
):
    plan = plan_of(patient, load='constant:5' if state == 'charging' else 'constant:-5')
    lease = plan.pack.strings[0].contactors.lease
    with graph(plan, tmp_path) as (run, spy, ears):
        bring_to(state, spy, ears)
        closed = state not in ('standby', 'fault')
        mark = spy.log.mark
        pid = run.rig.pids()[victim]
        os.kill(pid, blow)
        try:
            begun = threading.Event()
            begun.wait(lease + SLACK)
            opened, _ = spy.reported('all_open', mark)
            after = [one for one in spy.log.since(mark)]
            last = after[-1]
            assert last.all_open, f'{last} although {victim} is gone'
            if not closed:
                assert all(one.all_open for one in after)
        finally:
            if blow == signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
        # Back again: nothing closes by itself, whatever was going on.
        mark, told = spy.log.mark, ears.logs['state'].mark
        for _ in range(3):
            heard = ears.logs['state'].mark
            ears.logs['state'].wait(lambda one: True, 'a heartbeat', heard)
        assert not any(one.main_closed for one in spy.log.since(mark))
        assert all(one.state_name != 'CONNECTED' for one in ears.logs['state'].since(told)[1:])


@pytest.mark.slow
def test_what_was_acknowledged_survives_a_kill_right_after(patient, tmp_path):
    file = tmp_path / 'events.sqlite'
    plan = plan_of(patient, file)
    with graph(plan, tmp_path) as (run, spy, ears):
        bring_to('fault', spy, ears)
        answer = ask(ears, 'reset_faults', 'acknowledged-by-test')  # refused: it stands
        assert not answer.success
        os.kill(run.rig.pids()['protection'], signal.SIGKILL)
        told = ears.logs['state'].mark
        _, back = ears.logs['state'].wait(
            lambda one: one.faults_latched > 0 and one.state_name in ('FAULT', 'STANDBY'),
            'latched faults after the restart', told,
        )  # fmt: skip
    assert back.faults_latched > 0
    rows = sqlite3.connect(file).execute('select * from events').fetchall()
    kept = ' '.join(str(row) for row in rows)
    assert 'CELL_OVERVOLTAGE' in kept
    assert 'acknowledged-by-test' in kept, 'an answered command is not in the log'


@pytest.mark.slow
def test_a_full_disk_is_told_and_stops_neither_guarding_nor_a_trip(patient, tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    words = ['mount', '-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', str(disk)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip('no right to mount a small file system')
    try:
        plan = plan_of(patient, disk / 'events.sqlite')
        with graph(plan, tmp_path) as (run, spy, ears):
            with open(disk / 'filler', 'wb', buffering=0) as filler:
                try:
                    while filler.write(b'x' * 4096) == 4096:
                        pass
                except OSError:
                    pass  # full
            for _ in range(20):  # something to be kept
                ask(ears, 'reset_faults', 'x' * 500)
            mark = spy.log.mark
            inject(ears, 'cell_overvoltage', 'm1:3', 'offset=1.0')
            spy.reported('all_open', mark)
            ears.logs['faults'].wait(
                lambda one: any(f.name == 'CELL_OVERVOLTAGE' for f in one.faults), 'the fault'
            )
        text = ' '.join(path.read_text(errors='replace') for path in Path(tmp_path).rglob('*.log'))
        assert 'event log' in text
    finally:
        subprocess.run(['umount', '-l', str(disk)], check=False)


@pytest.mark.slow
def test_a_trip_comes_through_while_others_take_all_processor_time(patient, tmp_path):
    burners = []
    try:
        with graph(plan_of(patient), tmp_path) as (_, spy, ears):
            burners += [
                subprocess.Popen([sys.executable, '-c', 'while True: pass'])
                for _ in range(2 * (os.cpu_count() or 1))
            ]
            mark = spy.log.mark
            inject(ears, 'cell_overvoltage', 'm1:3', 'offset=1.0')
            spy.reported('all_open', mark)
            _, told = ears.logs['faults'].wait(
                lambda one: any(f.level == 3 for f in one.faults), 'an MSL fault'
            )
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert told.faults[0].string_name == 'a'


@pytest.mark.slow
@pytest.mark.parametrize('state', STATES)
def test_a_cut_bus_opens_the_unit_by_its_own_lease(patient, tmp_path, state):
    plan = plan_of(patient, load='constant:5' if state == 'charging' else 'constant:-5')
    with graph(plan, tmp_path) as (run, spy, ears):
        bring_to(state, spy, ears)
        told = ears.logs['state'].mark
        inject(ears, 'bus_off', 'main')
        ears.logs['faults'].wait(
            lambda one: any(f.name in ('STRING_LOST', 'MODULE_LOST') for f in one.faults),
            'a loss', ears.logs['faults'].mark,
        )  # fmt: skip
        ears.logs['state'].wait(
            lambda one: one.strings[0].state_name in ('OPEN', 'FAULTED'), 'open', told
        )
        mark = spy.log.mark
        answer = ears.call(
            InjectFault, 'sim/inject_fault', InjectFault.Request(clear=True, name='bus_off')
        )
        assert answer.success, answer.message
        _, feedback = spy.reported('all_open', mark)  # the first thing that the unit says again
        assert not any(one.main_closed for one in spy.log.since(mark))
        if state in ('connected', 'charging'):
            assert feedback.lease_expired
