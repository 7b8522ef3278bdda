# SPDX-License-Identifier: Apache-2.0
"""Serialized messages for the tests."""

from array import array

from dbms_msgs.msg import ModuleCells, StringMeasurement
from rclpy.serialization import serialize_message

from dbms_replay.bags import Bag
from dbms_replay.replay import Replay
from dbms_replay.schemas import installed
from dbms_replay.segment import Segment, Topic

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


SECOND = 1_000_000_000
EPOCH = 1_700_000_000  # s, of the recordings made here


class Scene:
    """A recording of robot_13s, made up message by message: at rest, all measured, no faults.

    `change` may replace what a message says: it gets the time, the kind and the fields.
    """

    def __init__(self, path, change=lambda time, kind, fields: fields, custom=None):
        self.segment = Segment(path, custom=custom or {'dbms_pack': 'robot_13s'})
        self.change = change
        self.sequence = 0
        self.numbers = {}
        for number, (name, kind) in enumerate(
            [('modules/m1/cells', CELLS), ('modules/m2/cells', CELLS),
             ('strings/a/measurement', STRING)], 1,
        ):  # fmt: skip
            self.segment.add_topic(number, Topic(f'/battery/{name}', installed(kind)))
            self.numbers[name.split('/')[1]] = number

    def put(self, place, data, time):
        self.segment.write(self.numbers[place], *[round((EPOCH + time) * SECOND)] * 2, data)

    def state(self, data, time=0.0):
        """Write what protection said."""
        kind = 'dbms_msgs/msg/ProtectionState'
        if 'state' not in self.numbers:
            self.numbers['state'] = len(self.numbers) + 1
            topic = Topic('/battery/protection/state', installed(kind))
            self.segment.add_topic(self.numbers['state'], topic)
        self.put('state', data, time)

    def step(self, time, log_time=None):
        """Write what the pack says in 0.1 s."""
        log_time = time if log_time is None else log_time
        self.sequence += 1
        cells = {'m1': 7, 'm2': 6}
        for name, count in cells.items():
            fields = self.change(
                time,
                name,
                {
                    'voltages': [3.7 + 0.0003 * (self.sequence % 3)] * count,
                    'temperatures': [25.0] * 3,
                },
            )
            if fields is not None:
                data = cells_bytes(name, self.sequence, time=EPOCH + time, **fields)
                self.put(name, data, log_time)
        string = {'current': 0.0, 'current_age': 0.0, 'string_voltage': 48.1,
                  'link_voltage': 0.0, 'voltage_age': 0.0, 'insulation_resistance': 1e6,
                  'insulation_age': 0.0, 'contactor_age': 0.0, 'lease_remaining': 0.0}  # fmt: skip
        for part in range(5):
            at = time + 0.02 * part
            fields = self.change(at, 'a', dict(string))
            if fields is not None:
                data = string_bytes('a', self.sequence * 5 + part, EPOCH + at, **fields)
                self.put('a', data, log_time + 0.02 * part)

    def run(self, seconds, start=0.0):
        for index in range(round(seconds * 10)):
            self.step(start + index / 10)
        return self

    def close(self):
        self.segment.close()
        return self.segment.path


def replay(path, **options):
    return Replay(Bag(path), **options).run()


def trips(outcome):
    return [(e.what, e.place) for e in outcome.events if e.kind == 'fault' and e.level == 'MSL']
