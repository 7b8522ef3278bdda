# SPDX-License-Identifier: Apache-2.0
"""The hardware watchdog on a file or a terminal in place of its device."""

import os
import pty
import struct
import subprocess
import sys
import tty

import pytest

from dbms_node import hardware_watchdog
from dbms_node.hardware_watchdog import HardwareWatchdog


@pytest.fixture
def terminal():
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    for end in (master, slave):
        os.close(end)


def test_it_is_petted_three_times_per_timeout_and_stopped_at_the_end(terminal):
    master, path = terminal
    told = []
    dog = HardwareWatchdog(path, 3, told.append)
    assert 'keeps the timeout' in told[0]  # a terminal knows no such request
    beats = [dog.beat(0.1 * tick) for tick in range(31)]
    assert sum(beats) == 4
    dog.close()
    dog.close()
    assert not dog.beat(100.0)
    assert os.read(master, 100) == b'\0\0\0\0V'


def test_a_process_that_dies_leaves_it_running(terminal):
    master, path = terminal
    code = (
        'import os, sys; from dbms_node.hardware_watchdog import HardwareWatchdog; '
        'HardwareWatchdog(sys.argv[1], 3, print).beat(0.0); os._exit(7)'
    )
    assert subprocess.run([sys.executable, '-c', code, path], check=False).returncode == 7
    assert os.read(master, 100) == b'\0'  # no magic character: the machine is reset


def test_a_device_that_takes_another_timeout_is_believed(tmp_path, monkeypatch):
    (tmp_path / 'dog').write_bytes(b'')
    told = []
    monkeypatch.setattr(
        hardware_watchdog.fcntl, 'ioctl', lambda device, request, wanted: struct.pack('i', 60)
    )
    dog = HardwareWatchdog(str(tmp_path / 'dog'), 10, told.append)
    assert dog.timeout == 60.0
    assert told == ['hardware watchdog: 60 s instead of 10 s']
    dog.close()


def test_a_device_that_is_not_there_or_taken_is_named(tmp_path):
    with pytest.raises(ValueError, match='nothing: No such file'):
        HardwareWatchdog(str(tmp_path / 'nothing'), 10, print)


def test_a_device_that_takes_nothing_is_told_once():
    told = []
    dog = HardwareWatchdog('/dev/full', 3, told.append)
    told.clear()
    assert not dog.beat(0.0) and not dog.beat(2.0)
    assert len(told) == 1 and 'may be reset' in told[0]
    dog.close()
