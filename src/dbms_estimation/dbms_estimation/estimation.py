# SPDX-License-Identifier: Apache-2.0
"""What the node estimation does, without ROS: measurements in, a view of the pack out.

The node and the replay of recordings are both thin shells around this.
"""

from typing import Protocol

from dbms_pack import Pack

from .arrays import Floats
from .battery_state import UNHEARD, BatteryView, StringReading
from .energy import Plan, plan
from .health import SIGMAS, PackEnergy, PackHealth, PackPower
from .memory import Memory
from .pack_estimator import PackEstimator

NOT_A_CURRENT = 8 | 16  # dbms_msgs/StringMeasurement: STATUS_SENSOR_FAULT, STATUS_OVER_RANGE
NAN = float('nan')


class Measured(Protocol):
    """The fields of dbms_msgs/StringMeasurement that are used here."""

    @property
    def current(self) -> float: ...
    @property
    def current_age(self) -> float: ...
    @property
    def string_voltage(self) -> float: ...
    @property
    def voltage_age(self) -> float: ...
    @property
    def minus(self) -> int: ...
    @property
    def plus(self) -> int: ...
    @property
    def status(self) -> int: ...


class Estimation:
    """The estimator of a pack with what else is known of its strings and boards.

    Stamps and arrivals are in s, as for `PackEstimator`.
    """

    def __init__(self, pack: Pack, estimator: PackEstimator) -> None:
        self.pack = pack
        self.estimator = estimator
        self.readings = [UNHEARD] * len(pack.strings)
        self.serials: list[int | None] = [None] * len(pack.modules)
        self.memory = Memory(estimator)
        self._ticked = NAN

    def on_scan(
        self,
        index: int,
        stamp: float,
        arrival: float,
        voltages: Floats,
        temperatures: Floats,
        serial: int,
    ) -> bool:
        """Take a scan of the module of that index; return whether it was used."""
        if not self.estimator.add_scan(index, stamp, arrival, voltages, temperatures):
            return False
        if self.memory.heard(index, self.serials[index], serial):
            self.serials[index] = serial
        return True

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
        self.memory.recall(self.serials)
        self.estimator.tick()
        view = BatteryView(self.estimator, self.readings, self.serials, now)
        elapsed = (now - self._ticked) * self.estimator.time_scale
        self.health.meter.add(elapsed, view.power())
        self.health.fresh = self.estimator.fresh_cells(now)
        self._ticked = now
        return view

    @property
    def health(self) -> PackHealth:
        """Capacity, resistance, power and energy of the cells, as of the last tick."""
        return self.estimator.health

    def power(self) -> PackPower:
        """Return what the pack can give and take."""
        return self.health.power(self.joined())

    def energy(self, expected: float) -> PackEnergy:
        """Return what is left; `expected` W at which energy is told, 0: the usual power."""
        return self.health.energy(self.joined(), expected)

    def plan(self, power: float, energy: float, reserve: float) -> Plan:
        """Return whether `energy` Wh can be had at `power` W, and `reserve` Wh stay."""
        joined = self.joined()
        ways = [self.health.deliver(joined, power, sigmas) for sigmas in (0.0, SIGMAS)]
        return plan(ways[0], ways[1], power, energy, reserve)

    def joined(self) -> list[bool]:
        """Return which strings carry the load: those not known to be open, or else all."""
        closed = [not reading.is_open for reading in self.readings]
        return closed if any(closed) else [True] * len(closed)
