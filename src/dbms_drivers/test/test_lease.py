# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbms_drivers.backoff import Backoff
from dbms_drivers.lease import OPEN, ContactorLease

CLOSED = (True, False, False)
BOTH = (True, False, True)


def test_lease_runs_out_and_opens_once():
    lease = ContactorLease(0.25)
    assert lease.ask(CLOSED, 0.25, 1, 10.0) == ''
    assert lease.command(10.0).contacts == CLOSED
    assert lease.poll(10.249).contacts == CLOSED
    expired = lease.poll(10.25)
    assert (expired.contacts, expired.lease) == (OPEN, 0.0)
    assert lease.expired == 1
    assert lease.poll(10.26) is None
    assert lease.deadline() == math.inf


def test_calls_that_a_network_held_up_close_nothing_after_the_lease():
    lease = ContactorLease(0.25)
    for sequence, contacts in enumerate([CLOSED, (True, True, False), (True, True, True), BOTH]):
        assert lease.ask(contacts, 0.25, sequence + 1, 0.01 * sequence) == ''
    assert lease.poll(0.3).contacts == OPEN
    for sequence in range(5, 9):  # renewals of then, all at once, when the network is back
        assert 'at once' in lease.ask(BOTH, 0.25, sequence, 0.5)
        assert lease.command(0.5).contacts == OPEN
    assert lease.ask(OPEN, 0.0, 9, 0.51) == ''
    assert lease.ask(CLOSED, 0.25, 10, 0.52) == '', 'and from the beginning it may'


def test_a_lease_that_ran_out_unseen_is_not_gone_on_with_either():
    lease = ContactorLease(0.25)
    assert lease.ask(CLOSED, 0.25, 1, 0.0) == '' and lease.ask(BOTH, 0.25, 2, 0.1) == ''
    assert 'at once' in lease.ask(BOTH, 0.25, 3, 0.36)


@given(st.lists(st.tuples(
    st.tuples(st.booleans(), st.booleans(), st.booleans()), st.floats(0.0, 0.3),
), max_size=30))  # fmt: skip
def test_no_call_closes_two_contactors_at_once(calls):
    lease, now = ContactorLease(0.25), 0.0
    for sequence, (contacts, wait) in enumerate(calls):
        now += wait
        before = lease.command(now).contacts
        lease.ask(contacts, 0.25, sequence + 1, now)
        after = lease.command(now).contacts
        assert sum(new > old for new, old in zip(after, before, strict=True)) <= 1


def test_command_is_sent_again_every_third_with_what_is_left():
    lease = ContactorLease(0.3)
    lease.ask(CLOSED, 0.3, 1, 0.0)
    left = []
    while lease.closed:
        now = lease.deadline()
        left.append(lease.poll(now).lease)
    assert left == pytest.approx([0.2, 0.1, 0.0])


def test_renewal_moves_the_end():
    lease = ContactorLease(0.25)
    for i in range(10):
        assert lease.ask(CLOSED, 0.25, i, i * 0.08) == ''
    assert lease.remaining(0.72) == pytest.approx(0.25)
    assert lease.expired == 0


@pytest.mark.parametrize('bad', [math.nan, -0.1, 0.0, 0.26, math.inf, 0.001])
def test_lease_that_is_no_lease_is_refused_and_changes_nothing(bad):
    lease = ContactorLease(0.25)
    lease.ask(CLOSED, 0.25, 1, 0.0)
    assert 'lease' in lease.ask(CLOSED, bad, 2, 0.1)
    assert lease.remaining(0.1) == pytest.approx(0.15)


def test_lease_of_the_pack_passes_after_its_way_through_a_float32():
    import numpy as np

    assert ContactorLease(0.3).ask(CLOSED, float(np.float32(0.3)), 1, 0.0) == ''


@given(st.floats(), st.integers(0, 2**32 - 1), st.floats(0, 100))
def test_opening_is_never_refused(lease_time, sequence, now):
    lease = ContactorLease(0.25)
    lease.ask(CLOSED, 0.25, 1000, now)
    assert lease.ask(OPEN, lease_time, sequence, now) == ''
    assert lease.command(now).contacts == OPEN


def test_old_call_does_not_close_again():
    lease = ContactorLease(0.25)
    lease.ask(CLOSED, 0.25, 5, 0.0)
    lease.ask(OPEN, 0.0, 6, 0.05)
    assert 'not newer' in lease.ask(CLOSED, 0.25, 5, 0.06)
    assert 'not newer' in lease.ask(CLOSED, 0.25, 6, 0.06)
    assert not lease.closed
    assert lease.ask(CLOSED, 0.25, 7, 0.07) == ''


def test_old_call_that_opens_does_not_make_old_calls_new():
    lease = ContactorLease(0.25)
    lease.ask(CLOSED, 0.25, 9, 0.0)
    lease.ask(OPEN, 0.0, 3, 0.01)
    assert 'not newer' in lease.ask(CLOSED, 0.25, 5, 0.02)


def test_caller_that_restarted_may_close_although_it_keeps_opening():
    lease = ContactorLease(0.25)
    lease.ask(CLOSED, 0.25, 5000, 0.0)
    for sequence in range(1, 12):
        lease.ask(OPEN, 0.0, sequence, sequence * 0.1)
    assert lease.ask(CLOSED, 0.25, 12, 1.2) == ''


def test_sequence_wraps():
    lease = ContactorLease(0.25)
    lease.ask(CLOSED, 0.25, 0xFFFFFFFF, 0.0)
    assert lease.ask(CLOSED, 0.25, 0, 0.1) == ''


@given(
    st.lists(st.tuples(st.sampled_from(['close', 'open', 'poll']), st.floats(0, 0.2)), max_size=40)
)
def test_never_closed_longer_than_the_lease_after_the_last_grant(steps):
    lease = ContactorLease(0.25)
    now, granted, sequence = 0.0, -math.inf, 0
    for what, wait in steps:
        now += wait
        sequence += 1
        if what == 'close' and lease.ask(CLOSED, 0.25, sequence, now) == '':
            granted = now
        elif what == 'open':
            lease.ask(OPEN, 0.0, sequence, now)
        command = lease.poll(now) or lease.command(now)
        if command.contacts != OPEN:
            assert now + command.lease <= granted + 0.25 + 1e-9


def test_backoff_doubles_to_its_longest_and_begins_anew():
    backoff = Backoff(0.1, 5.0)
    assert [backoff.failed() for _ in range(8)] == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    )
    backoff.succeeded()
    assert backoff.failed() == 0.1
