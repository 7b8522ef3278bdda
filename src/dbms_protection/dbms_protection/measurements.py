# SPDX-License-Identifier: Apache-2.0
"""What is known of the pack right now, with its age; what is too old counts as not measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbms_pack import Pack, String

Float32Array = npt.NDArray[np.float32]

# A value that comes every period is taken for missing after this many periods.
PERIODS_UNTIL_STALE = 3.0


class Contact:
    """Reading of an auxiliary contact; numbers of dbms_msgs/StringMeasurement."""

    UNKNOWN, OPEN, CLOSED, FAULT = range(4)


class Interlock:
    """Reading of the interlock loop; numbers of dbms_msgs/StringMeasurement."""

    UNKNOWN, CLOSED, OPEN = range(3)


@dataclass(frozen=True)
class StringSample:
    """One measurement of a string as it arrived. NaN: not measured. Ages in s at arrival."""

    current: float  # A, positive = charging
    current_age: float
    string_voltage: float  # V
    link_voltage: float  # V
    voltage_age: float
    contacts: tuple[int, int, int]  # minus, precharge, plus: see Contact
    contact_age: float
    interlock: int
    lease_expired: bool = False
    coil_fault: bool = False
    supply_low: bool = False
    sensor_fault: bool = False
    over_range: bool = False
    insulation: float = math.nan  # Ohm; inf: more than the monitor can tell
    insulation_age: float = math.nan


@dataclass(frozen=True)
class Reading:
    """A string as it is known at one moment: what has grown too old is NaN or UNKNOWN."""

    current: float = math.nan
    string_voltage: float = math.nan
    link_voltage: float = math.nan
    contacts: tuple[int, int, int] = (Contact.UNKNOWN,) * 3
    interlock: int = Interlock.UNKNOWN
    lease_expired: bool = False


class StringData:
    """The newest measurement of one string, and since when each part of it has been true."""

    def __init__(self, string: String, current_timeout: float, now: float) -> None:
        self._current_stale = current_timeout
        self._voltage_stale = PERIODS_UNTIL_STALE * string.current_sensor.voltage_period
        self._contact_stale = string.contactors.feedback_timeout
        self._sample: StringSample | None = None
        self._arrived = now
        # When a current was measured last; who never measures one is lost after a while too.
        self.current_time = now
        self.heard = -math.inf  # when any unit of the string was

    def put(self, sample: StringSample, now: float) -> None:
        """Take over a measurement."""
        self._sample, self._arrived = sample, now
        ages = sample.current_age, sample.voltage_age, sample.contact_age
        self.heard = max([self.heard, *(now - age for age in ages if age >= 0.0)])
        if _valid(sample.current, sample.current_age) and not sample.sensor_fault:
            self.current_time = max(self.current_time, now - sample.current_age)

    def reading(self, now: float) -> Reading:
        """Return what is known at `now`."""
        sample = self._sample
        if sample is None:
            return Reading()
        elapsed = now - self._arrived
        current = sample.current
        if sample.sensor_fault or not self._fresh(
            sample.current_age, elapsed, self._current_stale
        ):
            current = math.nan
        fresh = self._fresh(sample.voltage_age, elapsed, self._voltage_stale)
        feedback = self._fresh(sample.contact_age, elapsed, self._contact_stale)
        return Reading(
            current=_finite(current),
            string_voltage=_finite(sample.string_voltage) if fresh else math.nan,
            link_voltage=_finite(sample.link_voltage) if fresh else math.nan,
            contacts=sample.contacts if feedback else (Contact.UNKNOWN,) * 3,
            interlock=sample.interlock if feedback else Interlock.UNKNOWN,
            lease_expired=sample.lease_expired,
        )

    @staticmethod
    def _fresh(age: float, elapsed: float, limit: float) -> bool:
        # A NaN or negative age compares false: what has no age is not known.
        return 0.0 <= age and age + elapsed <= limit


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _valid(value: float, age: float) -> bool:
    return math.isfinite(value) and math.isfinite(age) and age >= 0.0


class CellData:
    """The newest scan of every module: values of all cells and sensors, extremes per module.

    Arrays are in pack order: `voltages` (cells,), `temperatures` (sensors,), NaN not measured;
    `*_low`, `*_high` (modules,). An extreme that a missing value could have changed stays at
    least as bad as it was, so that losing a sensor never lets the pack do more.
    """

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self.voltages = np.full(pack.cells, np.nan, dtype=np.float32)
        self.temperatures = np.full(pack.temperatures, np.nan, dtype=np.float32)
        count = len(pack.modules)
        self.voltage_low, self.voltage_high = np.full(count, np.nan), np.full(count, np.nan)
        self.temperature_low = np.full(count, np.nan)
        self.temperature_high = np.full(count, np.nan)
        # Between which voltages the cells of a module are while some of them are bridged.
        self.bridged_low, self.bridged_high = np.full(count, np.nan), np.full(count, np.nan)
        self.sequence: list[int | None] = [None] * count

    def put(
        self, index: int, voltages: Float32Array, temperatures: Float32Array
    ) -> tuple[float, float, float, float]:
        """Take over one scan; return its plain extremes: voltage low, high, temperature low, high.

        An extreme is NaN when one of its values is missing; without sensors the temperatures
        are (+inf, -inf), which no limit minds.
        """
        module = self._pack.modules[index]
        self.voltages[module.cell_slice] = voltages
        self.temperatures[module.temperature_slice] = temperatures
        low, high = _range(voltages)
        self._keep(self.voltage_low, self.voltage_high, index, voltages, low, high)
        if module.temperatures:
            cold, hot = _range(temperatures)
        else:
            cold, hot = math.inf, -math.inf
        self._keep(self.temperature_low, self.temperature_high, index, temperatures, cold, hot)
        return low, high, cold, hot

    @staticmethod
    def _keep(
        lows: npt.NDArray[np.float64],
        highs: npt.NDArray[np.float64],
        index: int,
        values: Float32Array,
        low: float,
        high: float,
    ) -> None:
        if low == low:
            lows[index], highs[index] = low, high
            return
        present = values[~np.isnan(values)]
        if present.size and lows[index] == lows[index]:
            lows[index] = min(lows[index], float(present.min()))
            highs[index] = max(highs[index], float(present.max()))

    def missing(self, index: int) -> str:
        """Say which values of a module are not measured; '' if all are."""
        module = self._pack.modules[index]
        cells = _numbers(self.voltages[module.cell_slice])
        sensors = _numbers(self.temperatures[module.temperature_slice])
        parts = [f'cell {cells}'] if cells else []
        if sensors:
            parts.append(f'temperature sensor {sensors}')
        return ' and '.join(parts) and f'{" and ".join(parts)} of {module.name} not measured'


def _range(values: Float32Array) -> tuple[float, float]:
    # The methods of the array do the same and take twice as long.
    return float(np.minimum.reduce(values)), float(np.maximum.reduce(values))


def _numbers(values: Float32Array) -> str:
    missing: Sequence[int] = (np.flatnonzero(np.isnan(values)) + 1).tolist()
    return ', '.join(map(str, missing))
