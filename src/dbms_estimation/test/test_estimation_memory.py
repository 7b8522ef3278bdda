# SPDX-License-Identifier: Apache-2.0
"""What is remembered over a stop, how it ages, and what is done where it does not fit."""

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
from estimation_rig import Drive, Truth, at_rest, make_pack, pulses
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.memory import CHANGES, Memory
from dbms_estimation.pack_estimator import PackEstimator
from dbms_estimation.store import Record

NOW = 1.8e9  # s since 1970
SERIALS = [11, 12]
HOUR, DAY = 3600.0, 86400.0
SOC = (0.5, 0.52, 0.54, 0.56, 0.58, 0.6, 0.62, 0.64)


def used(load=pulses, seconds: float = 900.0) -> Drive:
    """Return a drive of a pack of two modules that has been used for some time."""
    return deepcopy(_used(load, seconds))


@cache
def _used(load, seconds: float) -> Drive:
    drive = Drive(PackEstimator(make_pack(modules=2)), Truth(SOC), NOW)
    drive.run(2.0, at_rest)
    drive.run(seconds, load)
    return drive


def kept(drive: Drive, serials=None) -> list[Record]:
    return list(Memory(drive.estimator).snapshot(serials or SERIALS).records())


class Next:
    """An estimator after a stop, with what it remembers."""

    def __init__(self, records, truth, start: float, serials=None, pack=None) -> None:
        self.estimator = PackEstimator(pack or make_pack(modules=2))
        self.memory = Memory(self.estimator, records)
        self.drive = Drive(self.estimator, truth, start)
        tick = self.estimator.tick
        self.serials = serials or SERIALS

        def remembering() -> None:
            self.memory.recall(self.serials)
            tick()

        self.estimator.tick = remembering
        self.drive.run(1.0, at_rest)

    @property
    def error(self):
        return np.abs(self.estimator.filter.soc - self.drive.truth.soc)


def after(drive: Drive, away: float, **options) -> Next:
    records = kept(drive)
    drive.truth.step(away, 0.0)
    return Next(records, drive.truth, drive.time + away, **options)


@pytest.mark.parametrize('away', [0.5, 30.0, HOUR, DAY, 30 * DAY])
def test_soc_is_taken_up_and_less_sure_by_the_time_gone(away):
    drive = used()
    before = drive.estimator.filter.soc.copy(), drive.estimator.filter.sigma.copy()
    resumed = after(drive, away)
    assert resumed.memory.restored.all() and not resumed.memory.events
    assert (resumed.error < 2 * resumed.estimator.filter.sigma).all()
    if away <= HOUR:
        assert np.abs(resumed.estimator.filter.soc - before[0]).max() < 0.01
    resumed.drive.run(600.0, pulses)
    assert resumed.error.max() < 0.02
    assert not resumed.memory.events


def test_sigma_grows_with_the_time_gone():
    drive = used()
    sigmas = []
    for away in (1.0, HOUR, 30 * DAY):
        resumed = PackEstimator(make_pack(modules=2))
        memory = Memory(resumed, kept(drive))
        for index in range(2):
            stamp = drive.time + away
            resumed.add_scan(index, stamp, 0.0, drive.truth.voltage[:4], [25.0] * 2)
        memory.recall(SERIALS)
        sigmas.append(resumed.filter.sigma.copy())
    assert (np.diff(sigmas, axis=0) > 0).all()


def test_bias_health_and_hysteresis_survive():
    drive = used()
    health = drive.estimator.health
    health.capacity.inverse[:] = 1.1
    health.resistance.ratio[:] = np.linspace(1.0, 1.5, 8)
    health.meter.usual = 123.0
    drive.estimator.filter.columns.hysteresis[:] = -0.5
    resumed = after(drive, HOUR)
    now = resumed.estimator
    assert now.health.capacity.inverse == pytest.approx(1.1, abs=0.01)
    assert now.health.resistance.ratio == pytest.approx(np.linspace(1.0, 1.5, 8), abs=0.02)
    assert now.health.meter.usual == 123.0
    assert now.filter.hysteresis == pytest.approx(-0.5, abs=0.01)
    before = drive.estimator.filter.bias
    assert now.filter.bias == pytest.approx(before * np.exp(-HOUR / 1e5), abs=0.005)


def test_after_a_rest_the_voltage_corrects_what_flowed_meanwhile():
    drive = used(seconds=60.0)
    records = kept(drive)
    drive.truth.step(3600.0, 0.25)  # 0.25 Ah of 3 Ah while nobody looked: 8 %
    drive.truth.step(20000.0, 0.0)
    resumed = Next(records, drive.truth, drive.time + 23600.0)
    resumed.drive.run(300.0, at_rest)
    assert resumed.error.max() < 0.04


def test_a_pack_that_was_charged_meanwhile_is_noticed_and_no_cell_taken_for_another():
    drive = used(load=at_rest, seconds=60.0)
    drive.estimator.health.resistance.ratio[:] = 1.4
    records = kept(drive)
    drive.truth.step(3600.0, 0.9)  # 30 %
    drive.truth.step(DAY, 0.0)
    resumed = Next(records, drive.truth, drive.time + DAY + 3600.0)
    assert resumed.error.max() < 0.03
    assert resumed.estimator.health.resistance.ratio == pytest.approx(1.4)
    assert any('8 cells have another SOC than before' in event for event in resumed.memory.events)
    assert not any('another cell' in event for event in resumed.memory.events)


def test_a_cell_that_moved_alone_is_another_cell():
    drive = used(load=at_rest, seconds=600.0)
    drive.estimator.health.resistance.ratio[:] = 1.4
    records = kept(drive)
    drive.truth.soc[2] = 0.9
    drive.truth.step(HOUR, 0.0)
    resumed = Next(records, drive.truth, drive.time + HOUR)
    assert [e for e in resumed.memory.events if 'another cell' in e] == resumed.memory.events
    assert len(resumed.memory.events) == 1 and 'module s1m1 cell 3' in resumed.memory.events[0]
    assert resumed.memory.restored.tolist() == [True, True, False] + [True] * 5
    ratio = resumed.estimator.health.resistance.ratio
    assert ratio[2] == pytest.approx(1.0) and ratio[[0, 1, 3]] == pytest.approx(1.4)
    assert resumed.error.max() < 0.03


def test_a_board_that_was_exchanged_takes_its_cells_with_it():
    drive = used()
    records = kept(drive)
    drive.truth.soc[4:] = 0.8
    drive.truth.step(DAY, 0.0)
    resumed = Next(records, drive.truth, drive.time + DAY, serials=[11, 99])
    assert resumed.memory.restored.tolist() == [True] * 4 + [False] * 4
    assert resumed.memory.events == [
        'module s1m2: board 0x0063 instead of 0x000c, its cells start afresh'
    ]
    assert resumed.error.max() < 0.03


def test_a_board_that_comes_back_is_remembered():
    drive = used(seconds=60.0)
    records = [*kept(drive, [11, 12]), *kept(drive, [11, 99])]
    drive.truth.step(DAY, 0.0)
    resumed = Next(records, drive.truth, drive.time + DAY)
    assert resumed.memory.restored.all() and not resumed.memory.events


def test_a_board_exchanged_while_running_takes_its_cells_with_it():
    drive = used(seconds=60.0)
    memory = Memory(drive.estimator)
    assert [memory.heard(1, 12, 99) for _ in range(CHANGES)] == [False] * (CHANGES - 1) + [True]
    assert drive.estimator.filter.started.tolist() == [True] * 4 + [False] * 4
    assert memory.events
    drive.run(1.0, at_rest)
    assert drive.estimator.filter.started.all()


def test_two_boards_on_one_address_are_no_exchange():
    drive = used(seconds=5.0)
    memory = Memory(drive.estimator)
    for k in range(100):
        assert not memory.heard(1, 12, (12, 99)[k % 2])
    assert drive.estimator.filter.started.all() and not memory.events


@pytest.mark.parametrize('now', [0.0, 1000.0, NOW - 1e6, NOW + 1e9])
def test_a_clock_that_is_not_right_makes_unsure_and_nothing_else(now):
    drive = used()
    records = kept(drive)
    drive.truth.step(DAY, 0.0)
    resumed = Next(records, drive.truth, now)
    assert resumed.memory.restored.all()
    assert (resumed.estimator.filter.sigma < 0.3).all()
    assert (resumed.error < 2.5 * resumed.estimator.filter.sigma).all()
    assert any('future' in event for event in resumed.memory.events) == (now == NOW - 1e6)
    resumed.drive.run(600.0, pulses)
    assert resumed.error.max() < 0.02


def test_a_pack_that_stopped_under_load_may_have_gone_on():
    drive = used(load=lambda t: -3.0, seconds=300.0)
    records = kept(drive)
    drive.truth.step(400.0, -3.0)  # 11 % of the charge
    drive.truth.step(600.0, 0.0)
    resumed = Next(records, drive.truth, drive.time + 1000.0)
    assert (resumed.error < 2 * resumed.estimator.filter.sigma).all()
    resumed.drive.run(600.0, pulses)
    assert resumed.error.max() < 0.03


def test_the_state_of_another_pack_is_not_used():
    records = kept(used(seconds=5.0))
    other = make_pack(modules=2, parallel=3)
    resumed = Next(records, Truth(SOC, 3), NOW + DAY, pack=other)
    assert not resumed.memory.restored.any()
    assert resumed.memory.events == [
        'the state kept is of test_nmc 3 Ah cells, these are test_nmc 9 Ah: not used'
    ]


def test_a_cell_that_was_never_started_is_not_kept():
    drive = Drive(PackEstimator(make_pack(modules=2)), Truth(SOC), NOW)
    drive.run(2.0, at_rest, voltage=lambda v: np.where(np.arange(8) == 3, np.nan, v))
    cells = [(r.module, r.cell) for r in kept(drive) if r.module]
    assert len(cells) == 7 and ('s1m1', 3) not in cells


def test_a_module_heard_later_is_taken_up_later():
    drive = used(seconds=60.0)
    records = kept(drive)
    estimator = PackEstimator(make_pack(modules=2))
    memory = Memory(estimator, records)
    for index, stamp in ((0, drive.time + 10.0), (1, drive.time + 20.0)):
        voltages = drive.truth.voltage[4 * index : 4 * index + 4]
        estimator.add_scan(index, stamp, stamp, voltages, [25.0] * 2)
        memory.recall(SERIALS)
        estimator.tick()
        assert memory.restored.tolist() == [True] * 4 + [index == 1] * 4


@cache
def one_record() -> Record:
    return kept(used(seconds=3.0))[0]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_content_of_a_record_harms(data):
    record = one_record()
    content = bytearray(record.content)
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(content) // 8 - 1))
        value = data.draw(st.floats(width=64))
        content[8 * place : 8 * place + 8] = np.array([value]).tobytes()
    cut = data.draw(st.sampled_from([0, 1, 8, 100]))
    layout = data.draw(st.sampled_from([record.layout, '', 'state:6', 'x', 'state:9999999']))
    bad = record._replace(content=bytes(content[: len(content) - cut]), layout=layout)
    resumed = Next([bad], Truth(SOC), NOW + HOUR)
    resumed.drive.run(5.0, pulses)
    cells = resumed.estimator.filter
    assert np.isfinite(cells.covariance).all() and np.isfinite(cells.state).all()
    assert np.isfinite(resumed.estimator.health.capacity.ratio).all()
    assert (cells.sigma <= 0.29).all()
