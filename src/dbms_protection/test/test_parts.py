# SPDX-License-Identifier: Apache-2.0
"""Fault book, lease keeper and limit calculator by themselves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protection_rig import make_pack

from dbms_pack import Level
from dbms_protection.contactors import ALL_OPEN
from dbms_protection.faults import Fault, FaultBook, Place
from dbms_protection.lease import LeaseKeeper
from dbms_protection.limits import NO_DERATING, Derating, LimitCalculator
from dbms_protection.measurements import CellData

CLOSED = (True, False, True)


def fault(name='X', level=Level.MSL, string='a', value=1.0, raised=0.0, **options):
    return Fault(name, level, Place(string), value, 0.5, 'V', since=0.0, raised=raised, **options)


# -- fault book -----------------------------------------------------------------------------------


def test_a_missing_value_is_not_the_worst():
    book = FaultBook()
    entry = book.put(fault(value=2.0))
    entry.measure(math.nan)
    entry.measure(3.0)
    entry.measure(1.0)
    assert (entry.value, entry.worst) == (1.0, 3.0)


def test_the_worst_of_an_under_quantity_is_the_lowest():
    entry = FaultBook().put(fault(value=2.0, under=True))
    entry.measure(1.0)
    entry.measure(1.5)
    assert entry.worst == 1.0


def test_ending_what_is_not_there_does_nothing():
    book = FaultBook()
    book.end('X', Level.MSL, Place('a'))
    assert book.version == 0


def test_latched_stays_until_reset_and_only_when_over():
    book = FaultBook()
    book.put(fault(latched=True))
    assert book.reset({'a'})[0] == 0
    book.end('X', Level.MSL, Place('a'))
    assert book.blocks('a')
    assert book.reset({'b'}) == (0, [])
    assert book.reset({'a'}) == (1, [])
    assert not book.blocks('a')
    assert len(book) == 0


def test_what_comes_again_keeps_its_latch_and_is_one_entry():
    book = FaultBook()
    book.put(fault(latched=True))
    book.end('X', Level.MSL, Place('a'))
    entry = book.put(fault(value=9.0, raised=5.0))
    assert len(book) == 1
    assert (entry.latched, entry.raised, entry.worst) == (True, 5.0, 9.0)


def test_listing_is_worst_first_and_leaves_out_milder_levels_of_the_same():
    book = FaultBook()
    for level in Level:
        book.put(fault(level=level))
    book.put(fault('B', Level.RSL, raised=1.0))
    book.put(fault('A', Level.RSL, raised=1.0))
    assert [(f.name, f.level) for f in book.listing()] == [
        ('X', Level.MSL),
        ('A', Level.RSL),
        ('B', Level.RSL),
    ]


def test_every_change_is_told_once():
    book = FaultBook()
    book.put(fault())
    book.put(fault())
    book.end('X', Level.MSL, Place('a'))
    assert [text.split(':')[0] for _, text in book.events] == ['raised', 'over']


# -- lease ----------------------------------------------------------------------------------------


def keeper(first=0):
    sent = []
    return LeaseKeeper(0, 0.3, sent.append, first), sent


def test_numbers_wrap_as_uint32():
    lease, sent = keeper(2**32 - 1)
    lease.sync(ALL_OPEN, 0.0, False)
    assert sent[0].sequence == 0


def test_no_renewal_without_leave_to_renew():
    lease, sent = keeper()
    lease.sync(CLOSED, 0.0, False)
    lease.sync(CLOSED, 10.0, False)
    assert len(sent) == 1


def test_an_answer_to_an_older_command_counts_from_its_sending():
    lease, sent = keeper()
    lease.sync(CLOSED, 0.0, True)
    lease.sync(CLOSED, 0.1, True)
    lease.answer(sent[0].sequence, True, '')
    assert lease.lapsed(0.29) is None
    assert lease.lapsed(0.31).name == 'CONTACTOR_DRIVER_LOST'
    lease.answer(sent[1].sequence, True, '')
    assert lease.lapsed(0.31) is None
    assert lease.lapsed(0.45).name == 'LEASE_EXPIRED'


def test_answers_nobody_waits_for_are_left_out():
    lease, sent = keeper()
    assert lease.answer(4711, False, 'no') is None
    lease.sync(CLOSED, 0.0, True)
    lease.sync(ALL_OPEN, 0.1, True)
    assert lease.answer(sent[0].sequence, False, 'no') is None


def test_a_silent_driver_is_named_while_open():
    lease, _ = keeper()
    lease.sync(ALL_OPEN, 0.0, True)
    assert not lease.driver_silent(1.9)
    assert lease.driver_silent(2.0)


# -- limits ---------------------------------------------------------------------------------------


def calculator_with(volts=3.7, degrees=25.0):
    pack = make_pack()
    data = CellData(pack)
    for index, module in enumerate(pack.modules):
        data.put(
            index,
            np.full(module.cells, volts, np.float32),
            np.full(module.temperatures, degrees, np.float32),
        )
    return LimitCalculator(pack), data


CONNECTED = np.array([True])


def limits_of(calculator, data, loss=NO_DERATING, elapsed=0.1, connected=CONNECTED, flowing=0.0):
    return calculator.update(data, [loss], connected, 'nothing is connected', elapsed, [flowing])


def test_nothing_measured_allows_nothing():
    pack = make_pack()
    limits = limits_of(LimitCalculator(pack), CellData(pack))
    assert limits.charge_current == limits.discharge_current == 0.0
    assert 'not measured' in limits.charge_limited_by


def test_not_connected_allows_nothing_and_says_so():
    limits = limits_of(*calculator_with(), connected=np.array([False]))
    assert limits.charge_current == 0.0
    assert limits.charge_peak == (0.0, 0.0, 0.0)
    assert limits.charge_limited_by == 'nothing is connected'
    assert limits.charge_voltage == pytest.approx(8 * 4.10), 'a voltage of 0 would be an alarm'
    assert limits.discharge_voltage == pytest.approx(8 * 3.0)


@pytest.mark.parametrize(
    'volts, charge', [(4.17, 50.0), (4.18, 50.0), (4.195, 25.0), (4.21, 0.0), (4.3, 0.0)]
)
def test_charge_falls_between_rsl_and_three_quarters_to_msl(volts, charge):
    limits = limits_of(*calculator_with(volts), flowing=charge)
    assert limits.charge_current == pytest.approx(charge, abs=0.01)
    assert limits.discharge_current == 100.0


@pytest.mark.parametrize('volts, discharge', [(2.8, 100.0), (2.6875, 50.0), (2.575, 0.0)])
def test_discharge_falls_with_the_lowest_cell(volts, discharge):
    limits = limits_of(*calculator_with(volts), flowing=-discharge)
    assert limits.discharge_current == pytest.approx(discharge, abs=0.01)


def test_down_at_once_up_by_ten_percent_per_second():
    calculator, data = calculator_with()
    limits_of(calculator, data)
    assert limits_of(calculator, data, Derating(0.2, 'LOST')).charge_current == 10.0
    assert limits_of(calculator, data, elapsed=1.0).charge_current == pytest.approx(15.0)
    assert limits_of(calculator, data, elapsed=1e9).charge_current == pytest.approx(20.0)
    assert limits_of(calculator, data, elapsed=-5.0).charge_current == pytest.approx(20.0)


@pytest.mark.parametrize(('scale', 'share'), [(1.0, 0.01), (5.0, 0.05), (60.0, 0.08)])
def test_a_fast_simulation_gives_limits_back_no_faster_than_they_can_be_obeyed(scale, share):
    pack, (_, data) = make_pack(), calculator_with()
    calculator = LimitCalculator(pack, scale)
    limits_of(calculator, data)
    limits_of(calculator, data, Derating(0.2, 'LOST'))
    assert limits_of(calculator, data, elapsed=0.1).charge_current == pytest.approx(
        50.0 * (0.2 + share)
    )


def test_the_loss_is_named_where_it_is_what_limits():
    calculator, data = calculator_with(4.195)
    loss = Derating(0.3, 'LOST')
    assert limits_of(calculator, data, loss, flowing=25.0).charge_limited_by == 'LOST'
    limits = limits_of(calculator, data, Derating(0.9, 'LOST'), flowing=25.0)
    assert limits.charge_limited_by == 'CELL_OVERVOLTAGE RSL a1 cell 1'


@given(
    st.lists(st.sampled_from([2.4, 2.6, 3.7, 4.19, 4.3, math.nan]), min_size=4, max_size=4),
    st.lists(
        st.sampled_from([-30.0, 0.0, 3.0, 25.0, 48.0, 70.0, math.nan]), min_size=2, max_size=2
    ),
    st.integers(0, 3),
    st.integers(0, 1),
)
def test_a_value_that_goes_missing_never_raises_a_limit(volts, degrees, cell, sensor):
    calculator, data = calculator_with()
    volts, degrees = np.array(volts, np.float32), np.array(degrees, np.float32)
    data.put(0, volts, degrees)
    before = limits_of(calculator, data)
    volts[cell] = degrees[sensor] = np.nan
    data.put(0, volts, degrees)
    after = limits_of(calculator, data, elapsed=100.0)
    assert after.charge_current <= before.charge_current
    assert after.discharge_current <= before.discharge_current
    assert all(math.isfinite(value) for value in (after.charge_current, *after.charge_peak))
