# SPDX-License-Identifier: Apache-2.0
"""Between ROS messages and what the guard knows; no node needed."""

from builtin_interfaces.msg import Time
from dbms_msgs.msg import Fault as FaultMsg
from dbms_msgs.msg import Limits, ProtectionState, StringMeasurement, StringState

from dbms_pack import Level

from .contactors import State
from .faults import Fault, Place
from .guard import Guard
from .limits import HORIZONS, PowerLimits
from .measurements import StringSample
from .strings import StringGuard

# Faults told at most: a pack that is wrong everywhere shall not flood the wire with its list.
FAULTS_TOLD = 200


def sample(message: StringMeasurement) -> StringSample:
    """Return the measurement of a string as the guard takes it."""
    status = message.status
    return StringSample(
        current=message.current,
        current_age=message.current_age,
        string_voltage=message.string_voltage,
        link_voltage=message.link_voltage,
        voltage_age=message.voltage_age,
        contacts=(message.minus, message.precharge, message.plus),
        contact_age=message.contactor_age,
        interlock=message.interlock,
        lease_expired=bool(status & StringMeasurement.STATUS_LEASE_EXPIRED),
        coil_fault=bool(status & StringMeasurement.STATUS_COIL_FAULT),
        supply_low=bool(status & StringMeasurement.STATUS_SUPPLY_LOW),
        sensor_fault=bool(status & StringMeasurement.STATUS_SENSOR_FAULT),
        over_range=bool(status & StringMeasurement.STATUS_OVER_RANGE),
        insulation=message.insulation_resistance,
        insulation_age=message.insulation_age,
    )


def limits_message(limits: PowerLimits, stamp: Time, sequence: int, valid_for: float) -> Limits:
    """Return the message of power limits."""
    message = Limits(sequence=sequence, valid_for=valid_for)
    message.header.stamp = stamp
    message.charge_current = limits.charge_current
    message.discharge_current = limits.discharge_current
    message.charge_voltage = limits.charge_voltage
    message.discharge_voltage = limits.discharge_voltage
    message.horizons = list(HORIZONS)
    message.charge_current_peak = list(limits.charge_peak)
    message.discharge_current_peak = list(limits.discharge_peak)
    message.charge_limited_by = limits.charge_limited_by
    message.discharge_limited_by = limits.discharge_limited_by
    return message


def fault_messages(faults: list[Fault], guard_now: float, ros_now: int) -> list[FaultMsg]:
    """Return the worst faults; `ros_now` in ns is the ROS time at `guard_now`."""
    return [_fault_message(fault, guard_now, ros_now) for fault in faults[:FAULTS_TOLD]]


def _fault_message(fault: Fault, guard_now: float, ros_now: int) -> FaultMsg:
    place = fault.place
    return FaultMsg(
        name=fault.name,
        level=int(fault.level),
        string_name=place.string,
        module=place.module,
        cell=place.cell,
        sensor=place.sensor,
        value=fault.value,
        limit=fault.limit,
        unit=fault.unit,
        since=_stamp(ros_now - round((guard_now - fault.since) * 1e9)),
        raised=_stamp(ros_now - round((guard_now - fault.raised) * 1e9)),
        active=fault.active,
        latched=fault.latched,
        text=fault.text,
    )


def fault_of(message: FaultMsg, level: Level) -> Fault:
    """Return a latched fault that another guard tells of, as one that is over."""
    place = Place(message.string_name, message.module, message.cell, message.sensor)
    return Fault(
        message.name, level, place, message.value, message.limit, message.unit, 0.0, 0.0,
        active=False, latched=True, cause='told by the guard in office before',
        worst=message.value,
    )  # fmt: skip


def _stamp(nanoseconds: int) -> Time:
    sec, nanosec = divmod(max(nanoseconds, 0), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def state_message(guard: Guard, faults: list[Fault]) -> ProtectionState:
    """Return the state message, without its header and sequence."""
    message = ProtectionState()
    message.state = int(guard.state)
    message.state_name = guard.state.name
    message.pack = guard.pack.name
    message.pack_digest = guard.pack.digest[:12]
    message.strings = [_string_message(string, guard.now) for string in guard.strings]
    message.faults_active = min(sum(fault.active for fault in faults), 0xFFFF)
    message.faults_latched = min(sum(fault.latched for fault in faults), 0xFFFF)
    message.last_command = guard.last_command
    return message


def _string_message(string: StringGuard, now: float) -> StringState:
    reading, state = string.reading, string.state
    return StringState(
        name=string.string.name,
        state=int(state),
        state_name=State(state).name,
        reason=string.reason,
        current=reading.current,
        voltage=reading.string_voltage,
        minus=reading.contacts[0],
        precharge=reading.contacts[1],
        plus=reading.contacts[2],
        lease_held=string.lease_held(now),
    )
