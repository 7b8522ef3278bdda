# SPDX-License-Identifier: Apache-2.0
"""What the node estimation does, without ROS: measurements in, a view of the pack out.

The node and the replay of recordings are both thin shells around this.
"""

from typing import Protocol

from dbms_pack import Pack

from .battery_state import UNHEARD, BatteryView, StringReading
from .pack_estimator import PackEstimator

NOT_A_CURRENT = 8 | 16  # dbms_msgs/StringMeasurement: STATUS_SENSOR_FAULT, STATUS_OVER_RANGE
NAN = float('nan')


class Measured(Protocol):
    """The fields of dbms_msgs/StringMeasurement that are used here."""

    current: float
    current_age: float
    string_voltage: float
    voltage_age: float
    minus: int
    plus: int
    status: int


class Estimation:
    """The estimator of a pack with what else is known of its strings and boards.

    Stamps and arrivals are in s, as for `PackEstimator`.
    """

    def __init__(self, pack: Pack, estimator: PackEstimator) -> None:
        self.pack = pack
        self.estimator = estimator
        self.readings = [UNHEARD] * len(pack.strings)
        self.serials: list[int | None] = [None] * len(pack.modules)

    def on_measurement(self, index: int, message: Measured, stamp: float, arrival: float) -> None:
        """Take the measurement of the string of that index."""
        string = self.pack.strings[index]
        timeout = self.pack.limits.string_lost.timeout
        current, voltage = message.current, message.string_voltage
        # Written so that an age of NaN refuses the value too.
        if message.status & NOT_A_CURRENT or not message.current_age <= timeout:
            current = NAN
        if not message.voltage_age <= timeout + 2 * string.current_sensor.voltage_period:
            voltage = NAN
        self.estimator.add_current(index, stamp - message.current_age, current)
        self.readings[index] = StringReading(
            stamp, arrival, current, voltage, message.minus, message.plus
        )

    def tick(self, now: float) -> BatteryView:
        """Advance all cells and return what is known at `now`, on the clock of the arrivals."""
        self.estimator.tick()
        return BatteryView(self.estimator, self.readings, self.serials, now)
