# SPDX-License-Identifier: Apache-2.0
"""The protection node over DDS, against a fake driver."""

from dataclasses import replace

import numpy as np
import pytest
from dbms_msgs.msg import Fault
from dbms_msgs.srv import SetContactors
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_rig import Listener, World
from protection_rig import UNIT, levels, make_limits, make_pack

from dbms_pack import LossRule
from dbms_protection import event_log, protection_node

OPEN = (False, False, False)
# A busy test machine shall not break the lease; the lease itself is tested without ROS.
PATIENT = replace(UNIT, lease=2.0, feedback_timeout=2.0)


def patient_pack(unit=PATIENT, **limits):
    limits = {
        'string_lost': LossRule(timeout=3.0, derate=0.0, open_after=0.0),
        'module_lost': LossRule(timeout=3.0, derate=0.5, open_after=30.0),
        **limits,
    }
    return make_pack(unit=unit, limits=make_limits(**limits))


@pytest.fixture
def world_of(monkeypatch):
    worlds = []

    def make(pack=None, **parameters):
        pack = pack or patient_pack()
        monkeypatch.setattr(protection_node, 'load_pack', lambda name: pack)
        worlds.append(World(pack, **parameters))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'parameters',
    [
        {'name': ''},
        {'time_scale': 10.0},
        {'use_sim_time': True},
    ],
    ids=str,
)
def test_it_does_not_start_with(world_of, parameters, capfd):
    world = world_of(**parameters)
    world.node.trigger_configure()
    assert world.node.state_label == 'unconfigured'
    assert 'configure failed' in capfd.readouterr().err


def test_missing_limits_stop_the_start_with_their_name(world_of, capfd):
    world = world_of(make_pack(limits=make_limits(cell_overvoltage={})))
    world.node.trigger_configure()
    assert world.node.state_label == 'unconfigured'
    assert 'cell_overvoltage: no MOL, RSL, MSL' in capfd.readouterr().err


def test_an_exception_in_a_transition_is_seen_and_safe(world_of, monkeypatch, capfd):
    world = world_of()
    world.node.trigger_configure()
    monkeypatch.setattr(world.node.guard, 'activate', lambda now: 1 / 0)
    world.node.trigger_activate()
    assert world.node.state_label == 'unconfigured'
    assert 'ZeroDivisionError' in capfd.readouterr().err
    world.node.trigger_configure()
    world.node.trigger_activate()
    assert world.node.is_active, 'it can be started again'


def test_an_exception_in_the_guard_opens_and_the_node_lives(world_of, monkeypatch):
    world = world_of().activate()
    world.connect()

    def broken(*arguments):
        raise KeyError('broken')

    monkeypatch.setattr(world.node.guard, 'on_cells', broken)
    world.until(lambda: world.driver.calls[-1] == OPEN, 'opened')
    world.in_state('FAULT')
    assert any(name == 'INTERNAL_ERROR' for name, _, _ in world.listener.names())


def test_an_impossible_transition_does_not_end_the_process(world_of):
    world = world_of()
    client = world.listener.create_client(ChangeState, 'protection/change_state')
    world.until(client.service_is_ready, 'change_state')
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    future = client.call_async(request)
    world.until(future.done, 'answer')
    assert not future.result().success
    assert world.node.state_label == 'unconfigured'


def test_messages_of_wrong_length_or_foreign_frame_change_nothing(world_of):
    world = world_of().activate()
    module = world.pack.modules[0]
    world.driver.volts[module.name] = [9.0] * 23
    judge = world.node.guard.judge
    world.until(lambda: judge.refused['scan of wrong size'] > 2, 'counted')
    world.driver.volts[module.name] = [9.0] * module.cells
    world.driver.frame = 'somebody else'
    world.until(lambda: world.node._foreign > 20, 'counted')
    assert np.nanmax(judge.cells.voltages) < 4.0
    assert not any(level == Fault.LEVEL_MSL for _, level, _ in world.listener.names())


def test_commands_are_answered_when_not_active(world_of):
    world = world_of()
    assert world.ask('connect').message == 'protection is not configured'
    world.node.trigger_configure()
    answer = world.ask('connect')
    assert (answer.success, answer.message) == (False, 'protection is not active')
    assert world.driver.calls == []


def test_a_driver_that_is_gone_is_a_fault_and_no_exception(world_of):
    unit = replace(PATIENT, lease=0.5)
    pack = replace(patient_pack(), strings=make_pack(unit=unit).strings)
    world = world_of(pack).activate()
    world.connect()
    world.driver.destroy_service(world.driver.service)
    world.in_state('FAULT')
    assert ('CONTACTOR_DRIVER_LOST', Fault.LEVEL_MSL, '') in world.listener.names()
    assert all(len(pending) <= protection_node.PENDING for pending in world.node._pending)


# -- service --------------------------------------------------------------------------------------


def test_a_guard_of_two_tells_its_office_and_what_it_is_asked(world_of, capfd):
    world = world_of(pair='first').activate()
    world.connect()  # rclpy refuses lines of two severities from one place in the code
    world.node.close()  # says what waits
    told = capfd.readouterr()
    told = told.out + told.err
    assert 'in office, term 1' in told and 'connect by' in told
    assert 'a report was lost' not in told


def test_autostart_brings_it_up_by_itself(world_of):
    world = world_of(autostart=True)
    world.in_state('STANDBY')
    assert world.node.is_active


def test_connect_trip_reset_connect(world_of):
    world = world_of().activate()
    world.connect()
    driver, listener = world.driver, world.listener
    assert driver.closed == (True, False, True)
    world.until(lambda: listener.limits.discharge_current == 100.0, 'limits')
    driver.volts['a2'][2] = 4.3
    world.in_state('FAULT')
    assert driver.calls[-1] == OPEN
    fault = listener.faults.faults[0]
    assert (fault.name, fault.module, fault.cell) == ('CELL_OVERVOLTAGE', 'a2', 3)
    assert fault.value == pytest.approx(4.3)
    assert fault.limit == pytest.approx(4.22)
    assert fault.active and fault.latched
    assert fault.since.sec > 1_600_000_000
    assert not world.ask('reset_faults').success
    assert not world.ask('connect').success
    driver.volts['a2'][2] = 3.7
    world.until(lambda: not listener.faults.faults[0].active, 'cause gone')
    assert world.ask('reset_faults').success
    world.in_state('STANDBY')
    world.connect()


def test_the_opening_call_precedes_the_telling(world_of, monkeypatch):
    world = world_of().activate()
    world.connect()
    order = []
    node = world.node
    send, publish = node._clients_of[0].call_async, node._voice.state.publish

    def calls(request: SetContactors.Request):
        order.append('open' if not request.minus else 'renew')
        return send(request)

    def publishes(message):
        if order and message.state_name != 'CONNECTED':
            order.append(message.state_name)
        publish(message)

    monkeypatch.setattr(node._clients_of[0], 'call_async', calls)
    monkeypatch.setattr(node._voice.state, 'publish', publishes)
    world.driver.volts['a1'][0] = 4.3
    world.in_state('FAULT')
    told = [step for step in order if step != 'renew']
    assert told[0] == 'open'
    assert told[1] in ('DISCONNECTING', 'FAULT')


def test_a_lost_module_is_named_derated_and_opened_announced(world_of):
    pack = patient_pack(module_lost=LossRule(timeout=0.6, derate=0.5, open_after=1.0))
    world = world_of(pack).activate()
    world.connect()
    world.driver.current = -60.0
    listener = world.listener
    world.driver.silent = {'a2'}
    world.until(lambda: ('MODULE_LOST', Fault.LEVEL_RSL, 'a2') in listener.names(), 'named')
    world.until(lambda: listener.limits.discharge_current == 50.0, 'derated')
    assert listener.limits.discharge_limited_by == 'MODULE_LOST RSL module a2'
    world.in_state('DISCONNECTING')
    assert listener.state.strings[0].state_name == 'LEAVING'
    world.in_state('FAULT')
    assert world.driver.closed == OPEN


@pytest.mark.parametrize('way', ['trigger_deactivate', 'trigger_shutdown', 'close'])
def test_leaving_active_opens(world_of, way):
    world = world_of().activate()
    world.connect()
    getattr(world.node, way)()
    world.until(lambda: world.driver.calls[-1] == OPEN, 'opened')


def test_a_deactivated_node_renews_nothing_and_comes_back_open(world_of):
    world = world_of().activate()
    world.connect()
    world.node.trigger_deactivate()
    world.in_state('INACTIVE')
    count = len(world.driver.calls)
    sequence = world.listener.state.sequence
    world.until(lambda: world.listener.state.sequence > sequence + 3, 'heartbeats')
    assert len(world.driver.calls) <= count + 1
    assert world.driver.calls[-1] == OPEN
    world.activate()
    assert world.driver.closed == OPEN
    world.node.trigger_deactivate()
    world.node.trigger_cleanup()
    assert world.node.state_label == 'unconfigured'
    assert world.node.guard is None


def test_a_late_joiner_gets_the_state_and_the_faults(world_of):
    world = world_of(patient_pack(cell_overvoltage=levels(4.0, 4.18, 4.22))).activate()
    world.driver.volts['a1'][0] = 4.3
    world.in_state('FAULT')
    world.node._heartbeat.cancel()  # what comes now was kept, and not sent again
    late = world.add(Listener(world.context))
    world.until(lambda: late.state is not None and late.faults is not None, 'kept state')
    assert late.state.state_name == 'FAULT'
    assert late.faults.faults[0].name == 'CELL_OVERVOLTAGE'
    world.until(lambda: late.limits is not None, 'limits')


def test_the_heartbeat_counts(world_of):
    world = world_of().activate()
    first = world.listener.state.sequence
    world.until(lambda: world.listener.state.sequence > first + 3, 'heartbeat')


# -- what survives --------------------------------------------------------------------------------


def test_latched_faults_and_commands_survive_the_end_of_the_node(world_of, tmp_path):
    path = tmp_path / 'events.sqlite'
    first = world_of(event_file=str(path)).activate()
    first.connect()
    first.driver.volts['a1'][2] = 4.3
    first.until(lambda: ('CELL_OVERVOLTAGE', 3, 'a1') in first.listener.names(), 'the fault')
    first.node.close()
    kinds = [event.kind for event in event_log.read(path)]
    assert {'start', 'command', 'contactor', 'fault'} <= set(kinds)
    second = world_of(event_file=str(path))
    second.node.trigger_configure()
    second.node.trigger_activate()
    second.in_state('FAULT')
    second.until(lambda: ('CELL_OVERVOLTAGE', 3, 'a1') in second.listener.names(), 'the old fault')
    assert second.ask('reset_faults').success


def test_a_simulation_keeps_nothing_unless_told_to(world_of, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path))
    world = world_of(event_file='', simulation=True).activate()
    world.connect()
    assert list(tmp_path.iterdir()) == []
