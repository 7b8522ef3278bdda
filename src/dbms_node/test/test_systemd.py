# SPDX-License-Identifier: Apache-2.0
import os
import socket

import pytest

from dbms_node.systemd import Systemd


@pytest.fixture
def manager(tmp_path):
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.bind(str(tmp_path / 'notify'))
    end.settimeout(5.0)
    yield end
    end.close()


def environment(manager, **more):
    return {'NOTIFY_SOCKET': manager.getsockname(), **more}


def test_without_a_service_manager_nothing_is_told():
    service = Systemd({})
    assert not service.tell('READY=1')
    assert not service.beat(1.0)
    service.close()


def test_what_is_told_arrives(manager):
    service = Systemd(environment(manager))
    assert service.tell('READY=1')
    assert manager.recv(64) == b'READY=1'
    service.close()
    assert manager.recv(64) == b'STOPPING=1'
    assert not service.tell('READY=1')


def test_a_socket_of_the_abstract_namespace_is_found():
    name = f'dbms-test-{os.getpid()}'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind('\0' + name)
        end.settimeout(5.0)
        assert Systemd({'NOTIFY_SOCKET': '@' + name}).tell('READY=1')
        assert end.recv(64) == b'READY=1'


def test_it_beats_three_times_per_period_when_it_is_asked_to(manager):
    service = Systemd(environment(manager, WATCHDOG_USEC='3000000', WATCHDOG_PID=str(os.getpid())))
    beats = [now for now in range(100) if service.beat(now * 0.1)]
    assert beats == list(range(0, 100, 10))
    assert manager.recv(64) == b'WATCHDOG=1'


@pytest.mark.parametrize(
    'more',
    [{}, {'WATCHDOG_USEC': 'soon'}, {'WATCHDOG_USEC': '-1'},
     {'WATCHDOG_USEC': '1000', 'WATCHDOG_PID': '1'}],
)  # fmt: skip
def test_without_a_watchdog_of_its_own_it_does_not_beat(manager, more):
    assert not Systemd(environment(manager, **more)).beat(1.0)


def test_a_manager_that_is_gone_or_does_not_read_holds_nothing_up(manager, tmp_path):
    service = Systemd(environment(manager))
    assert not all(service.tell('READY=1') for _ in range(10000)), 'its queue is full'
    os.unlink(tmp_path / 'notify')
    assert not service.tell('READY=1')
