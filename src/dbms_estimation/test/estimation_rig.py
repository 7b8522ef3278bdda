# SPDX-License-Identifier: Apache-2.0
"""A pack made of values, and the truth about its cells, for the tests of this package."""

from pathlib import Path

import numpy as np

from dbms_estimation.pack_estimator import PackEstimator
from dbms_pack import Level, Limit, Limits, LossRule
from dbms_pack.model import (
    CellModel,
    ContactorUnit,
    CurrentSensor,
    Module,
    Pack,
    Precharge,
    String,
)

TEMPERATURES = np.array([0.0, 25.0, 40.0])
SOCS = np.array([0.0, 0.1, 0.5, 1.0])
_SHAPE = np.outer([3.0, 1.0, 0.8], [2.0, 1.2, 1.0, 1.1])

CELL = CellModel(
    name='test_nmc',
    chemistry='NMC',
    source='made up',
    capacity=3.0,
    voltage_min=2.5,
    voltage_max=4.2,
    voltage_nominal=3.6,
    ocv_soc=np.array([0.0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ocv_voltage=np.array([2.8, 3.3, 3.45, 3.55, 3.65, 3.8, 3.98, 4.18]),
    temperatures=TEMPERATURES,
    socs=SOCS,
    r0=0.020 * _SHAPE,
    r1=0.010 * _SHAPE,
    tau1=20.0 * np.ones_like(_SHAPE),
    r2=0.008 * _SHAPE,
    tau2=400.0 * np.ones_like(_SHAPE),
    heat_capacity=45.0,
    thermal_resistance=10.0,
)


def _levels(*at: float) -> dict[Level, Limit]:
    return {level: Limit(x, 0.5, 0.01, False) for level, x in zip(Level, at, strict=True)}


LIMITS = Limits(
    cell_overvoltage=_levels(4.2, 4.22, 4.25),
    cell_undervoltage=_levels(3.0, 2.8, 2.5),
    overtemperature_charge=_levels(40, 45, 50),
    undertemperature_charge=_levels(5, 2, 0),
    overtemperature_discharge=_levels(50, 55, 60),
    undertemperature_discharge=_levels(-10, -15, -20),
    overcurrent_charge=_levels(10, 12, 15),
    overcurrent_discharge=_levels(20, 25, 30),
    short_circuit={Level.MSL: Limit(100, 0, 1, True)},
    module_lost=LossRule(0.5, 0.5, 30),
    string_lost=LossRule(0.25, 0, 0),
    rest_current=0.2,
)


def make_pack(
    strings: int = 1,
    modules: int = 1,
    cells: int = 4,
    temperatures: int = 2,
    parallel: int = 1,
    cell: CellModel = CELL,
    current_period: float = 0.2,
) -> Pack:
    """Return a pack of equal strings of equal modules, named s1.., s1m1.. and so on."""
    parts = []
    count = 0
    for s in range(strings):
        name = f's{s + 1}'
        places = []
        for m in range(modules):
            first = (count * cells, count * temperatures)
            places.append(
                Module(
                    f'{name}m{m + 1}', name, 'main', count % 64, cells, temperatures, *first, 0.1
                )
            )
            count += 1
        sensor = CurrentSensor('main', s % 16, current_period, 0.1, 20.0)
        precharge = Precharge(2.0, 1.0, 0.1, 2.0, 3, 3.0)
        unit = ContactorUnit('main', s % 16, 0.25, 0.2, 20.0, 1.0, 2.0, precharge)
        parts.append(String(name, tuple(places), sensor, unit))
    return Pack('test', '', cell, parallel, {}, tuple(parts), LIMITS, Path('test.yaml'), '0')


def ocv(soc):
    """Open-circuit voltage straight from the table."""
    return np.interp(soc, CELL.ocv_soc, CELL.ocv_voltage)


class Truth:
    """Cells at 25 degC that follow the model exactly, stepped by the plain textbook equations.

    `row` of the tables is that of their temperature.
    """

    row = 1

    def __init__(self, soc, parallel: int = 1) -> None:
        self.soc = np.array(soc, dtype=float)
        self.parallel = parallel
        self.v1 = np.zeros_like(self.soc)
        self.v2 = np.zeros_like(self.soc)
        self.voltage = ocv(self.soc)

    def step(self, dt: float, current: float) -> None:
        """Advance by dt s with a constant current in A of the whole cell position."""
        current /= self.parallel
        r0, r1, r2 = (np.interp(self.soc, SOCS, x[self.row]) for x in (CELL.r0, CELL.r1, CELL.r2))
        self.soc = self.soc + current * dt / 3600 / CELL.capacity
        for v, r, tau in ((self.v1, r1, 20.0), (self.v2, r2, 400.0)):
            v += (r * current - v) * (1 - np.exp(-dt / tau))
        self.voltage = ocv(self.soc) + r0 * current + self.v1 + self.v2


class Drive:
    """Feeds an estimator of a one-string pack with currents at 5 Hz and scans at 1 Hz."""

    def __init__(self, estimator: PackEstimator, truth: Truth, start: float = 1000.0) -> None:
        self.estimator = estimator
        self.truth = truth
        self.time = start

    def run(self, seconds: float, current, voltage=None, temperature=25.0, sensor=None) -> None:
        """Run with `current(t)` in A; `voltage(v)` and `sensor(i)` spoil what is measured."""
        pack = self.estimator.pack
        for _ in range(round(seconds)):
            for _ in range(5):
                self.time += 0.2
                amps = current(self.time)
                self.truth.step(0.2, amps)
                self.estimator.add_current(0, self.time, sensor(amps) if sensor else amps)
            measured = np.round(self.truth.voltage, 4)
            measured = voltage(measured) if voltage else measured
            for index, module in enumerate(pack.modules):
                self.estimator.add_scan(
                    index,
                    self.time,
                    self.time,
                    measured[module.cell_slice],
                    np.full(module.temperatures, temperature),
                )
            self.estimator.tick()


def at_rest(t: float) -> float:
    """No load."""
    return 0.0


def pulses(t: float) -> float:
    """A load in A that rests, drives and brakes."""
    phase = t % 60
    if phase < 10:
        return 0.0
    return -3.0 if phase < 50 else 2.0
