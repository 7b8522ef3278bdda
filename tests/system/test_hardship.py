# SPDX-License-Identifier: Apache-2.0
"""What a machine does to a graph: processes that hang or die in each state, no processor time, a
full disk, a cut wire. Safe within the lease, and nothing lost that was acknowledged.

Each test runs the many-process form and notes how long the contactors took to open.
"""

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import yaml
from dbms_msgs.msg import Faults, ProtectionState
from dbms_msgs.srv import Command, InjectFault
from system_rig import STATE, Ears, closing, running, spy_on

from dbms_bringup.plan import make_plan

TOPICS = {
    'state': (ProtectionState, 'protection/state', STATE),
    'faults': (Faults, 'faults', STATE),
}
STATES = ('standby', 'precharge', 'connected', 'charging', 'bridged', 'fault')
CLOSED = ('precharge', 'connected', 'charging', 'bridged')
SLACK = 1.0  # s, of a machine that does other things too, beyond what the pack allows


@pytest.fixture
def sturdy(patient):
    """Return the patient pack, but one that bridges a lost module for longer than a test lasts."""
    content = yaml.safe_load(patient.read_text(encoding='utf-8'))
    content['limits']['module_lost']['open_after'] = 120.0
    patient.write_text(yaml.safe_dump(content), encoding='utf-8')
    return patient


def plan_of(pack, events='none', state='connected'):
    load = 'constant:5' if state == 'charging' else 'constant:-5'
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
    if state == 'bridged':
        inject(ears, 'board_silent', 'm2')
        ears.logs['faults'].wait(lambda one: fault_of(one, 'MODULE_LOST', 'm2'), 'the loss')
        assert ears.logs['state'].since(0)[-1].state_name == 'CONNECTED'
    if state == 'fault':
        trip(ears, 3)
        spy.reported('all_open', mark)
        ears.logs['state'].wait(lambda one: one.state_name == 'FAULT', 'FAULT', told)


def fault_of(faults, name, module, cell=0):
    """Return the fault of that name and place in a message, if it is there."""
    found = [
        one for one in faults.faults if (one.name, one.module, one.cell) == (name, module, cell)
    ]
    return found[0] if found else None


def trip(ears, cell):
    """Make a cell of the first module bad, and wait until the guard has said so."""
    inject(ears, 'cell_overvoltage', f'm1:{cell}', 'offset=1.0')
    ears.logs['faults'].wait(
        lambda one: (found := fault_of(one, 'CELL_OVERVOLTAGE', 'm1', cell)) and found.level == 3,
        f'the fault of cell {cell}',
    )


def look_on(spy, seconds):
    """Return what was on the wire in the next `seconds`, by which the unit tells of itself."""
    mark, end = spy.log.mark, time.monotonic() + seconds
    while time.monotonic() < end:
        spy.log.wait(lambda one: True, 'anything on the wire', spy.log.mark)
    return spy.log.since(mark)


def guards_still(state, spy, ears, measured, what):
    """See that a cell that goes bad now is found, and that the pack opens or stays open."""
    mark, begun = spy.log.mark, time.monotonic()
    trip(ears, 7)
    if state in CLOSED:
        opened, _ = spy.reported('all_open', mark)
        measured(f'{what}, {state}: a bad cell, open', opened - begun)
    answer = ask(ears, 'connect')
    assert not answer.success, 'connected with a fault'
    after = look_on(spy, SLACK)
    assert after and all(one.all_open for one in after)
    if state not in CLOSED:
        assert all(one.all_open for one in spy.log.since(mark))


@pytest.mark.slow
@pytest.mark.parametrize('state', STATES)
@pytest.mark.parametrize('blow', [signal.SIGKILL, signal.SIGSTOP], ids=['killed', 'stopped'])
@pytest.mark.parametrize('victim', ['protection', 'driver'])
def test_who_dies_or_hangs_in_any_state_leaves_open_contactors(
    sturdy, tmp_path, measured, state, blow, victim
):
    plan = plan_of(sturdy, state=state)
    lease = plan.pack.strings[0].contactors.lease
    with graph(plan, tmp_path) as (run, spy, ears):
        bring_to(state, spy, ears)
        mark, begun = spy.log.mark, time.monotonic()
        pid = run.rig.pids()[victim]
        os.kill(pid, blow)
        try:
            if state in CLOSED:
                opened, _ = spy.reported('all_open', mark, lease + SLACK)
                how = 'killed' if blow == signal.SIGKILL else 'stopped'
                measured(f'{victim} {how}, {state}: open', opened - begun, lease)
            after = look_on(spy, lease + SLACK)
            assert after and all(one.all_open for one in after), f'although {victim} is gone'
            if state not in CLOSED:
                assert all(one.all_open for one in spy.log.since(mark))
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


@pytest.fixture
def small_disk(tmp_path):
    """Return a directory with a file system of its own that is soon full."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    words = ['mount', '-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', str(disk)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip('no right to mount a small file system')
    yield disk
    subprocess.run(['umount', '-l', str(disk)], check=False)


def fill(disk):
    with open(disk / 'filler', 'wb', buffering=0) as filler:
        try:
            while filler.write(b'x' * 4096) == 4096:
                pass
        except OSError:
            pass  # full


@pytest.mark.slow
@pytest.mark.parametrize('state', STATES)
def test_a_full_disk_stops_neither_guarding_nor_loses_what_was_acknowledged(
    sturdy, tmp_path, small_disk, measured, state
):
    file = small_disk / 'events.sqlite'
    with graph(plan_of(sturdy, file, state), tmp_path) as (_, spy, ears):
        bring_to(state, spy, ears)
        fill(small_disk)
        answers = [ask(ears, 'reset_faults', f'{number:02d}' + 'x' * 500) for number in range(30)]
        guards_still(state, spy, ears, measured, 'disk full')
    unkept = ['not in the event log' in answer.message for answer in answers]
    assert any(unkept), 'the disk was full, and nobody was told'
    with closing(sqlite3.connect(file)) as base:
        kept = str(base.execute('SELECT * FROM events').fetchall())
    for number, lost in enumerate(unkept):
        assert lost or f'{number:02d}xxx' in kept, f'command {number} was acknowledged'


@pytest.mark.slow
@pytest.mark.parametrize('state', STATES)
def test_a_trip_comes_through_while_others_take_all_processor_time(
    sturdy, tmp_path, measured, state
):
    burners = []
    try:
        with graph(plan_of(sturdy, state=state), tmp_path) as (_, spy, ears):
            bring_to(state, spy, ears)
            burners += [
                subprocess.Popen([sys.executable, '-c', 'while True: pass'])
                for _ in range(2 * (os.cpu_count() or 1))
            ]
            guards_still(state, spy, ears, measured, 'no processor time')
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@pytest.mark.slow
@pytest.mark.parametrize('state', STATES)
def test_a_cut_bus_opens_the_unit_by_its_own_lease(sturdy, tmp_path, state):
    plan = plan_of(sturdy, state=state)
    with graph(plan, tmp_path) as (run, spy, ears):
        bring_to(state, spy, ears)
        told, heard = ears.logs['state'].mark, ears.logs['faults'].mark
        inject(ears, 'bus_off', 'main')
        ears.logs['faults'].wait(
            lambda one: any(f.name == 'STRING_LOST' for f in one.faults), 'the loss', heard
        )
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
        if state in ('connected', 'charging', 'bridged'):
            assert feedback.lease_expired
