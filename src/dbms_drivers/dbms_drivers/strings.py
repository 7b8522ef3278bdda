# SPDX-License-Identifier: Apache-2.0
"""The measurement of one string, composed from the frames of its sensor and contactor unit.

Each value keeps the time of its arrival; one that is too old is NaN, or "unknown", and never
repeated as if it were new. The frames may come from two buses and so from two threads: every group
of values is one tuple, replaced as a whole.
"""

import math
from dataclasses import dataclass

from dbms_drivers import codec
from dbms_drivers.e2e import CounterCheck
from dbms_drivers.statistics import Statistics
from dbms_pack.model import String

FEEDBACK_PERIOD = 0.05  # s, of the protocol
INSULATION_PERIOD = 1.0  # s, of the protocol
AGE_PERIODS = 3  # a value may be this many periods old
MIN_AGE = 0.1  # s, allowed at least: a busy computer reads a bus late
CURRENT_FACTOR = 4.0  # a current beyond so many times the range is no current
CELL_VOLTAGE = 6.5535  # V, more than any cell: bounds the voltages of a string
LINK_FACTOR = 2.0  # the link may be energised by others, up to so many times that
STATUS_SENSOR_FAULT = 8  # as in dbms_msgs/StringMeasurement
STATUS_OVER_RANGE = 16
STATUS_FRAMES_REJECTED = 1 << 17

_NEVER = float('-inf')
_UNKNOWN = (0, 0, 0, 0, 0, math.nan, 0)


@dataclass(frozen=True, slots=True)
class StringValues:
    """What is known of one string at one time. NaN: not measured, or too old. Ages in s."""

    string: str
    current: float  # A
    current_age: float
    string_voltage: float  # V
    link_voltage: float  # V
    voltage_age: float
    insulation: float  # Ohm
    insulation_age: float
    minus: int
    precharge: int
    plus: int
    interlock: int
    contactor_age: float
    lease_remaining: float  # s
    status: int


class StringTracker:
    """Follows one string. The `feed_...` methods return whether a measurement is to be published.

    They take 8 bytes whose CRC was checked and the time of arrival in s, steady.
    """

    def __init__(self, string: String) -> None:
        self.string = string
        sensor, unit = string.current_sensor, string.contactors
        self.sensor_statistics = Statistics()
        self.unit_statistics = Statistics()
        self._current: tuple[float, int, float] = (math.nan, 0, _NEVER)
        self._voltages: tuple[float, float, float] = (math.nan, math.nan, _NEVER)
        self._insulation: tuple[float, float] = (math.nan, _NEVER)
        self._feedback: tuple[tuple[int, int, int, int, int, float, int], float] = (
            _UNKNOWN,
            _NEVER,
        )
        self._counters = {
            'current': CounterCheck(sensor.period),
            'voltages': CounterCheck(sensor.voltage_period),
            'insulation': CounterCheck(INSULATION_PERIOD),
            'feedback': CounterCheck(FEEDBACK_PERIOD),
        }
        self._max_current = CURRENT_FACTOR * sensor.range
        self._max_voltage = CELL_VOLTAGE * string.cells
        self._max_lease = unit.lease + 0.001  # the protocol counts ms
        self._age_current = _allowed_age(sensor.period)
        self._age_voltage = _allowed_age(sensor.voltage_period)
        self._age_insulation = _allowed_age(INSULATION_PERIOD)
        self._age_feedback = 0.25
        self._rejected = 0

    @property
    def current_heard(self) -> float:
        """When the last current frame was used; -inf: never."""
        return self._current[2]

    @property
    def feedback_heard(self) -> float:
        """When the last feedback of the contactor unit was used; -inf: never."""
        return self._feedback[1]

    @property
    def unit_sequence(self) -> int:
        """Sequence of the last command that the contactor unit accepted, 16 bits."""
        return self._feedback[0][6]

    def feed_current(self, data: bytes, now: float) -> bool:
        """Take a current frame: every one that is good is to be published."""
        values = codec.decode_current(data)
        if values is None or abs(values[0]) > self._max_current:
            self.sensor_statistics.implausible += 1
            return False
        if not self._counted('current', self.sensor_statistics, data, now):
            return False
        current, flags = values
        self._current = (math.nan if flags & 1 else current, flags, now)
        return True

    def feed_voltages(self, data: bytes, now: float) -> bool:
        """Take a frame of voltages; they go out with the next current."""
        values = codec.decode_voltages(data)
        if (
            values is None
            or values[0] > self._max_voltage
            or values[1] > LINK_FACTOR * self._max_voltage
        ):
            self.sensor_statistics.implausible += 1
            return False
        if not self._counted('voltages', self.sensor_statistics, data, now):
            return False
        self._voltages = (*values, now)
        return self._current_lost(now)

    def feed_insulation(self, data: bytes, now: float) -> bool:
        """Take a frame of the insulation monitor; it goes out with the next current."""
        value = codec.decode_insulation(data)
        if value is None:
            self.sensor_statistics.implausible += 1
            return False
        if self._counted('insulation', self.sensor_statistics, data, now):
            self._insulation = (value, now)
        return False

    def feed_feedback(self, data: bytes, now: float) -> bool:
        """Take feedback of the contactor unit: published at once if anything changed."""
        values = codec.decode_feedback(data)
        if values is None or values[5] > self._max_lease:
            self.unit_statistics.implausible += 1
            return False
        if not self._counted('feedback', self.unit_statistics, data, now):
            return False
        changed = values[:5] != self._feedback[0][:5]
        self._feedback = (values, now)
        return changed or self._current_lost(now)

    def compose(self, now: float) -> StringValues:
        """Return what is known at `now`."""
        current, sensor_flags, current_time = self._current
        string_voltage, link_voltage, voltage_time = self._voltages
        insulation, insulation_time = self._insulation
        feedback, feedback_time = self._feedback
        if now - current_time > self._age_current:
            current, sensor_flags = math.nan, 0
        if now - voltage_time > self._age_voltage:
            string_voltage = link_voltage = math.nan
        if now - insulation_time > self._age_insulation:
            insulation = math.nan
        if now - feedback_time > self._age_feedback:
            feedback = _UNKNOWN
        minus, precharge, plus, interlock, unit_flags, lease, _ = feedback
        status = unit_flags | sensor_flags << 3
        rejected = self.sensor_statistics.rejected + self.unit_statistics.rejected
        if rejected != self._rejected:
            status |= STATUS_FRAMES_REJECTED
            self._rejected = rejected
        return StringValues(
            self.string.name,
            current,
            now - current_time,
            string_voltage,
            link_voltage,
            now - voltage_time,
            insulation,
            now - insulation_time,
            minus,
            precharge,
            plus,
            interlock,
            now - feedback_time,
            lease,
            status,
        )

    def _current_lost(self, now: float) -> bool:
        """Whether no current frame is there to carry the other values."""
        return now - self._current[2] > self._age_current

    def _counted(self, kind: str, statistics: Statistics, data: bytes, now: float) -> bool:
        lost = self._counters[kind].update(data[1] & 0xF, now)
        if lost < 0:
            statistics.refuse(lost)
            return False
        statistics.lost += lost
        statistics.accepted += 1
        return True


def _allowed_age(period: float) -> float:
    return max(AGE_PERIODS * period, MIN_AGE)
