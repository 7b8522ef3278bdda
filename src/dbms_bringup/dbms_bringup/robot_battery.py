# SPDX-License-Identifier: Apache-2.0
"""What a robot does by its battery: go on, go and charge, stay at the dock.

Needs the standard sensor_msgs/BatteryState only, of whatever battery. Knows neither ROS nor a
clock: times are steady, in s. What is not known is never fine: NaN, silence and a battery that is
not there are a low battery, and no charging.
"""

import math
from dataclasses import dataclass
from enum import IntEnum


class Status(IntEnum):
    """sensor_msgs/BatteryState POWER_SUPPLY_STATUS_*."""

    UNKNOWN = 0
    CHARGING = 1
    DISCHARGING = 2
    NOT_CHARGING = 3
    FULL = 4


@dataclass(frozen=True)
class Battery:
    """The fields of a BatteryState that decide."""

    percentage: float  # 0..1, NaN: not known
    current: float  # A, positive while charging, NaN: not known
    status: int
    present: bool


@dataclass(frozen=True)
class Rules:
    """What a robot's owner wants."""

    low: float = 0.25  # go and charge
    enough: float = 0.9  # leave the dock
    full: float = 0.99  # what counts as full at rest
    charging_current: float = 0.5  # A
    stale: float = 3.0  # s, without a message

    def __post_init__(self) -> None:
        if not 0.0 <= self.low < self.enough <= 1.0 or not self.enough <= self.full <= 1.0:
            raise ValueError('wanted is 0 <= low < enough <= full <= 1')
        if not (self.charging_current > 0.0 and self.stale > 0.0):
            raise ValueError('charging_current and stale have to be positive')


class RobotBattery:
    """Remembers the last message, and decides. `low` has a hysteresis: up to `enough`."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self._battery: Battery | None = None
        self._at = -math.inf
        self._was_low = False

    def hear(self, battery: Battery, now: float) -> None:
        """Take a message that has just come."""
        self._battery, self._at = battery, now

    def percentage(self, now: float) -> float:
        """Return 0..1; NaN if it is not known now."""
        battery = self._known(now)
        if battery is None or not 0.0 <= battery.percentage <= 1.0:
            return math.nan
        return battery.percentage

    def low(self, now: float) -> bool:
        """Tell whether to go and charge: low, or not known. It stays low until `enough`."""
        charge = self.percentage(now)
        if math.isnan(charge):
            return True  # remembered is what was known only
        limit = self.rules.enough if self._was_low else self.rules.low
        self._was_low = charge < limit if self._was_low else charge <= limit
        return self._was_low

    def charging(self, now: float) -> bool:
        """Tell, at the dock, whether it charges; a full battery that takes nothing does."""
        battery = self._known(now)
        if battery is None or math.isnan(battery.current):
            return False
        if battery.current >= self.rules.charging_current:
            return True
        resting = battery.current > -self.rules.charging_current
        said = battery.status == Status.FULL or self.percentage(now) >= self.rules.full
        return resting and said and battery.status != Status.DISCHARGING

    def may_leave(self, now: float) -> bool:
        """Tell whether there is enough to leave the dock."""
        return self.percentage(now) >= self.rules.enough  # NaN is not

    def why(self, now: float) -> str:
        """Say what is known, in words for a log."""
        if self._known(now) is None:
            return 'nothing is known of the battery'
        charge = self.percentage(now)
        if math.isnan(charge):
            return 'the charge of the battery is not known'
        return f'{charge:.0%}, {"charging" if self.charging(now) else "not charging"}'

    def _known(self, now: float) -> Battery | None:
        battery = self._battery
        if battery is None or not battery.present or now - self._at > self.rules.stale:
            return None
        return battery
