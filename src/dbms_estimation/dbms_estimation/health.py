# SPDX-License-Identifier: Apache-2.0
"""Health, power and energy of a pack: joins what is known of its cells, and asks the estimators.

Resistance is looked at with every scan, capacity every ten seconds, power and energy when asked.
The SOC of the filter only says where in the tables a cell is, and, with its sigma, what is left;
no capacity is learnt from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dbms_pack.limits import Level
from dbms_pack.model import FloatArray, Pack

from .anchors import Anchors
from .arrays import named, part
from .ecm import CellTables
from .energy import PowerMeter, Way, to_full, together, ways_to_empty
from .resistance import ResistanceFilter
from .soh import CapacityFilter
from .sop import (
    CHARGE,
    DISCHARGE,
    HORIZONS,
    Bounds,
    CellPower,
    CellsNow,
    GroupPower,
    cell_power,
    parallel_power,
    string_power,
)

SLOW = 10.0  # s, between looks at the capacity
LEVEL_TIME = 30.0  # s, over which the OCV of this moment is a mean
LEVEL_SIGMA = 0.003  # V, of that mean
DROP_ERROR = 0.05  # of what the current adds to the voltage, in that mean
LONGEST = 30.0  # s without a scan, after which the voltage of before says nothing
SIGMAS = 2.0  # by which what is not known counts against a plan
USUAL_RATE = 0.2  # share of the capacity per h, the usual load until one was seen


@dataclass(frozen=True)
class CellsTold:
    """What was learnt of the cells, (n,); NaN until it was."""

    soh: FloatArray  # capacity over the rated one
    soh_sigma: FloatArray
    ratio: FloatArray  # resistance over that of the cell file
    ratio_sigma: FloatArray
    resistance_now: FloatArray  # Ohm, R0 where the cell is
    resistance_25: FloatArray  # Ohm, R0 at 25 degC and half full
    windows: FloatArray
    edges: FloatArray


@dataclass(frozen=True)
class PackPower:
    """What strings and pack can do."""

    cells: CellPower
    strings: list[GroupPower]
    pack: GroupPower


@dataclass(frozen=True)
class PackEnergy:
    """What is left in the pack; low: two sigmas against it. NaN where not known."""

    expected_power: float  # W, at which `energy` is
    power: float  # W, smoothed, positive while charging
    empty: Way
    empty_low: Way
    full: Way
    full_high: Way
    time_to_empty: float  # s, at the smoothed power; NaN unless discharging
    time_to_empty_low: float
    time_to_full: float  # s, NaN unless charging
    time_to_full_high: float


class PackHealth:
    """Capacity, resistance, power and energy of all cells of a pack, in pack order."""

    def __init__(self, pack: Pack, tables: CellTables, offset: FloatArray) -> None:
        """Take the error of each cell's current sensor in A."""
        self._pack, self._tables = pack, tables
        one_c = self._one_c = pack.string_capacity
        relative = np.maximum(offset / one_c, 0.003)
        self.capacity = CapacityFilter(pack.cells, relative)
        self.anchors = Anchors(tables, pack.cells, one_c)
        self.resistance = ResistanceFilter(tables, pack.cells, one_c)
        usual = pack.capacity * USUAL_RATE * pack.cell.voltage_nominal
        self.meter = PowerMeter(usual * min(s.cells for s in pack.strings))
        self._since = np.zeros((3, pack.cells))  # s, As, s blind since the last slow look
        self._level: FloatArray = np.full(
            pack.cells, np.nan
        )  # V, by which the OCV is off the table's
        self._age: FloatArray = np.full(pack.cells, np.inf)  # s, of the level
        self.fresh = np.ones(pack.cells, dtype=bool)  # cells that are heard of; may be set
        self._place: FloatArray = np.full((3, pack.cells), np.nan)  # SOC, its sigma, temperature
        limits = pack.limits
        self.bounds = Bounds(
            limits.cell_undervoltage[Level.MOL].at,
            limits.cell_overvoltage[Level.MOL].at,
            limits.overcurrent_charge[Level.MOL].at,
            limits.overcurrent_discharge[Level.MOL].at,
        )

    def tick(
        self,
        dt: FloatArray,
        charge: FloatArray,
        blind: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        temperature: FloatArray,
        soc: FloatArray,
        sigma: FloatArray,
    ) -> None:
        """Take what went into the SOC filter, and what came out of it; NaN: not known.

        dt s (<= 0: no news of the cell), charge As and blind s since the last scan of the cell,
        voltage V, current A, temperature degC.
        """
        self.resistance.step(dt, charge, voltage, current, temperature, soc)
        self._place = np.stack([soc, sigma, temperature])
        self._follow(dt, voltage, current)
        self._since += np.stack([dt, charge, blind])
        due = self._since[0] >= SLOW
        if due.any():
            self._look(np.where(due, self._since, 0.0), voltage, current)
            self._since[:, due] = 0.0

    def _follow(self, dt: FloatArray, voltage: FloatArray, current: FloatArray) -> None:
        """Follow the OCV of this moment as its distance from the table."""
        soc, _, temperature = self._place
        known = np.isfinite(self._place).all(axis=0) & np.isfinite(voltage + current) & (dt > 0)
        place, warm = np.where(known, soc, 0.5), np.where(known, temperature, 25.0)
        drop = self.resistance.drop(np.where(known, current, 0.0))
        off = voltage - drop - self._tables.ocv(place, warm)[0]
        fresh = known & ~(self._age <= LONGEST)
        kept = np.exp(-np.where(known, dt, 0.0) / LEVEL_TIME)
        moved = np.where(known, (1 - kept) * (off - self._level), 0.0)
        self._level = np.where(fresh, off, self._level + moved)
        self._age = np.where(known, 0.0, self._age + np.maximum(dt, 0.0))

    def _look(self, since: FloatArray, voltage: FloatArray, current: FloatArray) -> None:
        dt, charge, blind = since
        moved = np.abs(charge) / (3600.0 * self._one_c)
        self.capacity.age(0.5 * moved, dt)
        soc, _, temperature = self._place
        pairs = self.anchors.step(
            dt, charge, blind, voltage, current, temperature, soc, self.resistance.ratio,
            self.capacity.offset, self.capacity.offset_sigma,
        )  # fmt: skip
        if np.isfinite(pairs.x).any():
            self.capacity.add(pairs)

    @property
    def learnt(self) -> FloatArray:
        """Capacity over the rated one; 1 where nothing was learnt yet."""
        return np.where(self.capacity.windows > 0, self.capacity.ratio, 1.0)

    def told(self) -> CellsTold:
        """Return what was learnt of the cells."""
        capacity, resistance = self.capacity, self.resistance
        aged = np.where(capacity.windows > 0, 0.0, np.nan)
        stepped = np.where(resistance.edges > 0, 0.0, np.nan)
        soc, _, temperature = self._place
        return CellsTold(
            capacity.ratio + aged, capacity.sigma + aged, resistance.health + stepped,
            resistance.health_sigma + stepped, resistance.now(soc, temperature) + stepped,
            resistance.at() + stepped, capacity.windows, resistance.edges,
        )  # fmt: skip

    def cells(self) -> CellsNow:
        """Return what is known of the cells now."""
        soc, sigma, temperature = self._place
        level = np.where(self.fresh & (self._age <= LONGEST), self._level, np.nan)
        safe, warm = np.nan_to_num(soc, nan=0.5), np.nan_to_num(temperature, nan=25.0)
        v1, v2 = self.resistance.pairs
        share = self._tables.capacity(warm)
        return CellsNow(
            soc, sigma, self._tables.ocv(safe, warm)[0] + level,
            LEVEL_SIGMA + DROP_ERROR * np.abs(v1 + v2), v1, v2,
            self.anchors.polarisation[2], temperature,
            self.capacity.ratio * self._one_c * share,
            self.capacity.sigma / self.capacity.ratio,
            self.resistance.ratio, self.resistance.sigma,
        )  # fmt: skip

    def power(self, joined: Sequence[bool], cells: CellsNow | None = None) -> PackPower:
        """Return what the cells can do, and the strings that are `joined`."""
        now = self.cells() if cells is None else cells
        power = cell_power(self._tables, now, self.bounds, HORIZONS, SIGMAS)
        most = np.array([self.bounds.charge_current, self.bounds.discharge_current])
        strings = [
            string_power(power, s.cell_slice, self._factor(now.temperature[s.cell_slice]), most)
            for s in self._pack.strings
        ]
        together = [s for s, there in zip(strings, joined, strict=True) if there]
        return PackPower(power, strings, parallel_power(together))

    def _factor(self, temperature: FloatArray) -> FloatArray:
        """Return what the temperatures of a string leave of charge and discharge, 0..1."""
        limits, factor = self._pack.limits, np.ones(2)
        for way, hot, cold in (
            (CHARGE, limits.overtemperature_charge, limits.undertemperature_charge),
            (DISCHARGE, limits.overtemperature_discharge, limits.undertemperature_discharge),
        ):
            for levels, value in ((hot, temperature.max()), (cold, temperature.min())):
                mol, rsl = levels[Level.MOL].at, levels[Level.RSL].at
                factor[way] = min(factor[way], float(np.clip((rsl - value) / (rsl - mol), 0, 1)))
        return factor

    def energy(self, joined: Sequence[bool], expected: float = 0.0) -> PackEnergy:
        """Return what is left; `expected` W, magnitude, at which energy is told; 0: the usual."""
        now = self.cells()
        expected = expected if expected > 0 else self.meter.usual
        present = self.meter.now
        load, source = max(-present, 0.0), max(present, 0.0)
        least = 0.01 * self._pack.capacity * self._pack.cell.voltage_nominal
        taken = source if source > least else expected
        powers = (expected, load if load > least else 0.0)
        (empty, until), (empty_low, until_low) = (
            self._deliver(joined, powers, k, now) for k in (0.0, SIGMAS)
        )
        full, full_high = (self._take(joined, taken, k, now) for k in (0.0, SIGMAS))
        charging = source > least
        return PackEnergy(
            expected, present, empty, empty_low, full, full_high, until.time, until_low.time,
            full.time if charging else np.nan, full_high.time if charging else np.nan,
        )  # fmt: skip

    def deliver(self, joined: Sequence[bool], power: float, sigmas: float) -> Way:
        """Return what the `joined` strings deliver at `power` W until they are empty."""
        return self._deliver(joined, (power,), sigmas, self.cells())[0]

    def _deliver(
        self, joined: Sequence[bool], powers: Sequence[float], sigmas: float, now: CellsNow
    ) -> list[Way]:
        ways = [
            ways_to_empty(self._tables, group, [p * share for p in powers], self.bounds, sigmas)
            for group, share in self._shares(joined, now)
        ]
        return [together([way[k] for way in ways]) for k in range(len(powers))]

    def _take(self, joined: Sequence[bool], power: float, sigmas: float, now: CellsNow) -> Way:
        return together(
            [to_full(self._tables, group, power * share, self.bounds, sigmas)
             for group, share in self._shares(joined, now)]
        )  # fmt: skip

    def _shares(self, joined: Sequence[bool], now: CellsNow) -> list[tuple[CellsNow, float]]:
        """Return the cells of each joined string and its share of the power, as the capacity."""
        groups = [
            CellsNow(**{k: v[s.cell_slice] for k, v in vars(now).items()})
            for s, there in zip(self._pack.strings, joined, strict=True)
            if there
        ]
        weakest = [float(group.capacity.min()) for group in groups]
        return [(group, own / sum(weakest)) for group, own in zip(groups, weakest, strict=True)]

    def state(self) -> dict[str, FloatArray]:
        """Return what is to be kept over a restart, as arrays."""
        return {
            **named(self.capacity.state(), 'capacity_'),
            **named(self.anchors.state(), 'anchors_'),
            **named(self.resistance.state(), 'resistance_'),
            'usual_power': np.array([self.meter.usual]),
        }

    def restore(self, state: dict[str, FloatArray], away: float = float('nan')) -> None:
        """Take what `state` returned, `away` s ago; ValueError for what it cannot have.

        NaN: it is not known how long ago, or a load may have been connected since.
        """
        usual = float(np.asarray(state['usual_power']).reshape(-1)[0])
        if not 0 < usual < np.inf:
            raise ValueError(f'usual_power: {usual}')
        before = self.state()
        try:
            self.capacity.restore(part(state, 'capacity_'))
            self.anchors.restore(part(state, 'anchors_'))
            self.resistance.restore(part(state, 'resistance_'))
        except ValueError:
            self.restore(before)
            raise
        self.meter.usual = usual
        self.anchors.away(away)

    def forget(self, cells: np.ndarray) -> None:
        """Forget the cells of a mask: they are others now."""
        fresh = PackHealth(self._pack, self._tables, np.zeros(self._pack.cells)).state()
        state = self.state()
        for name, value in state.items():
            if value.shape[-1] == len(cells):
                value[..., cells] = fresh[name][..., cells]
        for owner, prefix in (
            (self.capacity, 'capacity_'), (self.anchors, 'anchors_'),
            (self.resistance, 'resistance_'),
        ):  # fmt: skip
            owner.restore(part(state, prefix))
