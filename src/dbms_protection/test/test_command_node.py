# SPDX-License-Identifier: Apache-2.0
"""Commands over DDS: holders, the emergency stop, and what the event log keeps of them."""

import socket

import pytest
from dbms_msgs.msg import Holder
from dbms_msgs.srv import Command
from node_rig import World
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from test_protection_node import OPEN, patient_pack, world_of  # noqa: F401

from dbms_node import qos
from dbms_protection import event_log


def ask(world: World, kind, **values):
    client = world.listener.commands[kind]
    world.until(client.service_is_ready, f'service {kind}')
    future = client.call_async(Command.Request(origin='test', reason='why', **values))
    world.until(future.done, f'answer to {kind}')
    return future.result()


def test_a_pack_is_held_told_and_kept_in_the_log(world_of, tmp_path):  # noqa: F811
    path = tmp_path / 'events.sqlite'
    world = world_of(event_file=str(path)).activate()
    heard = []
    world.listener.create_subscription(Holder, 'protection/holder', heard.append, qos.STATE)
    answer = ask(world, 'connect', holder='dock', lease=60.0)
    assert answer.success, answer.message
    world.in_state('CONNECTED')
    world.until(lambda: heard and heard[-1].holder == 'dock', 'the holder')
    assert 50.0 < heard[-1].lease <= 60.0
    refused = ask(world, 'disconnect', holder='planner')
    assert not refused.success and 'held by dock' in refused.message
    assert ask(world, 'disconnect', holder='helm', force=True).success
    world.until(lambda: heard[-1].holder == '', 'nobody holds it')
    world.node.close()
    kept = [event.text for event in event_log.read(path) if event.kind == 'command']
    assert len(kept) == 3
    assert 'connect by test for dock (why)' in kept[0]
    assert 'disconnect by test for planner (why): the pack is held by dock' in kept[1]
    assert 'disconnect by force by test for helm' in kept[2]


@pytest.mark.parametrize('kind', ['connect', 'reset_faults'])
def test_words_without_end_or_with_lines_do_not_fill_the_log(world_of, tmp_path, kind):  # noqa: F811
    path = tmp_path / 'events.sqlite'
    world = world_of(event_file=str(path)).activate()
    client = world.listener.commands[kind]
    world.until(client.service_is_ready, f'service {kind}')
    bad = 'forged\n2026-01-01 connect by helm' + 'x' * 100_000
    future = client.call_async(
        Command.Request(
            origin=bad,
            reason=bad,
            holder=bad,
            lease=1.0,
            strings=[f'{n}{bad}' for n in range(100)],
        )
    )
    world.until(future.done, 'answer')
    assert not future.result().success
    [kept] = [event for event in event_log.read(path) if event.kind == 'command']
    assert '\n' not in kept.text and 'forged?2026' in kept.text
    assert len(kept.text) + len(str(kept.detail)) < 100_000
    world.until(lambda: world.listener.state is not None, 'a state')
    assert len(world.listener.state.last_command) < 1000


def test_too_many_strings_refuse_the_whole_command(world_of):  # noqa: F811
    world = world_of().activate()
    answer = world.ask('connect', *[string.name for string in world.pack.strings], 'b', 'c')
    assert not answer.success and 'no string b' in answer.message
    assert world.driver.calls == [OPEN] * len(world.driver.calls)


@pytest.mark.parametrize('profile', [qos.STATE, qos.DISPLAY, qos.MEASUREMENT])
def test_the_button_stops_whatever_its_quality_of_service(world_of, profile):  # noqa: F811
    world = world_of().activate()
    world.connect()
    button = world.listener.create_publisher(Bool, 'emergency_stop/pressed', profile)

    def press():
        button.publish(Bool(data=True))
        return world.driver.calls[-1] == OPEN

    world.until(press, 'opened')
    world.in_state('FAULT')
    assert ('EMERGENCY_STOP', 3, '') in world.listener.names()


def test_a_late_guard_hears_that_the_button_is_pressed(world_of):  # noqa: F811
    world = world_of()
    button = world.listener.create_publisher(Bool, 'emergency_stop/pressed', qos.STATE)
    button.publish(Bool(data=True))
    world.until(lambda: world.node._desk._pressed, 'the button')
    world.node.trigger_configure()
    world.node.trigger_activate()
    world.in_state('FAULT')
    assert not world.ask('connect').success


def test_the_service_stops_and_tells(world_of):  # noqa: F811
    world = world_of().activate()
    world.connect()
    client = world.listener.create_client(Trigger, 'emergency_stop')
    world.until(client.service_is_ready, 'the service')
    future = client.call_async(Trigger.Request())
    world.until(future.done, 'answer')
    assert future.result().success
    assert world.driver.calls[-1] == OPEN
    world.in_state('FAULT')


def test_a_rule_that_is_none_stops_the_start(world_of, capfd):  # noqa: F811
    world = world_of(holder_lapse='panic')
    world.node.trigger_configure()
    assert world.node.state_label == 'unconfigured'
    assert 'holder_lapse is panic' in capfd.readouterr().err


def test_a_guard_that_fails_is_not_alive_for_systemd(
    world_of,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / 'notify'))
        manager.setblocking(False)
        monkeypatch.setenv('NOTIFY_SOCKET', str(tmp_path / 'notify'))
        monkeypatch.setenv('WATCHDOG_USEC', '30000')
        monkeypatch.delenv('WATCHDOG_PID', raising=False)
        told = []

        def hear():
            try:
                while True:
                    told.append(manager.recv(64))
            except BlockingIOError:
                return told

        world = world_of().activate()
        assert b'READY=1' in hear()
        count = len(told)
        world.until(lambda: hear().count(b'WATCHDOG=1') > count + 5, 'it is alive')
        cycles = []

        def broken(now):
            cycles.append(now)
            raise KeyError('broken')

        monkeypatch.setattr(world.node.guard, 'tick', broken)
        world.until(lambda: cycles, 'a cycle that fails')
        hear()
        count = len(told)
        world.until(lambda: len(cycles) > 10, 'more of them')
        assert len(hear()) == count
