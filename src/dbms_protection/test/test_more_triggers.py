# SPDX-License-Identifier: Apache-2.0
"""Quantities beyond the required ones: missing values first, then each one's own fault."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from more_rig import AT, trigger
from protection_rig import Rig, make_limits, make_pack

from dbms_pack import Level
from dbms_pack.limits import QUANTITIES
from dbms_protection.contactors import ALL_OPEN, State
from dbms_protection.measurements import Contact
from dbms_protection.signals import Jumps, Overload, Rise, Skew, Stuck

NAN = math.nan


def rig_with(*keys, connect=True, strings=1, **options):
    more = {key: trigger(key, **options) for key in keys or AT}
    rig = Rig(make_pack(strings=strings, limits=make_limits(more=more))).activate()
    for unit in rig.units:
        unit.changes = {'insulation': 1e7, 'insulation_age': 0.0}
    rig.run(0.2)
    if connect:
        rig.connect()
        assert rig.state() is State.CONNECTED
    return rig


def levels_of(rig, key):
    return {level for name, level in rig.names() if name == key.upper()}


def test_every_quantity_of_the_catalogue_is_tried_here():
    assert set(AT) == {key for key, quantity in QUANTITIES.items() if not quantity.required}


def test_nothing_is_wrong_with_a_healthy_pack():
    rig = rig_with()
    rig.units[0].current = -20.0
    for _ in range(100):
        for array in rig.voltages:
            array -= np.float32(1e-4)
        rig.units[0].voltage = float(sum(array.sum() for array in rig.voltages))
        rig.run(0.1)
    assert rig.names() == set()
    assert rig.state() is State.CONNECTED


def test_what_was_never_measured_begins_nothing():
    rig = Rig(make_pack(limits=make_limits(more={key: trigger(key) for key in AT})))
    for unit in rig.units:
        unit.changes = {'string_voltage': NAN, 'link_voltage': NAN, 'current': NAN}
    for values in (*rig.voltages, *rig.temperatures):
        values[:] = NAN
    rig.activate()
    rig.run(3.0)
    assert not {name for name, _ in rig.names()} & {key.upper() for key in AT}


def test_a_missing_value_does_not_end_what_was_there():
    rig = rig_with('voltage_spread', connect=False)
    rig.voltages[0][1] = 3.3
    rig.run(0.3)
    rig.voltages[0][1] = NAN
    rig.run(0.3)
    assert 'RSL' in levels_of(rig, 'voltage_spread')


# -- each one's own fault -------------------------------------------------------------------------


def place_of(rig, key, level):
    return str(next(
        fault.place for fault in rig.guard.book.listing()
        if fault.name == key.upper() and fault.level is level
    ))  # fmt: skip


def test_deep_discharge_needs_its_name_in_the_reset():
    more = {'deep_discharge': trigger('deep_discharge', reset='named')}
    limits = make_limits(more=more)
    rig = Rig(make_pack(limits=limits)).activate()
    rig.voltages[1][2] = 2.3
    rig.run(0.3)
    assert place_of(rig, 'deep_discharge', Level.MSL) == 'module a2 cell 3'
    rig.voltages[1][2] = 3.7
    rig.run(0.3)
    done, message = rig.guard.command('reset_faults', 'me', 'all is well', (), rig.now)
    assert not done
    assert 'the reason has to name DEEP_DISCHARGE' in message
    done, _ = rig.guard.command('reset_faults', 'me', 'deep_discharge: checked', (), rig.now)
    assert done
    assert levels_of(rig, 'deep_discharge') == set()


def test_a_stuck_cell_shows_when_its_string_moves():
    rig = rig_with('voltage_stuck')
    for step in range(12):
        for number, array in enumerate(rig.voltages):
            array[:] = 3.7 - 0.01 * step
            if number == 1:
                array[0] = 3.7
        rig.units[0].voltage = 8 * (3.7 - 0.01 * step)
        rig.run(0.1)
    rig.run(0.02)
    assert levels_of(rig, 'voltage_stuck') == {'RSL'}
    assert place_of(rig, 'voltage_stuck', Level.RSL) == 'module a2 cell 1'
    assert rig.guard.limits.discharge_limited_by == 'VOLTAGE_STUCK RSL module a2 cell 1'
    assert rig.guard.limits.discharge_current == pytest.approx(40.0)


def test_a_frozen_board_is_told_with_all_its_cells():
    rig = rig_with('voltage_stuck')
    rig.voltages[0][:] = 3.5
    rig.units[0].voltage = 8 * 3.5
    rig.run(0.2)
    rig.voltages[0][:] = 3.4
    rig.units[0].voltage = 8 * 3.4
    rig.run(0.2)
    frozen = {str(fault.place) for fault in rig.guard.book.listing()}
    assert frozen == {f'module a2 cell {number}' for number in (1, 2, 3, 4)}


def test_an_impossible_jump_is_told_and_what_the_string_shares_is_none():
    rig = rig_with('voltage_jump')
    for array in rig.voltages:
        array[:] -= 0.5  # a load step
    rig.run(0.2)
    assert levels_of(rig, 'voltage_jump') == set()
    rig.voltages[0][2] += 1.5
    rig.scan(0)
    assert levels_of(rig, 'voltage_jump') == {'RSL'}
    assert place_of(rig, 'voltage_jump', Level.RSL) == 'module a1 cell 3'


def test_a_cell_that_heats_up_fast_opens_early():
    rig = rig_with('temperature_rise', 'temperature_jump', debounce=3.0)
    for step in range(400):
        rig.temperatures[1][1] = 25.0 + 0.12 * step  # 72 K/min
        rig.run(0.1)
        if rig.units[0].command == ALL_OPEN:
            break
    assert place_of(rig, 'temperature_rise', Level.MSL) == 'module a2 temperature sensor 2'
    assert rig.temperatures[1][1] < 55.0, 'before it is too hot'


def test_a_temperature_that_jumps_is_a_sensor_and_no_rise():
    rig = rig_with('temperature_rise', 'temperature_jump', debounce=0.0)
    rig.temperatures[1][1] = 45.0
    rig.run(5.0)
    assert levels_of(rig, 'temperature_rise') == set()
    assert any('raised: TEMPERATURE_JUMP MOL' in text for _, text in rig.guard.book.events)


def test_a_stuck_temperature_shows_when_the_others_move():
    rig = rig_with('temperature_stuck')
    for step in range(45):
        for array in rig.temperatures:
            array[:] = 25.0 + 0.1 * step
        rig.temperatures[0][0] = 25.0
        rig.run(0.2)
    assert place_of(rig, 'temperature_stuck', Level.MOL) == 'module a1 temperature sensor 1'


@pytest.mark.parametrize(
    'key, values',
    [('voltage_spread', 'voltages'), ('temperature_spread', 'temperatures')],
)
def test_a_spread_is_that_of_the_whole_string(key, values):
    rig = rig_with(key)
    low, high = getattr(rig, values)
    high += AT[key][1] - AT[key][0] / 2.0
    low -= AT[key][0] / 2.0 + 0.01
    rig.run(0.3)
    assert levels_of(rig, key) == {'RSL'}
    assert place_of(rig, key, Level.RSL) == 'string a'


@pytest.mark.parametrize(
    'key, fields, state',
    [
        ('string_overvoltage', {'string_voltage': 8 * 4.3}, State.FAULTED),
        ('string_undervoltage', {'string_voltage': 8 * 2.7}, State.FAULTED),
        ('link_overvoltage', {'link_voltage': 8 * 4.5}, State.FAULTED),
        ('link_mismatch', {'link_voltage': 8 * 3.7 - 3.0}, State.FAULTED),
        ('voltage_mismatch', {'string_voltage': 8 * 4.0}, State.FAULTED),
        ('insulation', {'insulation': 8 * 4.2 * 90.0, 'insulation_age': 0.0}, State.FAULTED),
        ('insulation', {'insulation': 8 * 4.2 * 400.0, 'insulation_age': 0.0}, State.CONNECTED),
    ],
)
def test_a_value_of_a_string_acts(key, fields, state):
    rig = rig_with(key)
    rig.units[0].changes = fields
    rig.run(0.5)
    assert levels_of(rig, key) == {'MSL' if state is State.FAULTED else 'RSL'}
    assert rig.state() is state


def test_the_links_of_open_strings_are_no_mismatch():
    rig = rig_with('link_mismatch', connect=False)
    rig.run(1.0)
    assert rig.units[0].link == 0.0
    assert rig.names() == set()


def test_a_good_insulation_beyond_what_can_be_measured_is_good():
    rig = rig_with('insulation', 'insulation_age')
    rig.units[0].changes = {'insulation': math.inf, 'insulation_age': 0.0}
    rig.run(30.0)
    assert rig.names() == set()


def test_an_insulation_that_is_no_longer_measured_is_told():
    rig = rig_with('insulation', 'insulation_age')
    rig.units[0].changes = {'insulation': NAN, 'insulation_age': NAN}
    rig.run(6.0)
    assert levels_of(rig, 'insulation_age') == {'RSL'}


def test_who_has_no_insulation_monitor_misses_none():
    rig = Rig(make_pack(limits=make_limits(more={'insulation_age': trigger('insulation_age')})))
    rig.activate()
    rig.connect()
    rig.run(30.0)
    assert rig.names() == set()


def test_a_voltage_that_is_no_longer_measured_opens_announced():
    rig = rig_with('voltage_age')
    rig.units[0].changes = {'voltage_age': NAN}
    rig.run(0.6)
    assert levels_of(rig, 'voltage_age') == {'MOL'}
    rig.run(2.0)
    assert rig.state() is State.FAULTED


def test_an_overload_adds_up_and_a_peak_does_not():
    rig = rig_with('overload')
    rig.units[0].current = -90.0
    rig.run(1.0)
    assert levels_of(rig, 'overload') == set()
    rig.run(7.0)
    assert levels_of(rig, 'overload') == {'MSL'}, '90 A for 8 s of a window of 10 s'
    assert rig.state() is State.FAULTED


def test_too_much_current_during_precharge_opens_at_once():
    rig = rig_with('precharge_current', connect=False)
    rig.guard.command('connect', 'test', '', (), rig.now)
    while rig.state() is not State.PRECHARGING:
        rig.step()
    rig.units[0].changes = {'current': -8.0}
    rig.run(0.05)
    assert rig.commands()[-1].contacts == ALL_OPEN
    assert levels_of(rig, 'precharge_current') == {'MSL'}


def test_a_slow_clock_is_told_and_lost_scans_are_none():
    rig = rig_with('clock_skew')
    for step in range(200):
        rig.step()
        if step % 15 == 0:
            rig.silent = {0}
            rig.scan(0)
    assert levels_of(rig, 'clock_skew') == {'MOL'}
    assert place_of(rig, 'clock_skew', Level.MOL) == 'module a1'


def test_the_action_of_the_pack_wins():
    rig = rig_with('voltage_mismatch', action='open')
    rig.units[0].current = -50.0
    rig.units[0].changes = {'string_voltage': 8 * 4.0}
    rig.run(0.05)
    assert rig.commands()[-1].contacts == ALL_OPEN


def test_one_string_leaves_and_the_other_sails_on():
    rig = rig_with('voltage_mismatch', strings=2)
    rig.run(3.0)
    rig.units[1].changes = {'string_voltage': 8 * 4.0}
    rig.run(2.0)
    assert [rig.state(index) for index in (0, 1)] == [State.CONNECTED, State.FAULTED]


def test_a_limit_by_temperature_acts_in_the_guard():
    limits = make_limits()
    cold = {
        level: replace(limit, by_temperature=((-10.0, 0.0), (limit.at - 0.4, limit.at)))
        for level, limit in limits.cell_undervoltage.items()
    }
    rig = Rig(make_pack(limits=replace(limits, cell_undervoltage=cold)), degrees=-9.0).activate()
    rig.connect()
    rig.voltages[0][0] = 2.4
    rig.run(1.0)
    assert ('CELL_UNDERVOLTAGE', 'MSL') not in rig.names()
    rig.temperatures[0][:] = 5.0
    rig.run(1.0)
    assert ('CELL_UNDERVOLTAGE', 'MSL') in rig.names()


# -- signals by themselves ------------------------------------------------------------------------


def test_signals_take_values_that_are_no_numbers():
    whole = slice(0, 2)
    odd = np.array([NAN, 3.7], np.float32)
    jumps, stuck = Jumps(2, True, 1.0), Stuck(2, 0.3)
    rise = Rise(make_pack(modules=1), 10.0, math.inf, 1.0)
    for now in (0.0, 0.1, 0.1, 0.0):
        jumps.worst(whole, odd, False)
        stuck.worst(whole, odd, False, (NAN,), 0.0)
        rise.worst(0, whole, odd, False, now)
        for signal in (jumps, stuck, rise):
            assert not (signal.values() > 1e-6).any()
    assert Overload(10.0, 1.0).update(NAN, 0.0) == 0.0


def test_a_rate_is_that_of_a_steady_ramp():
    rise = Rise(make_pack(modules=1), 10.0, math.inf, 1.0)
    for step in range(1000):
        value = np.full(2, 20.0 + 0.05 * step, np.float32)
        worst = rise.worst(0, slice(0, 2), value, True, 0.1 * step)
    assert rise.values() == pytest.approx([30.0, 30.0], rel=0.02)
    assert worst == pytest.approx(30.0, rel=0.02)


@given(st.lists(st.lists(st.floats(-5, 5, width=32), min_size=5, max_size=5), max_size=10))
def test_no_jump_exceeds_what_the_short_cut_says(scans):
    jumps = Jumps(5, True, 1.0)
    for index, scan in enumerate(scans):
        worst = jumps.worst(slice(0, 5), np.array(scan, np.float32), True)
        assert index == 0 or jumps.values().max() <= worst + 1e-5


def test_lost_scans_and_pauses_say_nothing_about_a_clock():
    pack = make_pack(modules=1)
    skew = Skew(pack, 0.5)
    now, sequence = 0.0, 0
    for step in range(100):
        lost = 1 + step % 3
        now, sequence = now + 0.1 * lost, sequence + lost
        assert skew.update(0, sequence, now) < 1e-6
    assert skew.update(0, sequence + 1, now + 60.0) < 1e-6
    assert skew.update(0, 0, now + 60.1) < 1e-6  # a driver that began anew


def test_contacts_are_read_before_they_are_judged():
    """A link that follows late at the end of precharge is no mismatch while not connected."""
    rig = rig_with('link_mismatch', connect=False)
    rig.units[0].stuck = {2: Contact.OPEN}
    rig.guard.command('connect', 'test', '', (), rig.now)
    rig.run(1.0)
    assert 'LINK_MISMATCH' not in {name for name, _ in rig.names()}
