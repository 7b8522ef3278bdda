# SPDX-License-Identifier: Apache-2.0
"""A virtual sensor of a string's current, voltages and insulation."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from cantools.database.can import Database

from dbms_pack.model import CurrentSensor
from dbms_sim import wire
from dbms_sim.schedule import Schedule
from dbms_sim.wire import Frame

INSULATION_PERIOD = 1.0  # s
_TOP_VOLTAGE = 16_777.214  # V, end of the format
_TOP_INSULATION = 65_534e3  # Ohm, the format's "at least"


@dataclass(frozen=True)
class SensorQuality:
    """How well the current sensors of a pack measure, for as long as they live.

    Measured is gain times true current, plus offset and noise, up to the range.
    """

    offset: float = 0.0  # A
    gain: float = 1.0
    noise: float = 0.0  # A, standard deviation of each value
    range: float | None = None  # A; None: as the pack file says

    def __post_init__(self) -> None:
        """Raise ValueError for what no sensor can be."""
        for name, least in (('offset', -math.inf), ('gain', -math.inf), ('noise', 0.0)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < least:
                raise ValueError(f'current sensor: {name} {value} is not a number that it can be')
        if self.range is not None and not 0.0 < self.range < math.inf:
            raise ValueError(f'current sensor: range {self.range} is not a current above 0 A')


PERFECT = SensorQuality()


class VirtualCurrentSensor:
    """One sensor. Times in s on a steady clock."""

    def __init__(
        self,
        sensor: CurrentSensor,
        db: Database,
        quality: SensorQuality = PERFECT,
        seed: int | tuple[int, ...] = 0,
    ) -> None:
        self._quality = quality
        self._range = sensor.range if quality.range is None else quality.range
        self._random = np.random.default_rng(seed)
        self.lost = ''  # or: silent, not_measured, fault
        # What is wrong with the current it measures, in A, one after the other.
        self.errors: dict[str, Callable[[float], float]] = {}
        self._current = _Sender(db, sensor, wire.CURRENT, sensor.period)
        self._voltages = _Sender(db, sensor, wire.VOLTAGES, sensor.voltage_period)
        self._insulation = _Sender(db, sensor, wire.INSULATION, INSULATION_PERIOD)

    def step(
        self,
        now: float,
        current: float,
        string_voltage: float,
        link_voltage: float,
        insulation: float,
    ) -> list[Frame]:
        """Return the frames that are due; A (positive = charging), V, Ohm; NaN: not measured."""
        frames: list[Frame] = []
        if self.lost == 'silent':
            return frames
        if self._current.due(now):
            current = math.nan if self.lost else self._wrong(current)
            over_range = abs(current) > self._range
            frames.append(
                self._current.frame(
                    {
                        'Current': self._measured(current),
                        'OverRange': int(over_range),
                        'SensorFault': int(self.lost == 'fault'),
                    }
                )
            )
        if self._voltages.due(now):
            frames.append(
                self._voltages.frame(
                    {
                        'StringVoltage': _voltage(string_voltage),
                        'LinkVoltage': _voltage(link_voltage),
                    }
                )
            )
        if self._insulation.due(now):
            told = round(min(insulation, _TOP_INSULATION) / 1e3)
            frames.append(self._insulation.frame({'Resistance': told}))
        return frames

    def _wrong(self, current: float) -> float:
        quality = self._quality
        current = quality.gain * current + quality.offset
        if quality.noise > 0.0:
            current += self._random.normal(0.0, quality.noise)
        for error in self.errors.values():
            current = error(current)
        return current

    def _measured(self, current: float) -> float | str:
        if math.isnan(current):
            return wire.NOT_MEASURED
        return round(min(max(current, -self._range), self._range), 3)


def _voltage(voltage: float) -> float | str:
    if math.isnan(voltage):
        return wire.NOT_MEASURED
    return round(min(max(voltage, 0.0), _TOP_VOLTAGE), 3)


class _Sender:
    """One periodic frame of the sensor, with its own counter."""

    def __init__(self, db: Database, sensor: CurrentSensor, base: int, period: float) -> None:
        self._message = db.get_message_by_frame_id(base)
        self._bus = sensor.bus
        self._can_id = base + sensor.address
        self._schedule = Schedule(period)
        self._sent = 0

    def due(self, now: float) -> bool:
        return self._schedule.due(now)

    def frame(self, values: dict[str, float | str]) -> Frame:
        data = wire.encode(self._message, self._can_id, self._sent, values)
        self._sent += 1
        return Frame(self._bus, self._can_id, data)
