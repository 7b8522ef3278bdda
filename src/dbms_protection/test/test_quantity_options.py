# SPDX-License-Identifier: Apache-2.0
"""Leaking debounces, and limits that depend on temperature or state."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbms_pack import Level, Limit
from dbms_protection.faults import Place
from dbms_protection.quantity import Quantity

NAN = math.nan
BAD, FINE = 5.0, 1.0


def quantity(under=False, **options):
    limit = Limit(**{'at': 4.0, 'debounce': 1.0, 'hysteresis': 0.5, 'latch': False} | options)
    return Quantity('X', 'V', {Level.MSL: limit}, [slice(0, 1)], [Place('a')], under=under)


def play(q, *steps):
    """Judge (duration, value) ten times a second, and return when it became active."""
    now, begun = 0.0, []
    for duration, value in steps:
        for _ in range(round(duration * 10)):
            now += 0.1
            changes = [*q.update(0, np.array([value]), now), *q.elapse(0, now + 0.09)]
            begun += [(round(now, 1), change.active) for change in changes]
    return begun


COMES_AND_GOES = [(0.5, BAD), (0.3, FINE)] * 10


def test_what_comes_and_goes_never_ends_a_plain_debounce():
    assert play(quantity(), *COMES_AND_GOES) == []


def test_what_comes_and_goes_fills_a_leaking_one():
    [(first, active), *_] = play(quantity(leak=1.0), *COMES_AND_GOES)
    assert active
    assert 2.4 <= first <= 3.4  # every 0.8 s gather 0.2 s


def test_a_fast_leak_drains_before_it_is_full():
    assert play(quantity(leak=2.0), *COMES_AND_GOES) == []


def test_without_a_break_a_leaking_debounce_is_as_long_as_a_plain_one():
    assert play(quantity(leak=1.0), (3.0, BAD)) == play(quantity(), (3.0, BAD))


def test_a_full_one_ends_when_it_has_drained_and_not_before():
    events = play(quantity(leak=0.5), (5.0, BAD), (4.0, FINE))
    assert [active for _, active in events] == [True, False]
    assert 6.8 <= events[1][0] <= 7.3, 'one second, drained half as fast'


def test_a_missing_value_does_not_drain():
    assert play(quantity(leak=1.0), (0.5, BAD), (1.0, NAN)) != []


def test_no_tick_between_two_good_values_confirms_a_leaking_debounce():
    q = quantity(leak=0.01)
    q.update(0, np.array([BAD]), 0.0)
    q.update(0, np.array([FINE]), 0.9)
    assert not q.elapse(0, 5.0)
    assert not q.active.any()


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=30))
def test_same_as_a_counter_that_counts_up_and_down(steps):
    """As foxBMS 2 counts: +1 per bad sample, -1 per good one, ends at zero; the leak is 1."""
    q = quantity(leak=1.0, debounce=1.25)
    now, count, active, before = 0.0, -1, False, False
    for times, bad in steps:
        for _ in range(times):
            now += 0.125  # no rounding: ten of them are the debounce
            # What is gathered is the time from one sample on, so the count follows by one.
            if count >= 0:
                count = min(count + 1, 10) if before else count - 1
            if bad:
                count = max(count, 0)
            elif count <= 0:
                count = -1
            active = count >= 0 and (active or (bad and count >= 10))
            q.update(0, np.array([BAD if bad else FINE]), now)
            assert bool(q.active.any()) == active
            before = bad


# -- by temperature and state ---------------------------------------------------------------------

COLD = {'under': True, 'at': 2.5, 'by_temperature': ((-20.0, 0.0), (2.0, 2.5)), 'debounce': 0.0}


@pytest.mark.parametrize(
    'cold, hot, limit',
    [
        (25.0, 30.0, 2.5),
        (-20.0, -20.0, 2.0),
        (-10.0, -10.0, 2.25),
        (-20.0, 10.0, 2.5),  # the more careful one
        (NAN, -20.0, 2.5),
        (math.inf, -math.inf, 2.5),  # no sensors
    ],
)
def test_a_limit_follows_the_temperature(cold, hot, limit):
    q = quantity(**COLD)
    q.adapt(0, cold, hot, '')
    assert q.at(Level.MSL) == pytest.approx([limit])
    assert q.quiet(0, limit + 0.01)
    [change] = q.update(0, np.array([limit - 0.01]), 0.0)
    assert change.at == pytest.approx(limit)


def test_a_limit_follows_the_state():
    q = quantity(at=3.0, by_state={'rest': 2.0}, debounce=0.0)
    q.adapt(0, NAN, NAN, 'rest')
    assert not q.quiet(0, 2.5)
    q.adapt(0, NAN, NAN, '')
    assert q.quiet(0, 2.5)


def test_what_depends_on_nothing_stays():
    q = quantity()
    q.adapt(0, -20.0, -20.0, 'rest')
    assert not q.variable
    assert q.at(Level.MSL) == pytest.approx([4.0])
