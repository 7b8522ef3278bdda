# SPDX-License-Identifier: Apache-2.0
"""Capacity, resistance and power of simulated cells, of which the truth is known."""

from dataclasses import dataclass, replace

import numpy as np

from dbms_estimation.anchors import Anchors
from dbms_estimation.ecm import CellTables
from dbms_estimation.resistance import ResistanceFilter
from dbms_estimation.soh import CapacityFilter, Pairs
from dbms_estimation.sop import CHARGE, HORIZONS, Bounds, CellsNow, cell_power
from dbms_pack import load_cell
from dbms_pack.model import AgeingModel, CellModel, FloatArray
from dbms_sim.cell_physics import Cells

CELLS = 12
STEP = 120.0  # s of a simulated day
AGEING = AgeingModel(calendar_fade=0.03, cycle_fade=0.0006, calendar_growth=0.05,
                     cycle_growth=0.001)  # fmt: skip


@dataclass(frozen=True)
class Fading:
    """Errors of the capacity of simulated cells, in shares of the rated one, after a month."""

    cell: str
    pairs: float  # used, per cell
    rmse: float
    worst: float
    coverage: float
    faded: float  # how much of the capacity was lost
    last: float  # RMSE of the last window alone
    squares: float  # of ordinary least squares over all windows


class Life:
    """Cells that are used in parts, with sensors and a cell file that are a little wrong."""

    def __init__(self, name: str, seed: int) -> None:
        rng = self._rng = np.random.default_rng(seed)
        told = load_cell(name)
        # The true OCV is a few mV off that of the file, smoothly over the SOC.
        waves = np.sin(2 * np.pi * (told.ocv_soc * rng.uniform(1, 3) + rng.random()))
        true = replace(told, ageing=AGEING, ocv_voltage=rising(told.ocv_voltage + 0.003 * waves))
        self._one_c = told.capacity
        self.cells = Cells(
            true, 0.6 + 0.01 * rng.standard_normal(CELLS), [CELLS],
            capacity=1 + 0.02 * rng.standard_normal(CELLS),
            resistance=1 + 0.1 * rng.standard_normal(CELLS),
        )  # fmt: skip
        self._error = 0.01 * rng.standard_normal(), 1 + 0.003 * rng.standard_normal()
        self.filter = CapacityFilter(CELLS, 0.01)
        self._anchors = Anchors(CellTables(told), CELLS, told.capacity)
        self._sums = np.zeros((2, CELLS))  # x * y, x * x
        self.naive = np.full((2, CELLS), np.nan)  # last window alone, least squares

    @property
    def truth(self) -> FloatArray:
        return self.cells.capacity / self._one_c

    def day(self) -> None:
        """A discharge to somewhere, a rest, a charge to somewhere else, a night."""
        rng, soc = self._rng, self.cells.soc
        low, high = rng.choice([0.04, 0.1, 0.2, 0.35]), rng.choice([0.8, 0.9, 0.99])
        rates = []
        if soc.min() > low:
            rates += [-0.4 + 0.3 * rng.standard_normal()
                      for _ in range(int((soc.min() - low) / 0.4 * 3600 / STEP))]  # fmt: skip
        rates += [0.0] * int(rng.uniform(1, 3) * 3600 / STEP)
        self._flow(rates)
        self._flow([0.3] * int((high - self.cells.soc.max()) / 0.3 * 3600 / STEP))
        self._flow([0.0] * int(rng.uniform(3, 9) * 3600 / STEP))

    def _flow(self, rates: list[float]) -> None:
        offset, gain = self._error
        one, cells = np.ones(CELLS), self.cells
        for rate in rates:
            amps = rate * self._one_c
            cells.carry(cells.prepare(STEP), amps * one)
            current = (gain * amps + offset * self._one_c) * one
            voltage = np.round(cells.voltages + 0.001 * self._rng.standard_normal(CELLS), 4)
            self.filter.age(0.5 * abs(rate) * STEP / 3600 * one, STEP * one)
            pairs = self._anchors.step(
                STEP * one, current * STEP, 0 * one, voltage, current, cells.temperature,
                np.clip(cells.soc + 0.02, 0, 1), one, self.filter.offset, self.filter.offset_sigma,
            )  # fmt: skip
            self._count(pairs)
            self.filter.add(pairs)

    def _count(self, pairs: Pairs) -> None:
        there = np.isfinite(pairs.x)
        self.naive[0][there] = (pairs.y / pairs.x)[there]
        self._sums += np.where(there, [pairs.x * pairs.y, np.square(pairs.x)], 0.0)
        self.naive[1][there] = (self._sums[0] / np.maximum(self._sums[1], 1e-9))[there]


def rising(voltage: FloatArray) -> FloatArray:
    """Return an OCV that was disturbed, rising still."""
    return np.maximum.accumulate(voltage + 1e-6 * np.arange(len(voltage)))


def fading(name: str, days: int = 60, seeds: int = 1) -> Fading:
    """Return how well the capacity of cells of that name is followed."""
    errors, inside, naive, pairs, faded = [], [], [], [], []
    for seed in range(seeds):
        life = Life(name, seed)
        new = life.truth.mean()
        for day in range(days):
            life.day()
            if day >= 30:
                errors.append(life.filter.ratio - life.truth)
                inside.append(np.abs(errors[-1]) <= 2 * life.filter.sigma)
                naive.append(life.naive - life.truth)
        pairs.append(life.filter.windows.mean())
        faded.append(new - life.truth.mean())
    off = np.sqrt(np.nanmean(np.square(naive), axis=(0, 2)))
    return Fading(
        name, float(np.mean(pairs)), float(np.sqrt(np.mean(np.square(errors)))),
        float(np.abs(errors).max()), float(np.mean(inside)), float(np.mean(faded)),
        float(off[0]), float(off[1]),
    )  # fmt: skip


@dataclass(frozen=True)
class Ohms:
    """Relative errors of the resistance after ten minutes of pulses."""

    cell: str
    degrees: float
    late: int  # samples that the current is behind the voltages
    rmse: float
    worst: float
    coverage: float
    naive: float  # RMSE of the mean of dV/dI over all steps


def ohms(name: str, degrees: float, late: int, seed: int = 0) -> Ohms:
    """Return how well the resistance ratio of cells is found, scans at 10 Hz."""
    rng, cell, dt = np.random.default_rng(seed), load_cell(name), 0.1
    truth, one = rng.uniform(0.8, 2.0, CELLS), np.ones(CELLS)
    plant = Cells(cell, 0.6 * one, [CELLS], resistance=truth, ambient=degrees)
    tables = CellTables(cell)
    filter_ = ResistanceFilter(tables, CELLS, cell.capacity)
    amps, before, slopes = [0.0] * (late + 1), None, []
    level = until = 0.0
    for k in range(6000):
        if k * dt >= until:
            level, until = rng.uniform(-1.5, 0.7), k * dt + rng.uniform(0.3, 15)
        amps.append(level * cell.capacity)
        plant.carry(plant.prepare(dt), amps[-1] * one)
        voltage = np.round(plant.voltages + 0.001 * rng.standard_normal(CELLS), 4)
        current = amps[-1 - late] + 0.01 * cell.capacity
        filter_.step(dt * one, current * dt * one, voltage, current * one, plant.temperature,
                     np.clip(plant.soc + 0.03, 0, 1))  # fmt: skip
        if before is not None and abs(current - before[1]) > 0.1 * cell.capacity:
            slopes.append((voltage - before[0]) / (current - before[1]))
        before = voltage, current
    r0 = tables.impedance(plant.soc, plant.temperature).r0
    error = filter_.ratio / truth - 1
    naive = np.mean(slopes, axis=0) / r0 / truth - 1
    inside = np.abs(filter_.ratio - truth) <= 2 * filter_.sigma
    return Ohms(
        name, degrees, late, float(np.sqrt(np.square(error).mean())), float(np.abs(error).max()),
        float(inside.mean()), float(np.sqrt(np.square(naive).mean())),
    )  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """How well foretold currents meet the voltage limit of simulated cells, in V."""

    cell: str
    degrees: float
    horizon: float
    passed: float  # beyond the limit at most, anywhere on the way
    missed: float  # short of it at most, where nothing else limits


def limits(name: str, degrees: float, rate: float = 5.0) -> list[Limit]:
    """Return that for each horizon; currents are limited to `rate` 1/h."""
    cell = load_cell(name)
    return [
        Limit(name, degrees, horizon, *_pulse(cell, degrees, rate, which))
        for which, horizon in enumerate(HORIZONS)
    ]


def _pulse(cell: CellModel, degrees: float, rate: float, which: int) -> tuple[float, float]:
    n, worst, short = 20, -np.inf, 0.0
    ratio = 1 + 0.3 * np.random.default_rng(0).random(n)
    for way, sign, limit in ((CHARGE, 1, cell.voltage_max), (1 - CHARGE, -1, cell.voltage_min)):
        plant = Cells(cell, np.linspace(0.05, 0.97, n), [n], resistance=ratio, ambient=degrees)
        for used in (-0.7, 0.5, -0.3):
            plant.carry(plant.prepare(20.0), np.full(n, used * cell.capacity))
        plant.temperature = np.full(n, degrees)
        tables, zero = CellTables(cell), np.zeros(n)
        v1, v2 = _pairs(tables, ratio, degrees, cell.capacity)
        now = CellsNow(
            plant.soc.copy(), zero, plant.ocv.copy(), zero, v1, v2, plant.hysteresis.copy(),
            np.full(n, degrees), np.full(n, cell.capacity), zero, ratio, zero,
        )  # fmt: skip
        most = rate * cell.capacity
        current = cell_power(tables, now, Bounds(cell.voltage_min, cell.voltage_max, most, most))
        amps, extreme = current.current[way, which], np.full(n, -np.inf)
        for _ in range(100):
            plant.carry(plant.prepare(HORIZONS[which] / 100), sign * amps)
            extreme = np.maximum(extreme, sign * (plant.voltages - limit))
            plant.temperature = np.full(n, degrees)
        worst = max(worst, float(extreme.max()))
        longer = current.current[way, max(which - 1, 0)]
        free = (plant.soc > 0.005) & (plant.soc < 0.995) & (amps < 0.99 * most) & (amps > 0)
        free &= (amps < 0.999 * longer) | (which == 0)
        short = max(short, float(-extreme[free].min()) if free.any() else 0.0)
    return worst, short


def _pairs(
    tables: CellTables, ratio: FloatArray, degrees: float, capacity: float
) -> tuple[FloatArray, FloatArray]:
    """Return the RC pairs in V after what the cells of `_pulse` went through."""
    n = len(ratio)
    soc, v1, v2 = np.linspace(0.05, 0.97, n), np.zeros(n), np.zeros(n)
    for used in (-0.7, 0.5, -0.3):
        z = tables.impedance(soc, np.full(n, degrees))
        for v, r, tau in ((v1, z.r1, z.tau1), (v2, z.r2, z.tau2)):
            v += (r * ratio * used * capacity - v) * (1 - np.exp(-20.0 / tau))
        soc = soc + used * 20.0 / 3600
    return v1, v2
