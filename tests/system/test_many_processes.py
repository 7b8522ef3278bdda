# SPDX-License-Identifier: Apache-2.0
"""The many-process form over a CAN hub: what happens when one process after the other is killed.

Order is judged by what was seen first, on the wire and on topics, so that a slow machine makes
the tests slow and not wrong.
"""

import dataclasses
import os
import signal
import subprocess
import time
from pathlib import Path

from dbms_msgs.msg import Faults, Limits, ProtectionState, StringMeasurement
from dbms_msgs.srv import Command
from sensor_msgs.msg import BatteryState
from system_rig import MEASUREMENT, STATE, Ears, Running, Spy, closing, running, spy_on

from dbms_bringup.graph import simulators
from dbms_bringup.plan import Plan, make_plan
from dbms_bringup.processes import jobs

ATTEMPTS = 5  # to connect
TOPICS = {
    'state': (ProtectionState, 'protection/state', STATE),
    'faults': (Faults, 'faults', STATE),
    'limits': (Limits, 'limits', STATE),
    'string': (StringMeasurement, 'strings/a/measurement', MEASUREMENT),
    'battery': (BatteryState, 'battery_state', MEASUREMENT),
}


def plan_of(pack: Path) -> Plan:
    return make_plan([str(pack), '--processes', '--load', 'constant:-5'], terminal=False)


def kill(run: Running, name: str) -> float:
    """Kill a process of the graph without a last word; return when."""
    pid = run.rig.pids()[name]
    now = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return now


def in_state(name: str):
    return lambda message: message.state_name == name


def connect(ears: Ears) -> None:
    """Reset and connect, as soon as what was lost counts as there again."""
    mark = ears.logs['state'].mark
    while True:
        ears.call(Command, 'reset_faults', Command.Request(origin='test'))
        answer = ears.call(Command, 'connect', Command.Request(origin='test'))
        if answer.success:
            return
        _, message = ears.logs['state'].wait(lambda one: True, answer.message, mark)
        mark = ears.logs['state'].mark


def connect_and_close(ears: Ears, spy: Spy, mark: int) -> None:
    """Connect until the mains read closed after `mark`.

    An attempt is given up without a fault when a measurement is missing for a moment, as it may
    be beside a process that has just been started; whoever asked asks again.
    """
    states = ears.logs['state']
    for _ in range(ATTEMPTS):
        begun = states.mark
        connect(ears)
        states.wait(lambda one: one.state_name.startswith('CONNECT'), 'connecting', begun)
        _, ended = states.wait(
            lambda one: one.state_name in ('CONNECTED', 'STANDBY'), 'its end', states.mark
        )
        if ended.state_name == 'CONNECTED':
            break
    spy.reported('main_closed', mark)


def test_protection_killed_opens_by_lease_and_comes_back_safe(patient, tmp_path, measured):
    plan = plan_of(patient)
    lease = plan.pack.strings[0].contactors.lease
    with running(plan, tmp_path) as run, closing(spy_on(plan.pack, plan)) as spy:
        with closing(Ears('battery', **TOPICS)) as ears:
            run.wait_connected()
            spy.reported('main_closed')
            mark, told = spy.log.mark, ears.logs['state'].mark
            killed = kill(run, 'protection')
            opened = spy.commanded('all_open', mark)  # the driver's answer to a lease run out
            spy.reported('all_open', mark)
            back, _ = ears.logs['state'].wait(in_state('STANDBY'), 'STANDBY again', told)
            # It is there again, and closes nothing until somebody asks for it.
            after = spy.log.mark
            for _ in range(3):
                told = ears.logs['state'].mark
                ears.logs['state'].wait(in_state('STANDBY'), 'a heartbeat', told)
            assert not any(one.main_closed for one in spy.log.since(after))
            connect_and_close(ears, spy, after)
    measured('protection killed: open command', opened - killed, lease)
    assert opened < back  # by the lease, not by the protection that was started again


def test_driver_killed_opens_by_the_lease_of_the_unit(patient, tmp_path, measured):
    plan = plan_of(patient)
    with running(plan, tmp_path) as run, closing(spy_on(plan.pack, plan)) as spy:
        with closing(Ears('battery', **TOPICS)) as ears:
            run.wait_connected()
            spy.reported('main_closed')
            mark, told = spy.log.mark, ears.logs['state'].mark
            killed = kill(run, 'driver')
            opened, feedback = spy.reported('all_open', mark)
            assert feedback.lease_expired  # nobody was there to command it
            ears.logs['faults'].wait(
                lambda one: any(fault.string_name == 'a' for fault in one.faults), 'a fault'
            )
            heard = ears.logs['string'].mark
            ears.logs['string'].wait(lambda message: True, 'the driver again', heard)
            after = spy.log.mark
            ears.logs['state'].wait(
                lambda message: message.state_name in ('STANDBY', 'FAULT'), 'a safe state', told
            )
            connect_and_close(ears, spy, after)
    measured('driver killed: open on the wire', opened - killed)


def test_estimator_killed_is_no_matter_to_protection(patient, tmp_path):
    plan = plan_of(patient)
    with running(plan, tmp_path) as run, closing(spy_on(plan.pack, plan)) as spy:
        with closing(Ears('battery', **TOPICS)) as ears:
            run.wait_connected()
            spy.reported('main_closed')
            ears.logs['battery'].wait(lambda message: True, 'battery_state')
            mark, told = spy.log.mark, ears.logs['state'].mark
            kill(run, 'estimation')
            run.lines.wait(lambda line: 'estimation: started again' in line, 'its respawn')
            heard = ears.logs['battery'].mark
            ears.logs['battery'].wait(lambda message: True, 'battery_state again', heard)
            assert all(one.state_name == 'CONNECTED' for one in ears.logs['state'].since(told))
            assert spy.log.since(mark)
            assert all(one.main_closed for one in spy.log.since(mark))


def test_board_killed_is_named_derated_then_opened(patient, tmp_path):
    plan = plan_of(patient)
    alone = dataclasses.replace(plan.options, boards=('m2',))
    (board,) = [
        job
        for job in jobs(simulators(plan.pack, alone), [], plan.namespace)
        if job.name == 'sim_m2'
    ]
    without = dataclasses.replace(plan.options, extra={'sim': {'modules': ['m1']}})
    plan = dataclasses.replace(plan, options=without)
    # Started by hand: a board that nobody starts again.
    process = subprocess.Popen(board.command())
    try:
        with running(plan, tmp_path) as run, closing(spy_on(plan.pack, plan)) as spy:
            with closing(Ears('battery', **TOPICS)) as ears:
                run.wait_connected()
                _, healthy = ears.logs['limits'].wait(
                    lambda one: one.discharge_current > 0.0, 'limits'
                )
                mark = spy.log.mark
                before = {name: log.mark for name, log in ears.logs.items()}
                process.kill()
                _check_loss(ears, healthy, before)
                spy.commanded('all_open', mark)
                spy.reported('all_open', mark)
    finally:
        process.kill()
        process.wait()


def _check_loss(ears: Ears, healthy: Limits, before: dict[str, int]) -> None:
    """The lost module is named, the limits go down before the contactors open.

    `before`: places in the logs; at the start too, modules count as lost until they are heard.
    """
    derated, limits = ears.logs['limits'].wait(
        lambda one: 0.0 < one.discharge_current < healthy.discharge_current,
        'derated limits',
        before['limits'],
    )
    _, faults = ears.logs['faults'].wait(
        lambda one: any(fault.name == 'MODULE_LOST' for fault in one.faults),
        'MODULE_LOST',
        before['faults'],
    )
    lost = next(fault for fault in faults.faults if fault.name == 'MODULE_LOST')
    assert (lost.string_name, lost.module) == ('a', 'm2')
    assert 'm2' in limits.discharge_limited_by
    opened, state = ears.logs['state'].wait(
        lambda one: one.strings and one.strings[0].state_name in ('LEAVING', 'OPENING'),
        'leaving',
        before['state'],
    )
    assert derated < opened
    assert 'm2' in state.strings[0].reason
