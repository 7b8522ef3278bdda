# SPDX-License-Identifier: Apache-2.0
"""The view is somebody else's program: it is shown, and it gives the terminal back."""

import os
import time

import pytest

from dbms_bringup import view
from dbms_bringup.view import View

DEADLINE = 30.0  # s
CODE = """
import pathlib, signal
def main(arguments):
    mark = pathlib.Path(__file__).with_name('mark')
    mark.write_text(' '.join(arguments))
    try:
        signal.pause()
    except KeyboardInterrupt:
        mark.write_text('terminal restored')
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    (tmp_path / 'view_stand_in.py').write_text(CODE, encoding='utf-8')
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    monkeypatch.setenv('PYTHONPATH', path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(view, 'MODULE', 'view_stand_in')
    return tmp_path / 'mark'


def test_it_is_shown_until_it_is_taken_away(stand_in):
    one = View('ship/aft')
    one.start()
    end = time.monotonic() + DEADLINE
    while not (stand_in.exists() and stand_in.read_text(encoding='utf-8')):
        assert time.monotonic() < end
        os.sched_yield()
    assert one.shown
    assert stand_in.read_text(encoding='utf-8') == '--namespace ship/aft'
    one.stop()
    assert not one.shown
    assert stand_in.read_text(encoding='utf-8') == 'terminal restored'


def test_without_a_monitor_there_is_none(monkeypatch):
    monkeypatch.setattr(view, 'MODULE', 'no_such_package.status')
    one = View('battery')
    one.start()
    assert not one.shown
    one.stop()
