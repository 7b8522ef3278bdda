# SPDX-License-Identifier: Apache-2.0
"""A pair of guards without ROS: who asks for office when, and what is known on entering it."""

import math
from dataclasses import replace

import pytest
from protection_rig import Rig, make_pack

from dbms_pack import Level
from dbms_protection.contactors import State
from dbms_protection.faults import Fault, Place
from dbms_protection.guard import PackState
from dbms_protection.pair import Pair
from dbms_protection.pair_node import CUT_OFF, LATE
from dbms_protection.paired_guard import KEPT, PairedGuard

OPEN = (False, False, False)
LEASE = 0.25


def told_fault(name='CELL_OVERVOLTAGE'):
    return Fault(
        name, Level.MSL, Place('a', 'a1', 1), math.nan, math.nan, 'V', 0.0, 0.0,
        active=False, latched=True,
    )  # fmt: skip


class Second(Rig):
    """A guard that looks on, and the units of a pack that another guard drives."""

    def __init__(self, pack=None):
        super().__init__(pack)
        self.guard = PairedGuard(self.pack, self._send)
        self.activate()

    def hold(self, contacts=KEPT, seconds=0.3):
        for unit in self.units:
            unit.command, unit.until, unit.link = contacts, self.now + 60.0, unit.voltage
        self.run(seconds)

    def take_over(self, contacts=KEPT, leaving=()):
        granted = {index: (contacts, self.now) for index in range(len(self.units))}
        self.guard.take_over(granted, leaving, self.now)


def test_looking_on_it_drives_nothing_and_mistakes_nothing_for_a_fault():
    rig = Second()
    rig.hold(seconds=3.0)
    assert rig.sent == []
    assert rig.names() == set(), 'closed by another guard is no welded contactor'
    assert rig.guard.state is PackState.STANDBY
    assert rig.guard.command('connect', 'x', 'y', [], rig.now) == (False, 'this guard stands by')
    assert rig.guard.wanted(0) == KEPT


def test_it_goes_on_with_what_is_closed_and_renews_it():
    rig = Second(make_pack(strings=2))
    rig.hold()
    rig.take_over()
    rig.run(3.0)
    assert rig.guard.state is PackState.CONNECTED
    assert {command.contacts for _, command in rig.sent} == {KEPT}
    assert rig.names() == set()
    assert rig.guard.limits.discharge_current > 0.0
    times = [at for at, command in rig.sent if command.string == 0]
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert max(gaps) < LEASE / 2


def test_open_it_stays_in_office_by_asking_again():
    rig = Second()
    rig.take_over(OPEN)
    rig.run(2.0)
    assert len(rig.sent) > 12
    assert {command.contacts for _, command in rig.sent} == {OPEN}
    assert rig.connect()[0]
    assert rig.state() is State.CONNECTED


def test_what_it_found_wrong_by_itself_opens_as_soon_as_it_is_in_office():
    rig = Second()
    rig.hold()
    rig.voltages[0][:] = 4.4
    rig.run(0.5)
    assert rig.sent == []
    assert ('CELL_OVERVOLTAGE', 'MSL') in rig.names()
    rig.take_over()
    assert rig.commands()[-1].contacts == OPEN, 'within the call'


def test_latched_faults_of_the_other_are_known_and_forgotten_with_its_reset():
    rig = Second()
    rig.guard.learn([told_fault()], rig.now)
    rig.take_over(OPEN)
    assert rig.state() is State.FAULTED
    rig.guard.step_down()
    rig.guard.learn([], rig.now)
    assert rig.names() == set()


def test_an_active_fault_of_its_own_is_not_forgotten():
    rig = Second()
    rig.hold()
    rig.voltages[0][:] = 4.4
    rig.run(0.5)
    rig.guard.learn([], rig.now)
    assert ('CELL_OVERVOLTAGE', 'MSL') in rig.names()


def test_a_string_that_was_leaving_leaves():
    rig = Second()
    rig.hold()
    rig.take_over(leaving=(0,))
    rig.run(0.5)
    assert rig.state() is State.OPEN


def test_deposed_it_says_nothing_more_to_the_contactors():
    rig = Second()
    rig.hold()
    rig.take_over()
    rig.run(0.5)
    rig.guard.step_down()
    sent = len(rig.sent)
    rig.voltages[0][:] = 4.4
    rig.run(1.0)
    rig.guard.fail(rig.now, 'broken')
    rig.guard.deactivate(rig.now, 'end')
    assert len(rig.sent) == sent


def test_it_knows_in_time_that_the_driver_does_not_answer():
    rig = Second(make_pack(strings=2))
    rig.hold()
    rig.take_over()
    for _ in range(300):
        rig.step()
        assert rig.guard.spent() <= LATE, 'as long as it does'
    rig.answer = False
    begun = rig.now
    while rig.guard.spent() <= LATE:
        rig.step()
    # In what is left another guard notices the silence and is granted the contactors.
    assert rig.now - begun < LEASE / 2
    while rig.guard.spent() <= CUT_OFF:
        rig.step()
    assert rig.names() == set() and rig.state() is State.CONNECTED, 'no fault of the pack yet'
    rig.answer = True
    rig.run(0.2)
    assert rig.guard.spent() <= LATE


def test_with_open_contactors_a_late_answer_matters_to_nobody():
    rig = Second()
    rig.take_over(OPEN)
    rig.answer = False
    rig.run(1.0)
    assert rig.guard.spent() == 0.0


def test_in_between_it_waits():
    rig = Second()
    rig.hold((True, True, False))
    assert rig.guard.wanted(0) is None


# -- when to ask ----------------------------------------------------------------------------------


@pytest.fixture
def pair():
    one = Pair('b', LEASE, 1.0)
    one.look_on(0.0)
    return one


def test_it_asks_when_nobody_was_heard_for_its_patience(pair):
    assert pair.asks(2, 0.9) == []
    assert pair.asks(2, 1.1) == [0, 1]
    assert pair.term == 1


def test_it_asks_soon_when_the_other_falls_silent_and_in_a_higher_term(pair):
    pair.beat('a', 7, (), 5.0)
    assert pair.asks(1, 5.08) == []
    assert pair.asks(1, 5.09) == [0]
    assert pair.term == 8


def test_it_enters_with_all_strings_or_after_a_while_with_what_there_is(pair):
    pair.asks(2, 1.1)
    pair.answer(0, KEPT, 1.1, True, 1)
    assert not pair.complete(2, 1.2)
    assert pair.asks(2, 1.12) == [1]
    assert pair.asks(2, 1.19) == [0, 1], 'what was granted is kept meanwhile'
    assert pair.complete(2, 1.61)
    pair.answer(1, KEPT, 1.2, True, 1)
    assert pair.complete(2, 1.2)


def test_it_tells_its_part_and_what_is_wrong_with_it(pair):
    pair.look_on(0.0)
    assert pair.told(0.1) == (False, 'has heard no guard in office yet')
    pair.beat('/b/first', 7, (), 0.2)
    assert pair.told(0.25) == (True, 'stands by: /b/first is in office, term 7')
    assert pair.told(1.2) == (False, 'hears /b/first no more, for 1.00 s')
    pair.leading, pair.term = True, 8
    assert pair.told(1.2) == (True, 'in office, term 8')


def test_refused_it_learns_the_highest_term(pair):
    pair.asks(1, 1.1)
    pair.answer(0, OPEN, 1.1, False, 41)
    pair.asks(1, 1.2)
    assert pair.term == 42


@pytest.mark.parametrize(
    ('guard', 'term', 'over'),
    [('a', 1, False), ('a', 2, True), ('z', 2, False), ('a', 3, True), ('b', 9, False)],
)
def test_a_beat_of_a_later_office_ends_the_own_one(pair, guard, term, over):
    pair = replace(pair, term=2, leading=True)
    assert pair.beat(guard, term, (), 1.0) is over


def test_who_was_held_up_for_a_lease_is_not_in_office_any_more(pair):
    pair.leading = True
    assert not pair.held_up(1.0)
    assert not pair.held_up(1.2)
    assert pair.held_up(1.5) == pytest.approx(0.3)


def test_what_was_granted_closed_and_not_entered_in_time_is_lost(pair):
    pair.asks(1, 1.1)
    pair.answer(0, KEPT, 1.1, True, 1)
    assert not pair.lapsed(1.3)
    assert pair.lapsed(1.36)
