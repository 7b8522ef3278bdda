# SPDX-License-Identifier: Apache-2.0
"""Levels, debounce, hysteresis; missing values and odd times first."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protection_rig import levels, make_limits, make_pack

from dbms_pack import Level, Limit
from dbms_protection import soa
from dbms_protection.faults import Place
from dbms_protection.quantity import Quantity
from dbms_protection.soa import string_values
from dbms_protection.timebase import Timebase

NAN = math.nan


def quantity(under=False, debounce=0.5, size=3, **options):
    if under:
        limits = levels(3.0, 2.8, 2.5, debounce=debounce)
    else:
        limits = levels(4.15, 4.18, 4.22, debounce=debounce)
    places = [Place('a', 'a1', cell=number + 1) for number in range(size)]
    return Quantity('X', 'V', limits, [slice(0, size)], places, under=under, **options)


def told(changes):
    return [(change.level, change.element, change.active) for change in changes]


def test_a_missing_value_begins_nothing():
    q = quantity(debounce=0.0)
    assert not q.update(0, np.array([NAN, NAN, NAN]), 0.0)
    assert not q.active.any()
    assert not q.busy[0]


def test_a_missing_value_does_not_end_a_condition():
    q = quantity(debounce=0.0)
    q.update(0, np.array([3.7, 4.3, 3.7]), 0.0)
    assert not q.update(0, np.array([3.7, NAN, 3.7]), 1.0)
    assert q.active[:, 1].all()


def test_a_debounce_goes_on_over_missing_values():
    q = quantity()
    q.update(0, np.array([3.7, 4.3, 3.7]), 0.0)
    q.update(0, np.array([3.7, NAN, 3.7]), 0.3)
    changes = q.update(0, np.array([3.7, NAN, 3.7]), 0.5)
    assert (Level.MSL, 1, True) in told(changes)


def test_a_missing_neighbour_hides_nothing():
    q = quantity(debounce=0.0)
    values = np.array([NAN, 4.3, 3.7])
    assert not q.quiet(0, float(values.max()))
    assert (Level.MSL, 1, True) in told(q.update(0, values, 0.0))


def test_infinite_current_is_taken_for_missing():
    assert all(math.isnan(value) for value in string_values(math.inf, 500.0, False))


def test_a_current_beyond_the_range_counts_as_the_range_at_least():
    assert string_values(100.0, 500.0, True) == (500.0, 500.0, 0.0)
    assert string_values(-600.0, 500.0, True) == (600.0, 0.0, 600.0)
    assert string_values(NAN, 500.0, True) == (500.0, 500.0, 500.0)


@pytest.mark.parametrize('under', [False, True])
def test_debounce_zero_trips_in_the_same_update(under):
    q = quantity(under, debounce=0.0)
    value = 2.4 if under else 4.3
    changes = q.update(0, np.array([3.7, 3.7, value]), 0.0)
    assert told(changes) == [(level, 2, True) for level in (Level.MSL, Level.RSL, Level.MOL)]


def test_exactly_the_limit_is_reached_in_float32():
    q = quantity(debounce=0.0)
    changes = q.update(0, np.array([4.22, 0, 0], dtype=np.float32), 0.0)
    assert (Level.MSL, 0, True) in told(changes)


def test_debounce_starts_anew_when_the_value_was_fine():
    q = quantity()
    for now, value in ((0.0, 4.3), (0.4, 4.0), (0.5, 4.3), (0.9, 4.3)):
        assert not q.update(0, np.array([value, 3.7, 3.7]), now)
    changes = q.update(0, np.array([4.3, 3.7, 3.7]), 1.0)
    assert len(changes) == 3
    assert changes[0].since == 0.5


def test_pending_is_confirmed_by_time_alone():
    q = quantity()
    q.update(0, np.array([4.3, 3.7, 3.7]), 0.0)
    assert not q.elapse(0, 0.49)
    assert (Level.MSL, 0, True) in told(q.elapse(0, 0.5))


def test_hysteresis_per_level():
    q = quantity(debounce=0.0)
    q.update(0, np.array([4.3, 3.7, 3.7]), 0.0)
    assert not q.update(0, np.array([4.175, 3.7, 3.7]), 1.0)
    assert told(q.update(0, np.array([4.165, 3.7, 3.7]), 2.0)) == [(Level.MSL, 0, False)]
    assert told(q.update(0, np.array([4.09, 3.7, 3.7]), 3.0)) == [
        (Level.RSL, 0, False),
        (Level.MOL, 0, False),
    ]
    assert not q.busy[0]


def test_what_does_not_apply_ends():
    q = quantity(debounce=0.0)
    q.update(0, np.array([4.3, 3.7, 3.7]), 0.0)
    assert len(q.update(0, np.array([4.3, 3.7, 3.7]), 1.0, applies=False)) == 3
    assert not q.busy[0]


def test_time_scale_shortens_debounces():
    q = quantity(debounce=10.0, time_scale=100.0)
    q.update(0, np.array([4.3, 3.7, 3.7]), 0.0)
    assert q.elapse(0, 0.11)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50))
def test_time_never_steps_back(times):
    base = Timebase()
    before = 0.0
    for time in times:
        now = base.advance(time)
        assert now >= before
        before = now


def test_a_step_back_costs_no_more_than_itself():
    base = Timebase()
    base.advance(1000.0)
    base.advance(10.0)
    assert base.advance(10.5) == pytest.approx(0.5)


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 0.3),
            st.lists(st.sampled_from([3.7, 4.16, 4.19, 4.3, NAN]), min_size=3, max_size=3),
        ),
        max_size=40,
    )
)
def test_same_as_one_cell_at_a_time(steps):
    """The arrays do what a plain loop over cells and levels does."""
    q = quantity()
    oracle = {(level, cell): [None, False] for level in Level for cell in range(3)}
    now = 0.0
    for dt, values in steps:
        now += dt
        q.update(0, np.array(values), now)
        for (level, cell), memory in oracle.items():
            limit = q.limits[level]
            at, value = float(np.float32(limit.at)), values[cell]
            if memory[0] is None and value >= at:
                memory[0] = now
            fine = value < at - limit.hysteresis if memory[1] else value < at
            if memory[0] is not None and now - memory[0] >= limit.debounce and not fine:
                memory[1] = True
            if fine:
                memory[:] = [None, False]
            assert q.active[q.levels.index(level), cell] == memory[1]


def test_limits_of_a_good_pack_are_complete():
    assert soa.problems(make_limits()) == []


@pytest.mark.parametrize(
    'changes, word',
    [
        ({'cell_overvoltage': {}}, 'cell_overvoltage: no MOL, RSL, MSL'),
        ({'short_circuit': {}}, 'short_circuit: no MSL'),
        ({'cell_undervoltage': levels(3.0, 3.1, 2.5)}, 'not in order'),
        ({'cell_overvoltage': levels(4.1, NAN, 4.2)}, 'not a number'),
        ({'short_circuit': {Level.MSL: Limit(400.0, -1.0, 1.0, True)}}, 'negative'),
    ],
)
def test_incomplete_limits_are_named(changes, word):
    assert word in '; '.join(soa.problems(make_limits(**changes)))


def test_every_element_has_its_name():
    pack = make_pack(strings=2, modules=2, cells=4)
    area = soa.SafeOperatingArea(pack)
    voltage = area.voltages[0]
    assert str(voltage.places[6]) == 'module a2 cell 3'
    assert voltage.places[13] == Place('b', 'b2', cell=2)
    assert [str(q.places[1]) for q in area.currents] == ['string b'] * 3
