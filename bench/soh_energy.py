# SPDX-License-Identifier: Apache-2.0
"""Energy and time that were foretold, and what a simulated pack then really gave.

Thirteen cells that differ are discharged at a power that changes every minute, and warm up as they
do. Their OCV is a few mV off the file and the current sensor has errors of its own. What the
estimator of the node says at several moments is held against what came until the first cell was
at its lowest voltage (MOL).
"""

from dataclasses import dataclass, replace

import numpy as np

from bench.estimator_pack import pack_of
from bench.soh_simulated import rising
from dbms_estimation.estimation import Estimation
from dbms_estimation.health import SIGMAS
from dbms_estimation.pack_estimator import PackEstimator
from dbms_pack import Level, load_cell, load_pack
from dbms_pack.model import FloatArray, Pack
from dbms_sim.cell_physics import Cells

COUNT = 13
DT = 2.0  # s
BEGIN = 0.95  # SOC
LEFT = (0.8, 0.6, 0.4, 0.25, 0.15)  # of the rated energy, at which it is asked
RATE = 0.5  # 1/h, mean load
PACKS = {'NMC': 'robot_13s', 'LFP': 'marine_2x16s'}


@dataclass(frozen=True)
class Foretold:
    """One answer and the truth; energies in shares of the rated one, times in s."""

    cell: str
    degrees: float
    learnt: bool  # whether capacity and resistance were known
    left: float  # really
    expected: float
    low: float  # with two sigmas against it
    time: float
    time_told: float


def foretell(name: str, degrees: float, learnt: bool, seed: int) -> list[Foretold]:
    """Discharge a pack once and return what was told on the way."""
    rng = np.random.default_rng(seed)
    told = load_cell(name)
    waves = np.sin(2 * np.pi * (told.ocv_soc * rng.uniform(1, 3) + rng.random()))
    true = replace(told, ocv_voltage=rising(told.ocv_voltage + 0.003 * waves))
    ratio = (rng.uniform(0.88, 1.0, COUNT), rng.uniform(0.9, 1.6, COUNT))
    soc = BEGIN + 0.01 * rng.standard_normal(COUNT)
    plant = Cells(true, soc, [COUNT], capacity=ratio[0], resistance=ratio[1], ambient=degrees)
    plant.temperature = np.full(COUNT, degrees)
    pack = _pack(name)
    lowest = pack.limits.cell_undervoltage[Level.MOL].at
    estimation = Estimation(pack, PackEstimator(pack))
    # As after a charge: known, but not quite.
    everyone = np.ones(COUNT, dtype=bool)
    estimation.estimator.begin(everyone, np.full(COUNT, BEGIN), np.full(COUNT, 0.02))
    if learnt:
        _teach(estimation, ratio, rng)
    sensor = 0.005 * told.capacity * rng.standard_normal(), 1 + 0.003 * rng.standard_normal()
    rated = told.capacity * told.voltage_nominal * COUNT
    marks = [share * rated for share in LEFT]
    asked: list[tuple[float, float, float, float, float]] = []
    mean = RATE * rated
    time = gave = 0.0
    amps, power, until = 0.0, 0.0, 60.0
    voltage = plant.voltages.sum()
    while plant.voltages.min() > lowest and plant.soc.min() > 0:
        _report(estimation, time, plant, sensor[0] + sensor[1] * amps, rng)
        if marks and time > 600 and plant.soc.mean() * rated <= marks[0]:
            marks.pop(0)
            joined = estimation.joined()
            ways = [estimation.health.deliver(joined, mean, k) for k in (0.0, SIGMAS)]
            asked.append((gave, time, ways[0].energy, ways[1].energy, ways[0].time))
        if time >= until:
            power, until = mean * rng.uniform(0.6, 1.4), time + 60.0
        amps = -power / voltage
        plant.carry(plant.prepare(DT), np.full(COUNT, amps))
        voltage = plant.voltages.sum()
        time, gave = time + DT, gave - amps * voltage * DT / 3600
    return [
        Foretold(name, degrees, learnt, (gave - before) / rated, energy / rated, low / rated,
                 time - then, lasts)
        for before, then, energy, low, lasts in asked
    ]  # fmt: skip


def _pack(name: str) -> Pack:
    cell = load_cell(name)
    pack = pack_of(cell, COUNT)
    (string,) = pack.strings
    sensor = replace(string.current_sensor, period=DT)
    limits = load_pack(PACKS.get(cell.chemistry, 'robot_13s')).limits
    return replace(pack, limits=limits, strings=(replace(string, current_sensor=sensor),))


def _teach(
    estimation: Estimation, ratio: tuple[FloatArray, FloatArray], rng: np.random.Generator
) -> None:
    """Let the estimator have learnt what the cells are, to 1 and 3 %."""
    health = estimation.health
    health.capacity.inverse[:] = 1 / (ratio[0] * (1 + 0.01 * rng.standard_normal(COUNT)))
    health.capacity.covariance[0] = 0.01**2
    health.capacity.windows[:] = 5
    health.resistance.ratio[:] = ratio[1] * (1 + 0.03 * rng.standard_normal(COUNT))
    health.resistance.variance[:] = 0.03**2
    health.resistance.edges[:] = 50


def _report(
    estimation: Estimation, time: float, plant: Cells, amps: float, rng: np.random.Generator
) -> None:
    noisy = np.round(plant.voltages + 0.001 * rng.standard_normal(COUNT), 4)
    estimation.estimator.add_current(0, time, amps)
    for index, module in enumerate(estimation.pack.modules):
        warm = np.full(module.temperatures, plant.temperature[module.cell_slice].mean())
        estimation.on_scan(index, time, time, noisy[module.cell_slice], warm, 1)
    estimation.tick(time)
