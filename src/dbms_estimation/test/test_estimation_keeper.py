# SPDX-License-Identifier: Apache-2.0
"""The node stops and starts: what it knew is there, and no disk can harm it."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from estimation_rig import Drive, Truth, at_rest, make_pack, pulses

from dbms_estimation.estimation import Estimation
from dbms_estimation.keeper import NOWHERE, RESTED, Keeper, place
from dbms_estimation.pack_estimator import PackEstimator

START = 1.8e9  # s since 1970


def test_the_file_is_where_such_files_are():
    home = {'HOME': '/home/robot'}
    state = Path('/home/robot/.local/state/dbms')
    assert place('', '/battery', 'robot', home) == state / 'battery-robot.sqlite'
    assert place('', '/a/left', 'r b/../c', home) == state / 'a_left-r_b_.._c.sqlite'
    assert place('', '/b', 'p', {'XDG_STATE_HOME': '/var/lib'}) == Path('/var/lib/dbms/b-p.sqlite')
    assert place('', '/b', 'p', {**home, 'XDG_STATE_HOME': 'here'}) == state / 'b-p.sqlite'
    assert place('/x/y.sqlite', '/b', 'p', home) == Path('/x/y.sqlite')
    assert place(NOWHERE, '/b', 'p', home) is None


class Run:
    """An estimation that keeps its state, fed by a drive."""

    def __init__(self, path, truth=None, start: float = START) -> None:
        self.told: list[str] = []
        self.estimation = Estimation(make_pack(), PackEstimator(make_pack()))
        self.keeper = Keeper(self.estimation, path, 60.0, self.told.append)
        self.drive = Drive(self.estimation.estimator, truth or Truth([0.5] * 4), start)
        self.estimation.serials[:] = [7]

    def begin(self, load=at_rest, seconds: float = 1.0, **options) -> None:
        self.estimation.estimator.add_current(0, self.drive.time, load(self.drive.time))
        tick = self.estimation.estimator.tick

        def remembering() -> None:
            self.estimation.memory.recall(self.estimation.serials)
            tick()

        self.estimation.estimator.tick = remembering
        self.drive.run(seconds, load, **options)
        self.estimation.estimator.tick = tick


def saves(run: Run, count: int) -> None:
    """Wait until the thread has saved."""
    end = time.monotonic() + 20.0
    while run.keeper.store.saves < count:
        assert time.monotonic() < end
        os.sched_yield()


def test_a_clean_stop_keeps_the_last_state(tmp_path):
    first = Run(tmp_path / 'state.sqlite')
    first.begin(pulses, 60.0)
    first.keeper.close()
    first.keeper.close()  # once more does no harm
    second = Run(tmp_path / 'state.sqlite', first.drive.truth, first.drive.time + 1.0)
    second.begin(pulses)
    assert second.estimation.memory.restored.all() and not second.told
    before = first.drive.estimator.filter.soc
    assert second.drive.estimator.filter.soc == pytest.approx(before, abs=2e-3)
    second.keeper.close()


def test_it_is_saved_periodically_and_after_a_rest(tmp_path):
    run = Run(tmp_path / 'state.sqlite')
    run.keeper.look(0.0)  # nothing is known yet
    run.begin(pulses, 5.0)
    run.keeper.look(0.0)
    run.keeper.look(59.0)
    assert run.keeper.store.saves == 0
    run.keeper.look(60.0)
    saves(run, 1)
    run.estimation.estimator.rest[:] = RESTED
    run.keeper.look(61.0)
    saves(run, 2)
    run.keeper.look(62.0)
    run.keeper.close()
    assert run.keeper.store.saves == 3


def test_nothing_known_is_nothing_kept(tmp_path):
    first = Run(tmp_path / 'state.sqlite')
    first.begin(pulses, 5.0)
    first.keeper.close()
    kept = (tmp_path / 'state.sqlite').read_bytes()
    Run(tmp_path / 'state.sqlite').keeper.close()
    assert (tmp_path / 'state.sqlite').read_bytes() == kept


def test_a_disk_that_hangs_never_stops_the_estimator(tmp_path, monkeypatch):
    run = Run(tmp_path / 'state.sqlite')
    run.begin(pulses, 5.0)
    monkeypatch.setattr('dbms_estimation.keeper.LAST_SAVE', 0.01)
    run.keeper.store._lock.acquire()  # as long as a write that does not end
    for now in range(0, 600, 60):
        run.keeper.look(float(now))
    run.keeper.close()
    assert 'takes too long' in run.told[-1]
    run.keeper.store._lock.release()


def test_without_a_file_all_is_as_ever():
    run = Run(None)
    run.begin(pulses, 5.0)
    run.keeper.look(1.0)
    run.keeper.close()
    assert run.told == [] and run.keeper.problem == ''


def test_a_damaged_file_is_said_and_cells_start_from_their_voltage(tmp_path):
    (tmp_path / 'state.sqlite').write_bytes(os.urandom(5000))
    run = Run(tmp_path / 'state.sqlite')
    run.begin(at_rest, 5.0)
    assert 'set aside as' in run.told[0]
    assert np.abs(run.drive.estimator.filter.soc - 0.5).max() < 0.02
    run.keeper.close()
    assert run.keeper.store.saves == 1


def test_what_is_noticed_is_told_once_and_stays_in_the_report(tmp_path):
    first = Run(tmp_path / 'state.sqlite')
    first.begin(at_rest, 5.0)
    first.keeper.close()
    second = Run(tmp_path / 'state.sqlite', Truth([0.5, 0.5, 0.9, 0.5]), START + 3600.0)
    second.begin(at_rest)
    for now in (1.0, 2.0):
        second.keeper.look(now)
    assert len(second.told) == 1 and 'another cell' in second.told[0]
    assert list(second.estimation.memory.last_events) == second.told
    assert second.keeper.noteworthy(3.0) and not second.keeper.noteworthy(3000.0)
    second.keeper.close()


def test_what_is_wrong_with_the_file_is_an_event_for_reports(tmp_path):
    path = tmp_path / 'state.sqlite'
    path.write_bytes(b'garbage' * 100)
    run = Run(path)
    assert 'set aside as' in run.told[0]
    assert run.keeper.events == run.told
    assert not run.keeper.noteworthy(5.0)
    run.keeper.look(5.0)
    assert run.keeper.noteworthy(5.0) and not run.keeper.noteworthy(5.0 + 601.0)
    run.keeper.close()
