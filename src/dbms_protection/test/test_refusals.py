# SPDX-License-Identifier: Apache-2.0
"""Every reason for which `connect` is refused: nothing closes, it is said, and it passes."""

import math

import pytest
from protection_rig import Rig

from dbms_protection.contactors import ALL_OPEN, State
from dbms_protection.measurements import Contact, Interlock

NAN = math.nan


def sample(**fields):
    """Let the string measure other values than are there."""
    return lambda rig: rig.units[0].changes.update(fields)


def contact(index, reading):
    """Let the feedback of a contactor say something else."""
    return lambda rig: rig.units[0].stuck.update({index: reading})


def board(**values):
    """Let the second board tell of itself, of a cell, or of a sensor."""

    def apply(rig):
        rig.status[1] = values.get('status', 0)
        rig.voltages[1][2] = values.get('volts', 3.7)
        rig.temperatures[1][1] = values.get('degrees', 25.0)

    return apply


REASONS = [
    (sample(supply_low=True), 'the supply of its contactor unit is too low'),
    (sample(current=1.5), '1.50 A flow though its contactors read open'),
    (sample(current=-1.5), '-1.50 A flow though its contactors read open'),
    (sample(current=NAN), 'current not measured'),
    (sample(sensor_fault=True), 'current not measured'),
    (sample(current_age=0.6), 'current not measured'),
    (sample(string_voltage=NAN), 'string voltage not measured'),
    (sample(string_voltage=27.0), 'string voltage not measured, or not plausible'),
    (sample(link_voltage=NAN), 'link voltage not measured'),
    (sample(voltage_age=1.0), 'string voltage and link voltage not measured'),
    (sample(contact_age=1.0), 'its contactors do not all read open'),
    (sample(interlock=Interlock.UNKNOWN), 'interlock loop does not read closed'),
    (sample(interlock=Interlock.OPEN), 'interlock loop is not closed'),
    (contact(0, Contact.UNKNOWN), 'its contactors do not all read open'),
    (contact(1, Contact.UNKNOWN), 'its contactors do not all read open'),
    (contact(2, Contact.FAULT), 'its contactors do not all read open'),
    (board(volts=NAN), 'cell 3 of a2 not measured'),
    (board(degrees=NAN), 'temperature sensor 2 of a2 not measured'),
    (board(status=1), 'module a2 reports OPEN_WIRE'),
    (board(status=2), 'module a2 reports SELF_TEST_FAILED'),
    (board(status=4), 'module a2 reports REFERENCE_FAILED'),
    (lambda rig: rig.silent.add(1), 'module a2 is silent'),
    (lambda rig: rig.dumb.add(0), 'not measured'),
]


@pytest.mark.parametrize('worsen, said', REASONS, ids=[said for _, said in REASONS])
def test_what_forbids_to_connect_is_said_and_passes(worsen, said):
    rig = Rig().activate()
    worsen(rig)
    rig.run(0.4 if said != 'module a2 is silent' else 0.7)
    if 'contactors do not' in said:  # before a deviation has become a fault
        rig.units[0].stuck.clear()
        rig.run(0.5)
        worsen(rig)
        rig.run(0.05)
    accepted, answer = rig.connect()
    assert not accepted
    assert said in answer
    assert not any(command.contacts != ALL_OPEN for command in rig.commands())
    assert rig.guard.strings[0].sequence.at_rest
    rig.units[0].changes.clear()
    rig.units[0].stuck.clear()
    rig.silent.clear()
    rig.dumb.clear()
    board()(rig)
    rig.run(0.7)
    rig.guard.command('reset_faults', 'test', '', (), rig.now)
    accepted, answer = rig.connect()
    assert accepted, answer
    assert rig.state() is State.CONNECTED
