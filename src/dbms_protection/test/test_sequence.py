# SPDX-License-Identifier: Apache-2.0
"""Contactors in their order: closing by what is read back, opening by what flows."""

import pytest
from protection_rig import Rig

from dbms_protection.contactors import ALL_OPEN, State
from dbms_protection.guard import PackState
from dbms_protection.measurements import Contact


@pytest.fixture
def rig():
    rig = Rig().activate()
    assert rig.connect()[0]
    assert rig.state() is State.CONNECTED
    return rig


def test_under_load_an_undervoltage_is_announced(rig):
    rig.units[0].current = -60.0
    rig.run(0.1)
    rig.voltages[0][1] = 2.4
    rig.scan(0)
    rig.run(0.1)
    assert rig.state() is State.LEAVING
    assert rig.guard.limits.discharge_current == 0.0
    assert 'CELL_UNDERVOLTAGE' in rig.guard.limits.discharge_limited_by
    assert rig.guard.state is PackState.DISCONNECTING
    rig.units[0].current = -10.0  # the load obeys
    rig.run(0.05)
    assert rig.units[0].command == ALL_OPEN


@pytest.mark.parametrize(
    'current, first', [(-60.0, (True, False, False)), (40.0, (False, False, True))]
)
def test_a_load_that_does_not_obey_is_broken_by_the_right_contactor(rig, current, first):
    rig.units[0].current = current
    rig.run(0.1)
    rig.guard.command('disconnect', '', '', (), rig.now)
    assert rig.state() is State.LEAVING
    rig.run(0.9)
    assert rig.state() is State.LEAVING
    rig.run(0.5)
    assert rig.contacts_in_order()[-2:] == [first, ALL_OPEN]
    assert rig.state() is State.OPEN


@pytest.mark.parametrize('current, waits', [(-19.9, False), (-20.1, True), (20.1, True)])
def test_only_below_the_break_current_it_opens_without_waiting(rig, current, waits):
    rig.units[0].current = current
    rig.run(0.1)
    rig.guard.command('disconnect', '', '', (), rig.now)
    assert (rig.units[0].command == (True, False, True)) is waits
    assert rig.guard.strings[0].sequence.state is (State.LEAVING if waits else State.OPENING)


def test_with_no_current_known_both_break_it(rig):
    rig.units[0].current = -60.0
    rig.run(0.1)
    rig.guard.command('disconnect', '', '', (), rig.now)
    rig.run(0.85)
    rig.units[0].changes = {'current': float('nan')}
    rig.run(0.2)
    assert rig.contacts_in_order()[-2:] == [(True, False, True), ALL_OPEN]


@pytest.mark.parametrize('reading', [Contact.CLOSED, Contact.UNKNOWN])
def test_the_second_contactor_opens_although_the_first_does_not_say_that_it_has(rig, reading):
    rig.units[0].current = -60.0
    rig.units[0].stuck[2] = Contact.CLOSED
    rig.run(0.1)
    rig.guard.command('disconnect', '', '', (), rig.now)
    rig.run(1.0)
    rig.units[0].stuck[2] = reading
    while rig.units[0].command == (True, False, True):
        rig.step()
    first = rig.now
    while rig.units[0].command != ALL_OPEN:
        assert rig.units[0].command == (True, False, False)
        assert rig.now - first <= 0.25, 'the feedback timeout'
        rig.step()


def test_an_urgent_fault_does_not_wait_for_the_grace(rig):
    rig.units[0].current = -60.0
    rig.run(0.1)
    rig.guard.command('disconnect', '', '', (), rig.now)
    rig.voltages[0][0] = 4.3
    rig.scan(0)
    assert rig.sent[-1][1].contacts == ALL_OPEN


def test_disconnect_in_the_middle_of_the_sequence():
    rig = Rig().activate()
    rig.guard.command('connect', '', '', (), rig.now)
    rig.run(0.1)
    assert rig.guard.state is PackState.CONNECTING
    assert rig.guard.command('disconnect', 'me', 'changed my mind', (), rig.now)[0]
    assert rig.sent[-1][1].contacts == ALL_OPEN
    rig.run(5.0)
    assert rig.state() is State.OPEN
    assert rig.guard.last_command == 'disconnect by me: changed my mind'


@pytest.mark.parametrize('index', [1, 2])
def test_a_contactor_without_feedback_is_not_closed(index):
    """What does not say where it is may be closed already, and could not be seen to open."""
    rig = Rig().activate()
    rig.guard.command('connect', '', '', (), rig.now)
    rig.units[0].stuck[index] = Contact.UNKNOWN
    rig.run(12.0)
    assert rig.state() is State.OPEN
    assert not any(command.contacts[index] for command in rig.commands())
    assert 'given up' in rig.guard.strings[0].reason
    rig.units[0].stuck.clear()
    rig.run(0.2)
    rig.connect()
    assert rig.state() is State.CONNECTED


def test_no_attempt_begins_while_a_contactor_does_not_say_where_it_is():
    rig = Rig().activate()
    rig.units[0].changes = {'link_voltage': 5.0}  # it does not follow
    rig.guard.command('connect', '', '', (), rig.now)
    while 'attempt 1 of 3 failed' not in rig.guard.strings[0].reason:
        rig.step()
    rig.run(0.5)
    count = len([one for one in rig.commands() if one.contacts != ALL_OPEN])
    rig.units[0].stuck[2] = Contact.UNKNOWN
    rig.run(6.0)
    assert len([one for one in rig.commands() if one.contacts != ALL_OPEN]) == count
    assert rig.guard.strings[0].reason.startswith('precharge given up')


def test_plus_waits_until_minus_and_precharge_read_closed():
    """However well the link has followed: here it was charged before."""
    rig = Rig().activate()
    rig.units[0].link = rig.units[0].voltage
    rig.units[0].changes = {'link_voltage': rig.units[0].voltage}
    rig.units[0].stuck[1] = Contact.OPEN
    rig.guard.command('connect', '', '', (), rig.now)
    rig.run(0.19)
    assert rig.state() is State.PRECHARGING, 'min_time is over'
    assert not any(command.contacts[2] for command in rig.commands())
    rig.units[0].stuck.clear()
    rig.run(0.3)
    assert rig.state() is State.CONNECTED
