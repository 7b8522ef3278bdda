# SPDX-License-Identifier: Apache-2.0
"""The guard in service: connecting, tripping, leaving, resetting."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from protection_rig import Rig, levels, make_limits, make_pack

import dbms_protection
from dbms_pack import LossRule
from dbms_protection.contactors import ALL_OPEN, State
from dbms_protection.guard import PackState
from dbms_protection.measurements import Contact


@pytest.fixture
def rig():
    rig = Rig().activate()
    assert rig.connect()[0]
    assert rig.state() is State.CONNECTED
    return rig


def test_the_core_knows_neither_ros_nor_a_clock():
    folder = Path(dbms_protection.__file__).parent
    for path in folder.glob('*.py'):
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split('.')[0])
        if not path.name.endswith(('_node.py', 'events_cli.py')):
            assert not names & {'rclpy', 'time', 'datetime', 'dbms_node'}, path.name


def test_activation_opens_everything_and_connects_nothing():
    rig = Rig().activate()
    rig.run(3.0)
    assert rig.contacts_in_order() == [ALL_OPEN]
    assert rig.guard.state is PackState.STANDBY
    assert rig.guard.limits.discharge_current == 0.0


def test_the_sequence_in_its_order(rig):
    assert rig.contacts_in_order() == [
        ALL_OPEN,
        (True, False, False),
        (True, True, False),
        (True, True, True),
        (True, False, True),
    ]
    assert rig.guard.state is PackState.CONNECTED
    assert rig.guard.limits.discharge_current == pytest.approx(100.0)
    assert rig.guard.limits.discharge_limited_by == ''


def test_plus_waits_until_the_link_has_followed():
    rig = Rig().activate()
    rig.guard.command('connect', '', '', (), rig.now)
    while not rig.commands()[-1].contacts[2]:
        rig.step()
    unit = rig.units[0]
    assert abs(unit.voltage - unit.link) <= 1.0


def test_the_lease_is_renewed_three_times_per_lease(rig):
    before = len(rig.sent)
    rig.run(10.0)
    times = [time for time, _ in rig.sent[before:]]
    assert 100 <= len(times) <= 125
    assert max(np.diff(times)) < 0.125
    sequences = [command.sequence for command in rig.commands()]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def test_a_trip_sends_in_the_same_call(rig):
    rig.voltages[1][2] = 4.3
    before = len(rig.sent)
    rig.scan(1)
    assert [command.contacts for _, command in rig.sent[before:]] == [ALL_OPEN]
    rig.run(0.2)
    assert rig.state() is State.FAULTED
    assert rig.guard.state is PackState.FAULT
    assert rig.guard.strings[0].reason.startswith('CELL_OVERVOLTAGE MSL at module a2 cell 3')


def test_a_debounced_trip_comes_with_the_tick_that_ends_the_debounce():
    limits = make_limits(cell_overvoltage=levels(4.15, 4.18, 4.22, debounce=0.45))
    rig = Rig(make_pack(limits=limits)).activate()
    rig.connect()
    rig.voltages[1][2] = 4.3
    start = rig.now
    while rig.units[0].command != ALL_OPEN:
        rig.step()
    assert 0.45 <= rig.now - start <= 0.45 + 0.1 + 0.03


def test_after_a_trip_only_reset_and_connect_close_again(rig):
    rig.voltages[0][0] = 4.3
    rig.run(0.3)
    done, message = rig.guard.command('connect', '', '', (), rig.now)
    assert not done
    assert 'faults stand: CELL_OVERVOLTAGE' in message
    done, message = rig.guard.command('reset_faults', '', '', (), rig.now)
    assert not done
    assert 'still active: CELL_OVERVOLTAGE' in message
    rig.voltages[0][0] = 3.7
    rig.run(1.0)
    assert rig.state() is State.FAULTED, 'latched'
    assert rig.guard.command('reset_faults', '', '', (), rig.now)[0]
    rig.run(5.0)
    assert rig.state() is State.OPEN, 'never closes by itself'
    assert rig.connect()[0]
    assert rig.state() is State.CONNECTED


def test_a_fault_that_does_not_latch_never_recloses_either():
    over = levels(4.15, 4.18, 4.22)
    over = {level: replace(limit, latch=False) for level, limit in over.items()}
    rig = Rig(make_pack(limits=make_limits(cell_overvoltage=over))).activate()
    rig.connect()
    rig.voltages[0][0] = 4.3
    rig.run(0.3)
    assert rig.state() is State.FAULTED
    rig.voltages[0][0] = 3.7
    rig.run(3.0)
    assert rig.state() is State.OPEN


@pytest.mark.parametrize(
    'current, name',
    [(-200.0, 'OVERCURRENT_DISCHARGE'), (90.0, 'OVERCURRENT_CHARGE'), (-450.0, 'SHORT_CIRCUIT')],
)
def test_too_much_current_opens_at_once_in_the_same_call(rig, current, name):
    rig.units[0].current = current
    sample = rig.units[0].sample()
    rig.guard.on_string(0, 5555, sample, rig.now)
    assert rig.sent[-1][1].contacts == ALL_OPEN
    assert (name, 'MSL') in rig.names()


def test_precharge_is_tried_again_and_then_faults():
    rig = Rig().activate()
    rig.guard.command('connect', '', '', (), rig.now)
    closings = 0
    for _ in range(3000):
        rig.units[0].link = 0.0  # a short circuit behind the contactors
        before = rig.commands()[-1].contacts
        rig.step()
        closings += before == ALL_OPEN and rig.commands()[-1].contacts == (True, False, False)
        assert not rig.commands()[-1].contacts[2]
    assert closings == 2, 'after the first one'
    assert ('PRECHARGE_FAILED', 'MSL') in rig.names()
    assert rig.state() is State.FAULTED
    assert rig.guard.command('reset_faults', '', '', (), rig.now)[0]


def test_precharge_current_that_does_not_end_fails():
    rig = Rig().activate()
    rig.units[0].changes = {'current': -3.0}
    rig.guard.command('connect', '', '', (), rig.now)
    rig.run(2.5)
    assert not any(command.contacts[2] for command in rig.commands())


def test_a_contactor_that_reads_closed_is_not_closed_onto():
    rig = Rig()
    rig.units[0].stuck = {2: Contact.CLOSED}
    rig.activate()
    done, message = rig.connect()
    assert not done
    rig.run(0.5)
    assert ('CONTACTOR_WELDED', 'MSL') in rig.names()
    assert 'plus contactor reads closed' in rig.guard.strings[0].reason
    assert rig.contacts_in_order() == [ALL_OPEN]


def test_measurements_alone_renew_nothing(rig):
    """Only the cycle that has looked at everything holds contactors closed."""
    count = len(rig.sent)
    for number in range(10):
        rig.now += 0.02
        rig.guard.on_string(0, 90000 + number, rig.units[0].sample(), rig.now)
    assert len(rig.sent) == count


@pytest.mark.parametrize('index, name', [(0, 'minus'), (1, 'precharge'), (2, 'plus')])
def test_a_contactor_that_does_not_open_is_named(rig, index, name):
    rig.units[0].stuck = {index: Contact.CLOSED}
    rig.guard.command('disconnect', '', '', (), rig.now)
    rig.run(1.0)
    assert ('CONTACTOR_WELDED', 'MSL') in rig.names()
    assert name in rig.guard.strings[0].reason
    rig.units[0].stuck = {}
    rig.run(0.1)
    assert rig.guard.command('reset_faults', '', '', (), rig.now)[0]
    assert rig.state() is State.OPEN


def test_a_contactor_that_does_not_close_faults():
    rig = Rig()
    rig.units[0].stuck = {0: Contact.OPEN}
    rig.activate()
    rig.connect()
    assert ('CONTACTOR_FEEDBACK', 'MSL') in rig.names()
    assert rig.contacts_in_order() == [ALL_OPEN, (True, False, False), ALL_OPEN]


def test_a_lost_module_is_named_derated_and_opened_later():
    rig = Rig(make_pack(limits=make_limits(module_lost=LossRule(0.5, 0.5, 3.0)))).activate()
    rig.connect()
    rig.units[0].current = -60.0
    rig.silent = {1}
    rig.run(0.8)
    assert rig.names() == {('MODULE_LOST', 'RSL')}
    assert rig.guard.limits.discharge_current == pytest.approx(50.0)
    assert rig.guard.limits.discharge_limited_by == 'MODULE_LOST RSL module a2'
    rig.run(2.5)
    assert rig.state() is State.CONNECTED
    rig.run(0.5)
    assert rig.state() is State.LEAVING
    rig.run(1.5)
    assert rig.state() is State.FAULTED


def test_a_lost_module_that_comes_back_gives_the_limits_back_slowly(rig):
    rig.silent = {1}
    rig.run(0.8)
    rig.silent = set()
    rig.run(1.0)
    assert rig.names() == set()
    assert 52.0 <= rig.guard.limits.discharge_current <= 62.0
    assert rig.guard.limits.discharge_limited_by == 'coming back, 10 % per second'
    rig.run(5.0)
    assert rig.guard.limits.discharge_current == pytest.approx(100.0)


def test_charge_temperatures_matter_only_while_charging(rig):
    rig.temperatures[0][0] = -3.0
    rig.run(1.0)
    assert rig.names() == set()
    assert rig.guard.limits.charge_current == 0.0, 'but nothing may be charged'
    assert rig.guard.limits.charge_limited_by == 'UNDERTEMPERATURE_CHARGE RSL a1 sensor 1'
    rig.units[0].current = 30.0
    rig.run(0.3)
    assert ('UNDERTEMPERATURE_CHARGE', 'MSL') in rig.names()


def test_time_scale_shortens_debounce_and_bridging():
    limits = make_limits(
        cell_overvoltage=levels(4.15, 4.18, 4.22, debounce=10.0),
        module_lost=LossRule(0.5, 0.5, 100.0),
    )
    rig = Rig(make_pack(limits=limits), time_scale=100.0).activate()
    rig.connect()
    rig.silent = {0}
    rig.run(0.9)
    assert rig.state() is State.CONNECTED
    rig.run(0.8)
    assert rig.state() is State.FAULTED
    rig.voltages[1][0] = 4.3
    rig.run(0.35)
    assert ('CELL_OVERVOLTAGE', 'MSL') in rig.names()


def test_deactivation_opens_and_renews_nothing(rig):
    rig.guard.deactivate(rig.now, 'deactivated')
    assert rig.sent[-1][1].contacts == ALL_OPEN
    before = len(rig.sent)
    rig.run(2.0)
    assert len(rig.sent) == before
    assert rig.guard.state is PackState.INACTIVE
    assert rig.guard.limits.discharge_current == 0.0


def test_latched_faults_outlive_a_deactivation(rig):
    rig.voltages[0][0] = 4.3
    rig.run(0.3)
    rig.guard.deactivate(rig.now, 'deactivated')
    rig.voltages[0][0] = 3.7
    rig.run(5.0)
    rig.guard.activate(rig.now)
    rig.run(0.3)
    assert rig.state() is State.FAULTED
    assert 'faults stand' in rig.guard.command('connect', '', '', (), rig.now)[1]
