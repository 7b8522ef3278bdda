# SPDX-License-Identifier: Apache-2.0
"""Several strings in parallel: they join one after the other, and one leaves alone."""

import re
from dataclasses import replace

import pytest
from protection_rig import UNIT, Rig, levels, make_limits, make_pack

from dbms_protection.contactors import ALL_OPEN, State
from dbms_protection.guard import PackState


def two_strings(**options):
    return Rig(make_pack(strings=2, **options)).activate()


def test_strings_connect_one_after_the_other_highest_first():
    rig = two_strings()
    rig.units[1].voltage += 1.0
    rig.run(0.2)
    assert rig.connect()[0]
    rig.run(1.0)
    assert rig.state(0) is rig.state(1) is State.CONNECTED
    closed = [command.string for _, command in rig.sent if command.contacts[2]]
    assert closed[0] == 1
    assert rig.guard.limits.discharge_current == pytest.approx(200.0)


def test_the_second_string_waits_until_its_own_sensor_has_seen_the_link():
    rig = two_strings()
    rig.guard.command('connect', '', '', (), rig.now)
    while rig.state(0) is not State.CONNECTED:
        rig.step()
    first = rig.now
    rig.units[1].changes = {'link_voltage': 5.0}  # as measured a moment ago
    for _ in range(10):
        rig.step()
    rig.units[1].changes = {}
    rig.run(2.0)
    assert rig.state(1) is State.CONNECTED
    joined = next(time for time, c in rig.sent if c.string == 1 and c.contacts != ALL_OPEN)
    assert joined - first >= 0.29


def test_a_string_too_far_from_the_link_is_refused_and_the_other_sails_on():
    rig = two_strings()
    rig.voltages[2][:] = rig.voltages[3][:] = 3.4
    rig.units[1].voltage = 3.4 * 8
    rig.run(0.3)
    rig.connect()
    rig.run(1.0)
    assert rig.state(0) is State.CONNECTED
    assert rig.state(1) is State.OPEN
    assert 'apart, at most 2.00 V allowed' in rig.guard.strings[1].reason
    assert 'apart' in rig.connect('b')[1]
    assert rig.state(0) is State.CONNECTED


def test_a_faulty_string_leaves_and_the_other_carries_on():
    rig = two_strings()
    rig.connect()
    rig.run(1.0)
    rig.voltages[2][0] = 4.3
    rig.run(0.3)
    assert rig.state(0) is State.CONNECTED
    assert rig.state(1) is State.FAULTED
    assert rig.guard.state is PackState.FAULT
    assert rig.guard.limits.discharge_current == pytest.approx(100.0)
    assert all(command.contacts == ALL_OPEN for command in rig.commands(1)[-1:])
    rig.run(1.0)
    assert rig.units[0].command == (True, False, True)


def test_the_weakest_string_holds_all_of_them_back():
    rig = two_strings()
    rig.connect()
    rig.run(1.0)
    rig.temperatures[3][1] = 47.5
    rig.run(0.3)
    assert rig.guard.limits.charge_current == pytest.approx(2 * 50.0 / 3, rel=1e-3)
    assert rig.guard.limits.charge_limited_by == 'OVERTEMPERATURE_CHARGE RSL b2 sensor 2'


def test_reset_touches_only_the_strings_asked_for():
    rig = two_strings()
    rig.voltages[0][0] = rig.voltages[2][0] = 4.3
    rig.run(0.3)
    rig.voltages[0][0] = rig.voltages[2][0] = 3.7
    rig.run(0.3)
    assert rig.guard.command('reset_faults', '', '', ('b',), rig.now)[0]
    assert rig.state(0) is State.FAULTED
    assert rig.state(1) is State.OPEN


def test_a_waiting_string_that_is_faulted_meanwhile_is_not_connected():
    slow = replace(UNIT, precharge=replace(UNIT.precharge, min_time=1.0))
    rig = two_strings(unit=slow)
    rig.guard.command('connect', '', '', (), rig.now)
    rig.voltages[2][0] = 4.3
    rig.run(3.0)
    assert rig.state(0) is State.CONNECTED
    assert {command.contacts for command in rig.commands(1)} == {ALL_OPEN}


def test_nothing_is_connected_before_the_driver_has_answered():
    """At the start topics may be heard before services are reached."""
    rig = Rig(answer=False).activate()
    taken_up, said = rig.connect()
    assert not taken_up
    assert 'driver has not answered' in said
    assert rig.state() is State.OPEN
    assert not rig.names()
    rig.answer = True
    rig.run(0.2)
    assert rig.connect()[0]
    assert rig.state() is State.CONNECTED


def test_limits_stay_zero_until_all_strings_have_joined():
    rig = Rig(make_pack(strings=2)).activate()
    rig.guard.command('connect', 'test', 'test', (), rig.now)
    alone = 0
    for _ in range(500):
        rig.step()
        states = [string.state for string in rig.guard.strings]
        if states.count(State.CONNECTED) == 1:
            alone += 1
            assert rig.guard.limits.discharge_current == 0.0
            assert rig.guard.limits.charge_current == 0.0
    assert alone > 0
    assert states == [State.CONNECTED, State.CONNECTED]
    assert rig.guard.limits.discharge_current > 0.0


def test_limits_do_not_wait_for_a_string_that_was_refused():
    rig = Rig(make_pack(strings=2)).activate()
    rig.units[1].voltage -= 5.0
    rig.voltages[2] -= 5.0 / 8
    rig.voltages[3] -= 5.0 / 8
    rig.run(0.5)
    rig.connect()
    rig.run(1.0)
    assert [string.state for string in rig.guard.strings] == [State.CONNECTED, State.OPEN]
    assert rig.guard.limits.discharge_current > 0.0


def test_a_string_that_joins_later_takes_nothing_from_the_others():
    rig = Rig(make_pack(strings=2)).activate()
    rig.connect('a')
    before = rig.guard.limits.discharge_current
    assert before > 0.0
    rig.guard.command('connect', 'test', 'test', ('b',), rig.now)
    for _ in range(300):
        rig.step()
        assert rig.guard.limits.discharge_current >= before


@pytest.mark.parametrize('where, value', [('voltages', 4.3), ('temperatures', 75.0)])
def test_what_is_beyond_an_msl_is_not_connected_before_it_is_confirmed_either(where, value):
    limits = make_limits(
        cell_overvoltage=levels(4.15, 4.18, 4.22, debounce=0.5),
        overtemperature_discharge=levels(50.0, 55.0, 60.0, debounce=0.5),
    )
    rig = two_strings(limits=limits)
    getattr(rig, where)[2][0] = value
    rig.run(0.11)
    assert rig.names() == set(), 'its debounce runs'
    accepted, said = rig.guard.command('connect', 'test', '', (), rig.now)
    assert accepted, 'the other string is fine'
    assert 'string a is being connected' in said
    assert re.search(r'string b: \w+ MSL at module b1 .* 1: (4.3 V|75 degC)', said), said
    getattr(rig, where)[2][0] = 3.7 if where == 'voltages' else 25.0
    rig.run(3.0)
    assert rig.connect('b')[0]
    assert rig.state(1) is State.CONNECTED


def test_a_string_that_leaves_is_on_the_link_until_it_has_opened():
    """The current that would equalise counts against it as well."""
    rig = two_strings(unit=replace(UNIT, join_current=10.0))
    rig.connect('a')
    rig.units[0].current = -60.0
    rig.units[1].voltage += 0.9
    rig.run(0.2)
    assert 'it would equalise with' in rig.connect('b')[1]
    rig.guard.command('disconnect', '', '', ('a',), rig.now)
    assert rig.state(0) is State.LEAVING
    assert 'it would equalise with' in rig.guard.command('connect', '', '', ('b',), rig.now)[1]
    rig.run(0.5)
    assert {command.contacts for command in rig.commands(1)} == {ALL_OPEN}


@pytest.mark.parametrize('moved', [0.9, 3.0])
def test_what_may_join_is_looked_at_again_before_plus_closes(moved):
    """Here a load pulls the link away while the second string is on its way."""
    slow = replace(UNIT, join_current=10.0, precharge=replace(UNIT.precharge, min_time=0.5))
    rig = two_strings(unit=slow)
    rig.connect('a')
    assert rig.guard.command('connect', '', '', ('b',), rig.now)[0]
    while rig.state(1) is not State.PRECHARGING:
        rig.step()
    rig.units[0].voltage -= moved
    rig.run(20.0)
    assert not any(command.contacts[2] for command in rig.commands(1))
    assert rig.state(1) is State.OPEN
    assert rig.guard.strings[1].reason.startswith('not joined: ')
    assert not rig.names(), 'nothing of it has failed'
    assert rig.state(0) is State.CONNECTED
