# SPDX-License-Identifier: Apache-2.0
"""Serialized messages for the tests."""

from array import array

from dbms_msgs.msg import ModuleCells, StringMeasurement
from rclpy.serialization import serialize_message

CELLS = 'dbms_msgs/msg/ModuleCells'
STRING = 'dbms_msgs/msg/StringMeasurement'


def stamp(header, time, frame):
    header.stamp.sec, header.stamp.nanosec = divmod(round(time * 1e9), 1_000_000_000)
    header.frame_id = frame


def cells_bytes(module, sequence, voltages, temperatures, time=0.0, **fields):
    message = ModuleCells(
        sequence=sequence,
        voltages=array('f', voltages),
        temperatures=array('f', temperatures),
        **fields,
    )
    stamp(message.header, time, module)
    return serialize_message(message)


def string_bytes(string, sequence, time=0.0, **fields):
    message = StringMeasurement(sequence=sequence, **fields)
    stamp(message.header, time, string)
    return serialize_message(message)
