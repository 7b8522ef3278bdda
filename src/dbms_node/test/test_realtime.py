# SPDX-License-Identifier: Apache-2.0
"""Real-time priority and locked memory: what is granted, and what is said where it is not."""

import os
import resource
import subprocess
import sys

import pytest

from dbms_node import realtime

WORKER = """
import os, sys
from dbms_node import realtime
print(realtime.use_fifo(7) or os.sched_getparam(0).sched_priority)
print(realtime.lock_memory() or [line for line in open('/proc/self/status') if 'VmLck' in line])
"""


def test_what_is_granted_is_in_force():
    """In a process of its own: the tests shall not run with it."""
    run = subprocess.run(
        [sys.executable, '-c', WORKER], capture_output=True, text=True, check=True
    )
    fifo, locked = run.stdout.splitlines()
    assert fifo == '7' or 'LimitRTPRIO=7' in fifo
    assert ('VmLck' in locked and ' 0 kB' not in locked) or 'LimitMEMLOCK' in locked


def test_what_is_refused_is_said_with_its_remedy(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(realtime.os, 'sched_setscheduler', refuse)
    assert 'Operation not permitted; allow it with LimitRTPRIO=5' in realtime.use_fifo(5)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may lock all memory')
def test_memory_that_may_not_be_locked_is_said():
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, hard))
    try:
        assert 'LimitMEMLOCK' in realtime.lock_memory()
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
