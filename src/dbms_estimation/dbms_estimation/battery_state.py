# SPDX-License-Identifier: Apache-2.0
"""Pack and strings in the words of sensor_msgs/BatteryState.

Conventions of that message: current is positive while charging, percentage is 0..1, NaN means
not measured. A value that cannot be known now is NaN; none is kept from an earlier time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from dbms_pack import Level
from dbms_pack.model import FloatArray, String

from .pack_estimator import PackEstimator

FULL_FROM = 0.99  # percentage at rest that counts as full


class SupplyStatus(IntEnum):
    """sensor_msgs/BatteryState POWER_SUPPLY_STATUS_*."""

    UNKNOWN = 0
    CHARGING = 1
    DISCHARGING = 2
    NOT_CHARGING = 3
    FULL = 4


class Health(IntEnum):
    """sensor_msgs/BatteryState POWER_SUPPLY_HEALTH_*, those that can be told here."""

    UNKNOWN = 0
    GOOD = 1
    OVERHEAT = 2
    OVERVOLTAGE = 4
    COLD = 6


class Technology(IntEnum):
    """sensor_msgs/BatteryState POWER_SUPPLY_TECHNOLOGY_*."""

    UNKNOWN = 0
    NIMH = 1
    LION = 2
    LIPO = 3
    LIFE = 4
    NICD = 5
    LIMN = 6


_TECHNOLOGIES = {
    'LFP': Technology.LIFE,
    'LIFEPO4': Technology.LIFE,
    'LMO': Technology.LIMN,
    'NMC': Technology.LION,
    'NCA': Technology.LION,
    'LCO': Technology.LION,
    'LIPO': Technology.LIPO,
    'NIMH': Technology.NIMH,
    'NICD': Technology.NICD,
}

CONTACTOR_OPEN = 1  # dbms_msgs/StringMeasurement


@dataclass(frozen=True)
class StringReading:
    """The last measurement of a string, NaN where not measured."""

    stamp: float = float('nan')  # s
    arrival: float = -float('inf')  # s, steady
    current: float = float('nan')  # A
    voltage: float = float('nan')  # V, of the string, on the battery side of its contactors
    minus: int = 0
    plus: int = 0

    @property
    def is_open(self) -> bool:
        """Whether a main contactor is known to be open: the string carries no current."""
        return CONTACTOR_OPEN in (self.minus, self.plus)


UNHEARD = StringReading()


@dataclass(frozen=True)
class BatteryValues:
    """The fields of sensor_msgs/BatteryState that have a source here."""

    voltage: float  # V
    temperature: float  # degC
    current: float  # A
    charge: float  # Ah
    capacity: float  # Ah
    design_capacity: float  # Ah
    percentage: float  # 0..1
    status: SupplyStatus
    health: Health
    technology: Technology
    present: bool
    cell_voltage: FloatArray  # V, one per cell
    cell_temperature: FloatArray  # degC, one per cell
    location: str
    serial_number: str


class BatteryView:
    """What is known of pack and strings at one moment.

    `now` is steady time in s. `readings` and `serials` (low 16 bits, None: not heard) are in pack
    order of strings and modules.
    """

    def __init__(
        self,
        estimator: PackEstimator,
        readings: Sequence[StringReading],
        serials: Sequence[int | None],
        now: float,
    ) -> None:
        pack = self._pack = estimator.pack
        fresh = self.fresh_modules = estimator.fresh_modules(now)
        cells = estimator.fresh_cells(now)
        known = cells & estimator.filter.started
        self.soc = np.where(known, np.clip(estimator.filter.soc, 0.0, 1.0), np.nan)
        self.sigma = np.where(known, estimator.filter.sigma, np.nan)
        self.soc_coulomb = np.where(known, estimator.coulomb.soc, np.nan)
        self.innovation = np.where(known, estimator.filter.innovation, np.nan)
        told = estimator.health.told()
        self.soh, self.soh_sigma = told.soh, told.soh_sigma
        self.resistance = np.where(cells, told.resistance_now, np.nan)
        self.voltages = np.where(cells, estimator.voltages, np.nan)
        sensors = np.repeat(fresh, [m.temperatures for m in pack.modules])
        self.temperatures = np.where(sensors, estimator.temperatures, np.nan)
        timeout = pack.limits.string_lost.timeout
        self._readings = [r if now - r.arrival <= timeout else UNHEARD for r in readings]
        self._serials = serials
        self._modules_of_string = estimator.modules_of_string
        self._technology = _TECHNOLOGIES.get(pack.cell.chemistry.upper(), Technology.UNKNOWN)

    def power(self) -> float:
        """Return the power in W into the pack; NaN if that of a string is not known."""
        total = 0.0
        for string, reading in zip(self._pack.strings, self._readings, strict=True):
            if reading.is_open:
                continue
            cells = float(self.voltages[string.cell_slice].sum())
            total += reading.current * (reading.voltage if np.isfinite(reading.voltage) else cells)
        return total

    def strings(self) -> list[BatteryValues]:
        """Return the state of each string."""
        return [self._string(index) for index in range(len(self._pack.strings))]

    def pack(self, strings: Sequence[BatteryValues]) -> BatteryValues:
        """Return the state of the pack made of `strings`, which are in parallel."""
        joined = [
            values
            for values, reading in zip(strings, self._readings, strict=True)
            if values.present and not reading.is_open
        ]
        # A string is left out of the current only if it is known to be open.
        currents = [
            0.0 if reading.is_open else values.current
            for values, reading in zip(strings, self._readings, strict=True)
        ]
        current = float(sum(currents))
        # With every contactor open the pack offers what its strings could deliver.
        offered = joined or [values for values in strings if values.present]
        percentage = _mean_of_known([values.percentage for values in offered])
        return BatteryValues(
            voltage=_mean_of_known([values.voltage for values in offered]),
            temperature=_highest(self.temperatures),
            current=current,
            charge=float(sum(values.charge for values in strings)),
            capacity=float(sum(values.capacity for values in strings)),
            design_capacity=self._pack.capacity,
            percentage=percentage,
            status=self._status(current, percentage),
            health=_worst([values.health for values in strings]),
            technology=self._technology,
            present=any(values.present for values in strings),
            cell_voltage=self.voltages,
            cell_temperature=np.concatenate([values.cell_temperature for values in strings]),
            location=self._pack.name,
            serial_number='',
        )

    def _string(self, index: int) -> BatteryValues:
        string, reading = self._pack.strings[index], self._readings[index]
        voltages = self.voltages[string.cell_slice]
        temperatures = self.temperatures[string.temperature_slice]
        soc, soh = self.soc[string.cell_slice], self.soh[string.cell_slice]
        measured = np.isfinite(reading.voltage)
        percentage = usable_soc(soc)
        return BatteryValues(
            voltage=reading.voltage if measured else float(voltages.sum()),
            temperature=_highest(temperatures),
            current=reading.current,
            charge=float((soc * np.where(np.isnan(soh), 1.0, soh)).min())
            * self._pack.string_capacity,
            capacity=float(soh.min()) * self._pack.string_capacity,
            design_capacity=self._pack.string_capacity,
            percentage=percentage,
            status=self._status(reading.current, percentage),
            health=self._health(voltages, temperatures),
            technology=self._technology,
            present=bool(np.isfinite(voltages).any()) or bool(np.isfinite(reading.stamp)),
            cell_voltage=voltages,
            cell_temperature=self._cell_temperatures(string),
            location=string.name,
            serial_number=self._serial(self._modules_of_string[index]),
        )

    def _cell_temperatures(self, string: String) -> FloatArray:
        """Return measured temperatures of modules with a sensor on every cell, NaN elsewhere."""
        parts = [
            self.temperatures[m.temperature_slice]
            if m.temperatures == m.cells
            else np.full(m.cells, np.nan)
            for m in string.modules
        ]
        return np.concatenate(parts)

    def _status(self, current: float, percentage: float) -> SupplyStatus:
        rest = self._pack.limits.rest_current
        if not np.isfinite(current):
            return SupplyStatus.UNKNOWN
        if current > rest:
            return SupplyStatus.CHARGING
        if current < -rest:
            return SupplyStatus.DISCHARGING
        return SupplyStatus.FULL if percentage >= FULL_FROM else SupplyStatus.NOT_CHARGING

    def _health(self, voltages: FloatArray, temperatures: FloatArray) -> Health:
        """Return what the values of this moment say against the trip limits, not debounced."""
        limits = self._pack.limits
        if (temperatures >= limits.overtemperature_discharge[Level.MSL].at).any():
            return Health.OVERHEAT
        if (voltages >= limits.cell_overvoltage[Level.MSL].at).any():
            return Health.OVERVOLTAGE
        if (temperatures <= limits.undertemperature_discharge[Level.MSL].at).any():
            return Health.COLD
        complete = np.isfinite(voltages).all() and np.isfinite(temperatures).all()
        return Health.GOOD if complete else Health.UNKNOWN

    def _serial(self, modules: slice) -> str:
        """Return the serial numbers of the boards of a string; empty if one is not known."""
        known = [serial for serial in self._serials[modules] if serial is not None]
        if len(known) < modules.stop - modules.start or not self.fresh_modules[modules].all():
            return ''
        return '-'.join(f'{serial:04x}' for serial in known)


def usable_soc(soc: FloatArray) -> float:
    """Return the SOC, 0..1, of cells in series; NaN if that of any cell is not known.

    The string is empty when its weakest cell is, and full when its strongest is: what it can
    deliver, over what it could deliver from there to there.
    """
    low, high = float(soc.min()), float(soc.max())
    return min(low / max(1.0 - (high - low), 1e-6), 1.0) if high >= low else float('nan')


def _mean_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return sum(known) / len(known) if known else float('nan')


def _highest(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else float('nan')


def _worst(healths: Sequence[Health]) -> Health:
    """Return the first defect, else UNKNOWN if one string is unknown, else GOOD."""
    for health in (Health.OVERHEAT, Health.OVERVOLTAGE, Health.COLD, Health.UNKNOWN):
        if health in healths:
            return health
    return Health.GOOD
