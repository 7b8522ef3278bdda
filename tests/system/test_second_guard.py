# SPDX-License-Identifier: Apache-2.0
"""Two guards of one pack: the second goes on when the first dies, and never do both command."""

import os
import signal
import time
from pathlib import Path

import pytest
from dbms_msgs.msg import Faults, Holder, ProtectionState
from dbms_msgs.srv import Command
from diagnostic_msgs.msg import DiagnosticArray
from system_rig import COMMAND, DIAGNOSTICS, STATE, Ears, closing, running, spy_on

from dbms_bringup.plan import Plan, make_plan

pytestmark = pytest.mark.slow

TOPICS = {
    'state': (ProtectionState, 'protection/state', STATE),
    'faults': (Faults, 'faults', STATE),
    'holder': (Holder, 'protection/holder', STATE),
    'diagnostics': (DiagnosticArray, '/diagnostics', DIAGNOSTICS),
}
GUARDS = ('protection', 'protection_standby')


def plan_of(pack: Path) -> Plan:
    words = [str(pack), '--processes', '--standby', '--load', 'constant:-5']
    return make_plan(words, terminal=False)


def in_office(ears: Ears) -> str:
    """Return the process of the guard that speaks for the pack."""
    _, told = ears.logs['holder'].wait(lambda one: one.guard, 'a guard in office')
    return told.guard.rpartition('/')[2]


def standing_by(ears: Ears) -> str:
    """Wait until one guard is in office and the other hears it; return the one in office."""
    first = in_office(ears)
    (second,) = set(GUARDS) - {first}
    ears.logs['diagnostics'].wait(
        lambda told: any(
            one.name.endswith(f'/{second}: second guard') and one.message.startswith('stands by')
            for one in told.status
        ),
        f'{second} stands by',
    )
    return first


def other_in_office(name: str):
    return lambda told: told.guard and not told.guard.endswith(f'/{name}')


def opened(spy, mark: int) -> list:
    """Return every command since that does not keep both mains closed."""
    return [one for one in spy.log.since(mark) if one.kind == COMMAND and not one.main_closed]


def test_the_second_guard_goes_on_when_the_first_is_killed(patient, tmp_path, measured):
    plan = plan_of(patient)
    lease = plan.pack.strings[0].contactors.lease
    with running(plan, tmp_path) as run, closing(spy_on(plan.pack, plan)) as spy:
        with closing(Ears('battery', **TOPICS)) as ears:
            run.wait_connected()
            spy.reported('main_closed')
            first = standing_by(ears)
            ears.call(Command, 'connect', Command.Request(holder='dock', lease=600.0))
            ears.logs['holder'].wait(lambda one: one.holder == 'dock', 'the holder')
            for _ in range(2):  # the second hears of it
                ears.logs['holder'].wait(lambda one: True, 'told', ears.logs['holder'].mark)
            mark, told, states = spy.log.mark, ears.logs['holder'].mark, ears.logs['state'].mark
            killed = time.monotonic()
            os.kill(run.rig.pids()[first], signal.SIGKILL)
            over, message = ears.logs['holder'].wait(other_in_office(first), 'the second', told)
            assert message.holder == 'dock', 'who holds the pack is handed over'
            _, state = ears.logs['state'].wait(lambda one: True, 'its state', states)
            for _ in range(6):  # long after the lease, with the first started again
                ears.logs['state'].wait(lambda one: True, 'a beat', ears.logs['state'].mark)
            assert state.state_name == 'CONNECTED'
            assert not opened(spy, mark)
            assert not ears.logs['faults'].since(0)[-1].faults
            # It guards: what it is asked for happens.
            answer = ears.call(Command, 'disconnect', Command.Request(holder='planner'))
            assert 'held by dock' in answer.message
            assert ears.call(Command, 'disconnect', Command.Request(holder='dock')).success
            spy.commanded('all_open', mark)
    measured('guard in office killed: the other in office', over - killed, lease)


def test_a_guard_that_was_stopped_finds_itself_deposed(patient, tmp_path):
    plan = plan_of(patient)
    with running(plan, tmp_path) as run, closing(spy_on(plan.pack, plan)) as spy:
        with closing(Ears('battery', **TOPICS)) as ears:
            run.wait_connected()
            spy.reported('main_closed')
            first = standing_by(ears)
            mark, told = spy.log.mark, ears.logs['holder'].mark
            pid = run.rig.pids()[first]
            os.kill(pid, signal.SIGSTOP)
            try:
                ears.logs['holder'].wait(other_in_office(first), 'the second', told)
            finally:
                os.kill(pid, signal.SIGCONT)
            awake = ears.logs['holder'].mark
            for _ in range(6):
                state = ears.logs['state'].mark
                ears.logs['state'].wait(lambda one: True, 'a beat', state)
            assert not opened(spy, mark), 'neither opened nor closed anything'
            guards = {one.guard for one in ears.logs['holder'].since(awake) if one.guard}
            assert len(guards) == 1 and not guards & {f'/battery/{first}'}
            assert {one.state_name for one in ears.logs['state'].since(state)} == {'CONNECTED'}
            # And it is the second now: the other way round it takes over again.
            mark, told = spy.log.mark, ears.logs['holder'].mark
            second = guards.pop().rpartition('/')[2]
            os.kill(run.rig.pids()[second], signal.SIGKILL)
            ears.logs['holder'].wait(other_in_office(second), 'the first again', told)
            assert not opened(spy, mark)
