# SPDX-License-Identifier: Apache-2.0
"""Nothing that was acknowledged is lost: commands are answered when the event log has them."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dbms_msgs.srv import Command
from std_srvs.srv import Trigger
from test_protection_node import OPEN, world_of  # noqa: F401

from dbms_protection import desk_node, event_log
from dbms_protection.event_log import EventLog

HERE = Path(__file__).parent


@pytest.mark.parametrize('rounds', [9, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.timeout(300)
def test_a_kill_right_after_the_answer_loses_no_command(rounds, tmp_path):
    words = [sys.executable, str(HERE / 'acknowledged.py'), str(tmp_path), str(rounds)]
    paths = os.pathsep.join([str(HERE), os.environ.get('PYTHONPATH', '')])
    run = subprocess.run(
        words, env={**os.environ, 'PYTHONPATH': paths}, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    lines = [line.split('\t') for line in run.stdout.splitlines() if '\t' in line]
    assert len(lines) == rounds
    for number, kind, ended, said in lines:
        assert int(ended) == signal.SIGKILL and said and 'not in the event log' not in said
        kept = [e for e in event_log.read(tmp_path / f'{number}.sqlite') if e.kind == 'command']
        assert [e.detail['command'] for e in kept] == [kind]
        assert kept[0].text.endswith(said)


class SlowDisk:
    """An event log whose writes wait until they may go on."""

    def __init__(self, monkeypatch):
        self.may = threading.Event()
        self._append = EventLog.append
        monkeypatch.setattr(EventLog, 'append', lambda *what: self.append(*what))

    def append(self, log, *what):
        self.may.wait(60.0)
        return self._append(log, *what)


@pytest.fixture
def disk(monkeypatch):
    slow = SlowDisk(monkeypatch)
    slow.may.set()
    yield slow
    slow.may.set()


def call(world, kind, name, request):
    client = world.listener.create_client(kind, name)
    world.until(client.service_is_ready, f'service {name}')
    return client.call_async(request)


@pytest.mark.parametrize('name', ['disconnect', 'emergency_stop'])
def test_a_slow_disk_delays_the_answer_and_not_the_opening(
    world_of,  # noqa: F811
    disk,
    tmp_path,
    monkeypatch,
    name,
):
    monkeypatch.setattr(desk_node, 'ANSWER_WITHIN', 1000.0)
    world = world_of(event_file=str(tmp_path / 'events.sqlite')).activate()
    world.connect()
    disk.may.clear()
    stop = name == 'emergency_stop'
    future = call(world, *((Trigger, name, Trigger.Request()) if stop else
                           (Command, name, Command.Request(origin='test'))))  # fmt: skip
    world.until(lambda: world.driver.calls[-1] == OPEN, 'opened')
    assert not future.done()
    disk.may.set()
    world.until(future.done, 'the answer')
    assert 'not in the event log' not in future.result().message


def test_a_disk_that_hangs_is_told_in_the_answer_within_its_time(world_of, disk, tmp_path):  # noqa: F811
    world = world_of(event_file=str(tmp_path / 'events.sqlite')).activate()
    disk.may.clear()
    answer = world.ask('disconnect')
    assert answer.success
    limit = f'{desk_node.ANSWER_WITHIN:g} s'
    assert answer.message.endswith(f'not in the event log: the disk takes longer than {limit}')
    assert world.node.is_active


def test_a_full_disk_is_told_in_the_answer(world_of, monkeypatch, tmp_path):  # noqa: F811
    world = world_of(event_file=str(tmp_path / 'events.sqlite')).activate()

    def full(log, *what):
        log.problem = 'not kept: database or disk is full'
        return False

    monkeypatch.setattr(EventLog, 'append', full)
    answer = world.ask('disconnect')
    assert answer.success and 'not in the event log: not kept: database or disk' in answer.message


def test_without_an_event_log_answers_come_at_once(world_of):  # noqa: F811
    world = world_of().activate()
    assert 'event log' not in world.ask('disconnect').message
