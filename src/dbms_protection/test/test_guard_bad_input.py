# SPDX-License-Identifier: Apache-2.0
"""Whatever is missing, wrong or late makes the guard more careful, never less."""

import math
from dataclasses import replace

import numpy as np
import pytest
from protection_rig import UNIT, Rig, levels, make_limits, make_pack

from dbms_pack import LossRule
from dbms_protection.contactors import ALL_OPEN, State
from dbms_protection.measurements import Contact, Interlock

NAN = math.nan


@pytest.fixture
def rig():
    rig = Rig().activate()
    assert rig.connect()[0]
    assert rig.state() is State.CONNECTED
    return rig


def test_nothing_is_sent_before_activation():
    rig = Rig()
    rig.run(1.0)
    assert rig.sent == []
    assert rig.guard.command('connect', '', '', (), rig.now) == (
        False,
        'protection is not active',
    )


def test_scans_of_wrong_size_are_counted_and_not_used():
    rig = Rig().activate()
    before = rig.guard.judge.cells.voltages.copy()
    good = rig.temperatures[0]
    for voltages in (np.zeros(3, np.float32), np.zeros(0, np.float32), np.zeros((2, 2))):
        rig.guard.on_cells(0, 9999, voltages, good, 0, rig.now)
    rig.guard.on_cells(0, 9999, rig.voltages[0], np.zeros(9, np.float32), 0, rig.now)
    assert rig.guard.judge.refused['scan of wrong size'] == 4
    assert np.array_equal(rig.guard.judge.cells.voltages, before)


def test_a_repeated_scan_keeps_no_module_alive(rig):
    rig.silent = {0}
    for _ in range(60):
        rig.guard.on_cells(0, 12345, rig.voltages[0], rig.temperatures[0], 0, rig.now)
        rig.step()
    assert ('MODULE_LOST', 'RSL') in rig.names()
    assert rig.guard.judge.refused['scan repeated'] == 59


def test_a_repeated_string_measurement_keeps_no_string_alive(rig):
    rig.dumb = {0}
    sample = rig.units[0].sample()
    for _ in range(200):
        rig.guard.on_string(0, 77, sample, rig.now)
        rig.step()
    assert rig.state() is State.FAULTED
    assert ('STRING_LOST', 'MSL') in rig.names()


def test_a_missing_cell_is_named_derated_then_opened():
    rig = Rig(make_pack(limits=make_limits(module_lost=LossRule(0.5, 0.4, 2.0)))).activate()
    rig.connect()
    rig.voltages[1][2] = NAN
    rig.run(0.4)
    assert rig.names() == set()
    rig.run(0.4)
    assert rig.names() == {('CELL_NOT_MEASURED', 'RSL')}
    assert str(rig.guard.book.listing()[0].place) == 'module a2 cell 3'
    assert rig.guard.limits.discharge_current == pytest.approx(40.0)
    assert rig.guard.limits.discharge_limited_by == 'CELL_NOT_MEASURED RSL module a2 cell 3'
    assert rig.state() is State.CONNECTED
    rig.run(2.2)
    assert rig.state() is State.FAULTED
    rig.voltages[1][2] = 3.7
    rig.run(0.3)
    assert rig.state() is State.FAULTED, 'latched'
    assert rig.guard.command('reset_faults', '', '', (), rig.now)[0]
    assert rig.state() is State.OPEN


def test_a_single_scan_without_a_value_is_no_fault(rig):
    rig.temperatures[0][0] = NAN
    rig.scan(0)
    rig.temperatures[0][0] = 25.0
    rig.run(2.0)
    assert rig.names() == set()


@pytest.mark.parametrize('value', [math.inf, -math.inf])
def test_infinite_is_not_measured(rig, value):
    rig.voltages[0][0] = value
    rig.run(0.8)
    assert rig.names() == {('CELL_NOT_MEASURED', 'RSL')}


@pytest.mark.parametrize('bit, name', [(1, 'OPEN_WIRE'), (2, 'SELF_TEST_FAILED')])
def test_a_board_that_doubts_itself_derates(rig, bit, name):
    rig.status[1] = bit
    rig.run(0.8)
    assert rig.names() == {(name, 'RSL')}
    assert rig.guard.limits.charge_current == pytest.approx(25.0)


def test_losing_a_sensor_never_raises_a_limit(rig):
    rig.temperatures[0][1] = 47.0
    rig.run(0.3)
    before = rig.guard.limits.charge_current
    assert 0.0 < before < 50.0
    rig.temperatures[0][1] = NAN
    for _ in range(200):
        rig.step()
        assert rig.guard.limits.charge_current <= before


def test_dead_from_the_start_is_lost_too():
    rig = Rig()
    rig.silent, rig.dumb = {1}, {0}
    rig.activate()
    rig.run(0.4)
    assert ('MODULE_LOST', 'RSL') in rig.names()
    assert ('STRING_LOST', 'RSL') in rig.names()
    assert rig.state() is State.OPEN, 'an open string is not faulted by silence'
    done, message = rig.connect()
    assert not done
    assert 'module a2 is silent' in message


def test_a_lost_current_opens_announced(rig):
    rig.units[0].current = -60.0
    rig.run(0.1)
    rig.dumb = {0}
    rig.run(0.3)
    assert rig.state() is State.LEAVING
    assert rig.guard.limits.discharge_current == 0.0
    rig.run(1.1)
    assert rig.units[0].command == ALL_OPEN


def test_current_not_measured_is_as_good_as_silence(rig):
    rig.units[0].changes = {'current': NAN}
    rig.run(0.3)
    assert rig.state() in (State.LEAVING, State.OPENING, State.FAULTED)


@pytest.mark.parametrize('fields', [{'sensor_fault': True}, {'current_age': 0.3}])
def test_what_a_sensor_says_that_is_not_to_be_believed_trips_nothing(rig, fields):
    rig.units[0].changes = {'current': -450.0, **fields}
    rig.run(0.1)
    assert not {name for name, _ in rig.names()} & {'SHORT_CIRCUIT', 'OVERCURRENT_DISCHARGE'}
    rig.run(0.3)
    assert ('STRING_LOST', 'MSL') in rig.names()


@pytest.mark.parametrize('degrees, ways', [(51.0, {'CHARGE'}), (61.0, {'CHARGE', 'DISCHARGE'})])
def test_with_no_current_known_the_limits_of_both_ways_hold(degrees, ways):
    lost = LossRule(timeout=0.25, derate=0.0, open_after=30.0)
    rig = Rig(make_pack(limits=make_limits(string_lost=lost))).activate()
    rig.connect()
    rig.units[0].changes = {'current': NAN}
    rig.run(0.3)
    rig.temperatures[0][0] = degrees
    rig.run(0.3)
    hot = {name for name, level in rig.names() if level == 'MSL'}
    assert hot == {f'OVERTEMPERATURE_{way}' for way in ways}


def test_an_old_current_is_not_a_current(rig):
    rig.units[0].changes = {'current_age': 5.0}
    rig.run(0.4)
    assert ('STRING_LOST', 'MSL') in rig.names()


@pytest.mark.parametrize('age', [NAN, -1.0])
def test_a_value_without_age_is_not_known(age):
    rig = Rig().activate()
    rig.units[0].changes = {'voltage_age': age}
    rig.run(0.1)
    done, message = rig.connect()
    assert not done
    assert 'voltage' in message


def test_over_range_without_a_value_is_a_short_circuit(rig):
    rig.units[0].changes = {'current': NAN, 'over_range': True}
    rig.run(0.03)
    assert ('SHORT_CIRCUIT', 'MSL') in rig.names()
    assert rig.units[0].command == ALL_OPEN


@pytest.mark.parametrize('field', ['link_voltage', 'string_voltage', 'current'])
def test_a_value_that_goes_missing_ends_the_sequence(field):
    rig = Rig().activate()
    rig.guard.command('connect', '', '', (), rig.now)
    while rig.state() is not State.PRECHARGING:
        rig.step()
    rig.units[0].changes = {field: NAN}
    rig.run(0.5)
    assert rig.state() is State.OPEN
    assert not any(command.contacts[2] for command in rig.commands())
    assert 'given up' in rig.guard.strings[0].reason


def test_a_module_that_goes_silent_ends_the_sequence():
    slow = replace(UNIT, precharge=replace(UNIT.precharge, min_time=1.0))
    rig = Rig(make_pack(unit=slow)).activate()
    rig.silent = {1}
    rig.guard.command('connect', '', '', (), rig.now)
    rig.run(1.5)
    assert not any(command.contacts[2] for command in rig.commands())
    assert 'module a2 is silent' in rig.guard.strings[0].reason


def test_voltage_wires_that_are_off_do_not_look_precharged():
    """String and link both read 0 V: their difference is fine, and plus must not close on it."""
    rig = Rig().activate()
    rig.units[0].voltage = 0.0
    rig.run(0.2)
    done, message = rig.connect()
    assert not done
    assert 'not plausible' in message
    assert not any(command.contacts[0] for command in rig.commands())


def test_a_step_back_of_time_delays_no_trip():
    limits = make_limits(cell_overvoltage=levels(4.15, 4.18, 4.22, debounce=0.5))
    rig = Rig(make_pack(limits=limits)).activate()
    rig.connect()
    rig.voltages[0][0] = 4.3
    rig.run(0.4)
    rig.now -= 500.0
    for unit in rig.units:
        unit.until = rig.now + 0.2
    assert rig.state() is State.CONNECTED
    rig.run(0.25)
    assert rig.units[0].command == ALL_OPEN


def test_silence_is_noticed_across_a_step_back(rig):
    rig.silent = {0}
    rig.run(0.2)
    rig.now -= 1e6
    for unit in rig.units:
        unit.until = rig.now + 0.2
    rig.run(0.5)
    assert ('MODULE_LOST', 'RSL') in rig.names()


def test_a_guard_that_was_held_up_does_not_close_again(rig):
    """The lease has run out meanwhile: renewing would close both mains without precharge."""
    before = len(rig.sent)
    rig.now += 0.6
    rig.run(0.5)
    after = [command.contacts for _, command in rig.sent[before:]]
    assert after
    assert set(after) == {ALL_OPEN}
    assert ('LEASE_EXPIRED', 'MSL') in rig.names()
    rig.run(0.3)
    assert rig.state() is State.FAULTED


def test_a_held_up_sequence_does_not_go_on_closing():
    rig = Rig().activate()
    rig.guard.command('connect', '', '', (), rig.now)
    while rig.state() is not State.PRECHARGING:
        rig.step()
    rig.units[0].link = rig.units[0].voltage
    before = len(rig.sent)
    rig.now += 0.4  # longer than the lease, not long enough to lose a module
    sample = rig.units[0].sample()
    rig.guard.on_string(0, 424242, sample, rig.now)
    assert not rig.guard.strings[0].sequence.connecting
    assert 'held up' in rig.guard.strings[0].reason
    assert {command.contacts for _, command in rig.sent[before:]} == {ALL_OPEN}


def test_a_driver_that_grants_nothing_is_lost(rig):
    rig.answer = False
    rig.run(0.4)
    assert ('CONTACTOR_DRIVER_LOST', 'MSL') in rig.names()
    assert rig.units[0].command == ALL_OPEN


def test_a_driver_that_refuses_opens(rig):
    rig.units[0].obeys = False
    rig.run(0.2)
    assert ('CONTACTOR_REFUSED', 'MSL') in rig.names()
    assert rig.commands()[-1].contacts == ALL_OPEN


def test_an_opening_command_is_repeated_until_it_is_answered(rig):
    rig.answer = False
    rig.voltages[0][0] = 4.3
    rig.scan(0)
    before = len(rig.sent)
    rig.run(1.0)
    assert len(rig.sent) - before >= 5
    rig.answer = True
    rig.run(0.2)
    before = len(rig.sent)
    rig.run(1.0)
    assert len(rig.sent) == before


def test_an_expired_lease_told_by_the_unit_opens(rig):
    rig.units[0].changes = {'lease_expired': True}
    rig.run(0.05)
    assert ('LEASE_EXPIRED', 'MSL') in rig.names()
    assert rig.commands()[-1].contacts == ALL_OPEN


@pytest.mark.parametrize('interlock', [Interlock.OPEN, Interlock.UNKNOWN, 9])
def test_the_interlock_opens_at_once(rig, interlock):
    rig.units[0].current = -100.0
    rig.run(0.1)
    rig.units[0].interlock = interlock
    rig.run(0.03)
    assert ('INTERLOCK_OPEN', 'MSL') in rig.names()
    assert rig.units[0].command == ALL_OPEN


def test_an_interlock_that_is_not_fitted_does_not_matter():
    rig = Rig()
    rig.units[0].interlock = Interlock.UNKNOWN
    rig.activate()
    assert rig.connect()[0]
    assert rig.state() is State.CONNECTED


@pytest.mark.parametrize('reading', [Contact.OPEN, Contact.UNKNOWN, Contact.FAULT, 9], ids=str)
@pytest.mark.parametrize('index', [0, 2])
def test_wrong_feedback_of_a_closed_contactor_opens(rig, index, reading):
    rig.units[0].stuck = {index: reading}
    rig.run(0.15)
    assert rig.state() is State.CONNECTED
    rig.run(0.15)
    name = 'CONTACTOR_FEEDBACK_LOST' if reading == Contact.UNKNOWN else 'CONTACTOR_FEEDBACK'
    assert (name, 'MSL') in rig.names()
    assert rig.units[0].command == ALL_OPEN


def test_unknown_names_and_commands_are_refused(rig):
    assert 'no string z' in rig.guard.command('connect', '', '', ('z',), rig.now)[1]
    assert not rig.guard.command('explode', '', '', (), rig.now)[0]
    assert rig.state() is State.CONNECTED


def test_an_error_inside_opens_everything(rig):
    rig.guard.fail(rig.now, 'ZeroDivisionError')
    assert rig.units[0].command == ALL_OPEN
    rig.run(0.3)
    assert ('INTERNAL_ERROR', 'MSL') in rig.names()
    assert rig.state() is State.FAULTED


def test_a_driver_that_refuses_while_connecting_ends_the_attempt_without_a_fault():
    rig = Rig().activate()
    rig.units[0].obeys = False
    rig.connect()
    rig.run(0.5)
    assert rig.names() == set()
    assert rig.commands()[-1].contacts == ALL_OPEN
    assert 'refused to close' in rig.guard.strings[0].reason
    rig.units[0].obeys = True
    rig.run(0.5)  # the opening command is repeated until it is answered
    assert rig.connect() == (True, 'string a is being connected')
    assert rig.state() is State.CONNECTED
