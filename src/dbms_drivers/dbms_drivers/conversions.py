# SPDX-License-Identifier: Apache-2.0
"""From what the drivers know to messages. Nothing is decided here."""

from array import array

from builtin_interfaces.msg import Time
from dbms_msgs.msg import ModuleCells, StringMeasurement

from dbms_drivers.assembler import ModuleScan
from dbms_drivers.codec import FloatArray
from dbms_drivers.strings import StringValues


def module_cells(scan: ModuleScan, stamp: Time) -> ModuleCells:
    """Return the message of a scan."""
    message = ModuleCells()
    message.header.stamp = stamp
    message.header.frame_id = scan.module
    message.sequence = scan.sequence
    message.voltages = _floats(scan.voltages)
    message.temperatures = _floats(scan.temperatures)
    message.bleeding = scan.bleeding
    message.serial = scan.serial
    message.status = scan.status
    return message


def string_measurement(values: StringValues, sequence: int, stamp: Time) -> StringMeasurement:
    """Return the message of a string's measurement."""
    message = StringMeasurement()
    message.header.stamp = stamp
    message.header.frame_id = values.string
    message.sequence = sequence
    message.current = values.current
    message.current_age = values.current_age
    message.string_voltage = values.string_voltage
    message.link_voltage = values.link_voltage
    message.voltage_age = values.voltage_age
    message.insulation_resistance = values.insulation
    message.insulation_age = values.insulation_age
    message.minus = values.minus
    message.precharge = values.precharge
    message.plus = values.plus
    message.contactor_age = values.contactor_age
    message.interlock = values.interlock
    message.lease_remaining = values.lease_remaining
    message.status = values.status
    return message


def _floats(values: FloatArray) -> array:  # type: ignore[type-arg]
    """Return an array that a message field takes without a check of every element."""
    floats = array('f')
    floats.frombytes(values.tobytes())
    return floats
