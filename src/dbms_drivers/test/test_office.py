# SPDX-License-Identifier: Apache-2.0
"""Two guards and one string of contactors: the driver's lease is the arbiter."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_drivers.lease import OPEN, ContactorLease

CLOSED = (True, False, True)
LEASE = 0.3


def held_by_first():
    lease = ContactorLease(LEASE)
    assert lease.ask(OPEN, LEASE, 1, 0.0, 'first', 1) == ''
    assert lease.ask((True, False, False), LEASE, 2, 0.9, 'first', 1) == ''
    assert lease.ask(CLOSED, LEASE, 3, 1.0, 'first', 1) == ''
    assert lease.command(1.0).contacts == CLOSED
    return lease


def test_a_second_guard_gets_nothing_while_the_first_renews():
    lease = held_by_first()
    for step in range(1, 20):
        now = 1.0 + step * 0.1
        assert 'in office' in lease.ask(CLOSED, LEASE, 100 + step, now - 0.01, 'second', 2)
        assert 'in office' in lease.ask(OPEN, LEASE, 200 + step, now - 0.01, 'second', 2)
        assert lease.ask(CLOSED, LEASE, 10 + step, now, 'first', 1) == ''
    assert lease.command(now).contacts == CLOSED
    assert lease.expired == 0


def test_a_second_guard_goes_on_with_what_is_closed_in_the_last_third():
    lease = held_by_first()
    assert 'in office' in lease.ask(CLOSED, LEASE, 1, 1.199, 'second', 2)
    assert lease.ask(CLOSED, LEASE, 1, 1.201, 'second', 2) == ''
    assert lease.poll(1.45).contacts == CLOSED
    assert lease.expired == 0
    assert lease.ask(CLOSED, LEASE, 2, 1.3, 'second', 2) == ''


def test_a_deposed_guard_neither_closes_nor_opens():
    lease = held_by_first()
    lease.ask(CLOSED, LEASE, 1, 1.25, 'second', 2)
    for contacts in (CLOSED, OPEN):
        assert 'deposed' in lease.ask(contacts, LEASE, 99, 1.26, 'first', 1)
        assert 'deposed' in lease.ask(contacts, LEASE, 99, 9.0, 'first', 1), 'for good'
    assert lease.office.deposed('first', 1) and not lease.office.deposed('second', 2)
    assert lease.office.deposed('third', 2), 'the same term twice'


def test_after_the_lease_nothing_is_closed_again_without_a_precharge():
    lease = held_by_first()
    assert lease.poll(1.31).contacts == OPEN
    assert 'at once' in lease.ask(CLOSED, LEASE, 9, 1.31, 'first', 1), 'nor by the first'
    assert 'nothing closed' in lease.ask(CLOSED, LEASE, 1, 1.31, 'second', 2)
    assert lease.ask(OPEN, LEASE, 2, 1.32, 'second', 2) == ''
    assert lease.ask((True, False, False), LEASE, 3, 1.33, 'second', 2) == ''


def test_a_lease_that_has_run_out_unseen_cannot_be_gone_on_with():
    lease = held_by_first()
    assert 'nothing closed' in lease.ask(CLOSED, LEASE, 1, 1.31, 'second', 2)


@pytest.mark.parametrize('other', [(True, True, False), (True, True, True), (False, False, True)])
def test_only_what_is_closed_may_go_on(other):
    lease = held_by_first()
    assert 'nothing closed' in lease.ask(other, LEASE, 1, 1.25, 'second', 2)
    assert lease.command(1.25).contacts == CLOSED


def test_a_guard_without_a_second_may_open_but_not_close_over_one_in_office():
    lease = held_by_first()
    assert 'in office' in lease.ask(CLOSED, LEASE, 9, 1.1)
    assert lease.ask(OPEN, 0.0, 9, 1.1) == ''
    assert lease.office.guard == 'first'
    assert lease.ask((True, False, False), LEASE, 10, 3.0) == '', 'when the pair is gone'


def test_a_guard_without_a_second_is_not_taken_over_from_while_it_renews():
    lease = ContactorLease(LEASE)
    lease.ask((True, False, False), LEASE, 0, 0.0)
    lease.ask(CLOSED, LEASE, 1, 0.0)
    assert 'in office' in lease.ask(OPEN, LEASE, 1, 0.1, 'second', 1)
    assert lease.ask(CLOSED, LEASE, 1, 0.25, 'second', 1) == ''
    assert not lease.office.deposed('', 0)


STEP = st.tuples(
    st.sampled_from(['one', 'two']),
    st.integers(1, 4),
    st.sampled_from([OPEN, (True, False, False), CLOSED]),
    st.floats(0.0, 0.2),
)


@settings(max_examples=200)
@given(st.lists(STEP, max_size=40))
def test_never_two_guards_are_obeyed_within_two_thirds_of_a_lease(steps):
    lease, now, sequence = ContactorLease(LEASE), 0.0, 0
    obeyed = ('', 0, -1.0)
    for guard, term, contacts, wait in steps:
        now += wait
        sequence += 1
        before = lease.command(now).contacts
        if lease.ask(contacts, LEASE, sequence, now, guard, term) != '':
            assert lease.command(now).contacts == before, 'refused is not obeyed'
            continue
        last, last_term, at = obeyed
        if (guard, term) != (last, last_term):
            assert term > last_term, 'terms only rise'
            assert not last or now - at >= 2.0 / 3.0 * LEASE - 1e-9
            assert contacts in (OPEN, before), 'a newcomer closes nothing'
        obeyed = (guard, term, now)
