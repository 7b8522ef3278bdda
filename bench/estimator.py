# SPDX-License-Identifier: Apache-2.0
"""How long the SOC filter takes per cell, beside a filterpy EKF per cell and a compiled loop.

    ./dbms bench estimator
    ./dbms bench estimator --cells 16 256 4096 --json result.json

All run in the same thread, in turns, over the same seeded readings; medians of CPU time count.
The filterpy EKF has the same six states and the same tables, looked up for one cell at a time,
and none of the safeguards. The compiled loop (numba) has the same arithmetic as the filter and
must give the same numbers. What a tick of the whole estimator and the messages of the node cost
is told below. Exits 1 when an aim is missed: 1000 times faster than filterpy, and at most twice
as slow as numba, with 4096 cells; or when filter and loop disagree. Needs filterpy, which
./dbms test installs; numba is optional:

    ./dbms python -m pip install -r tools/requirements/bench.txt
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.report import write_json
from dbms_estimation.ecm import CellTables
from dbms_estimation.ekf import CellFilter
from dbms_pack import load_cell
from dbms_pack.model import CellModel, FloatArray

INSTALL = './dbms python -m pip install -r tools/requirements/bench.txt'
AIM_FILTERPY = 1000.0
AIM_NUMBA = 2.0
AGREE = 1e-9  # SOC, by which filter and loop may differ after all steps
DT = 0.1  # s
SLOW_CELLS = 64  # of the filterpy EKF: its cost per cell does not depend on how many there are
Readings = tuple[FloatArray, FloatArray, FloatArray, FloatArray]


class Given:
    """Cells that differ, and readings of them that a filter believes."""

    def __init__(self, cell: CellModel, count: int) -> None:
        self.cell, self.count = cell, count
        self.tables = CellTables(cell)
        random = np.random.default_rng(1)
        self.soc = random.uniform(0.3, 0.8, count)
        self.temperature = random.uniform(11.0, 24.0, count)
        self.dt = np.full(count, DT)
        self._random = random
        self._amps = 0.0

    def filter(self) -> CellFilter:
        """Return a filter that has started."""
        made = CellFilter(self.tables, self.count, self.cell.capacity, np.full(self.count, 0.01))
        made.reset(np.ones(self.count, dtype=bool), self.soc, np.full(self.count, 0.03))
        made.fresh[:] = False
        return made

    def readings(self) -> Readings:
        """Return charge in As, current in A and voltage in V of the next step, and temperature."""
        before, self._amps = self._amps, self.cell.capacity * self._random.uniform(-1, 0.5)
        charge = np.full(self.count, 0.5 * (before + self._amps) * DT)
        z = self.tables.impedance(self.soc, self.temperature)
        ocv = self.tables.ocv(self.soc, self.temperature)[0]
        noise = self._random.normal(0.0, 1e-3, self.count)
        voltage = ocv + z.r0 * self._amps + noise
        return charge, np.full(self.count, self._amps), voltage, self.temperature


def plain(given: Given) -> Callable[[Readings], None]:
    """Return a step of one filterpy EKF per cell."""
    from filterpy.kalman import ExtendedKalmanFilter

    cell, count = given.cell, min(given.count, SLOW_CELLS)
    filters = []
    for k in range(count):
        made = ExtendedKalmanFilter(dim_x=6, dim_z=1)
        made.x = np.array([given.soc[k], 0.0, 0.0, 0.0, 0.0, 0.0])
        made.P = np.diag([1e-3, 1e-6, 1e-6, 1e-4, 1e-4, 1e-2])
        made.Q = np.diag([1e-12, 1e-9, 1e-9, 1e-12, 1e-10, 1e-10])
        made.R = np.array([[1e-4]])
        filters.append(made)
    tables = given.tables
    grid, ocv = tables._grid, tables._ocv
    maps = [tables._impedance[len(grid) * k : len(grid) * (k + 1)] for k in range(2)]

    def look_up(soc: float) -> list[float]:
        return [float(np.interp(soc, grid, maps[0][:, k])) for k in range(5)]

    def jacobian(x: Any, r: float, drop: float) -> Any:
        slope = float(np.interp(x[0], grid, ocv[:, 1]))
        factor = 1 + x[5]
        return np.array([[slope, factor, factor, -r * factor, 1.0, drop]])

    def foretell(x: Any, drop: float, _: float) -> Any:
        return np.array([float(np.interp(x[0], grid, ocv[:, 0])) + (1 + x[5]) * drop + x[4]])

    def step(readings: Readings) -> None:
        charges, currents, voltages, _ = readings
        for k, kalman in enumerate(filters):
            x = kalman.x
            r0, r1, t1, r2, t2 = look_up(x[0])
            a1, a2 = np.exp(-DT / t1), np.exp(-DT / t2)
            kalman.F = np.diag([1.0, a1, a2, 1.0, 1.0, 1.0])
            kalman.F[0, 3] = -DT / 3600 / cell.capacity
            kalman.F[1, 3], kalman.F[2, 3] = -(1 - a1) * r1, -(1 - a2) * r2
            kalman.B = np.array(
                [1 / 3600 / cell.capacity, (1 - a1) * r1 / DT, (1 - a2) * r2 / DT, 0, 0, 0]
            )
            kalman.predict(charges[k])
            x = kalman.x
            drop = r0 * (currents[k] - x[3]) + x[1] + x[2]
            kalman.update(
                voltages[k], jacobian, foretell, args=(r0, drop), hx_args=(drop, 0.0)
            )  # fmt: skip

    return step


def measure(cell: CellModel, count: int, seconds: float) -> dict[str, float]:
    """Return medians in ns per cell and step, and how far filter and loop differ."""
    given = Given(cell, count)
    arrays = given.filter()
    nothing = np.zeros(count)
    runs: dict[str, tuple[Callable[[Readings], None], int]] = {
        'filter': (
            lambda r: arrays.step(given.dt, r[0], nothing, r[2], r[1], r[3], weigh=False), count
        ),
    }  # fmt: skip
    twin = None
    try:
        from bench.estimator_numba import FusedFilter
    except ModuleNotFoundError:
        pass
    else:
        twin = FusedFilter(arrays, given.tables, cell.capacity)
        runs['numba'] = (lambda r: twin.step(given.dt, r[0], r[2], r[1], r[3]), count)
    runs['filterpy'] = (plain(given), min(count, SLOW_CELLS))
    warm = given.readings()
    begun = time.perf_counter()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for step, _ in runs.values():  # compiles
        step(warm)
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds or len(times['filterpy']) < 5:
        readings = [given.readings() for _ in range(10)]
        for name, (step, cells) in runs.items():
            for r in readings[:1] if name == 'filterpy' else readings:
                start = time.thread_time()
                step(r)
                times[name].append((time.thread_time() - start) / cells * 1e9)
    result = {name: statistics.median(values) for name, values in times.items()}
    if twin is not None:
        result['differ'] = float(np.abs(twin.state[:, 0] - arrays.soc).max())
    return result


def tick(cell: CellModel, count: int, repeats: int) -> dict[str, float]:
    """Return medians in us of one tick of the estimator and of the view that is published."""
    from bench.estimator_pack import pack_of
    from dbms_estimation.estimation import Estimation
    from dbms_estimation.pack_estimator import PackEstimator

    pack = pack_of(cell, count)
    estimation = Estimation(pack, PackEstimator(pack))
    estimator = estimation.estimator
    times: dict[str, list[float]] = {'scan': [], 'tick': [], 'battery_state': []}
    random = np.random.default_rng(2)
    level = CellTables(cell).ocv(np.array([0.6]))[0][0]
    for k in range(repeats + 5):
        now = 1000.0 + DT * k
        start = time.thread_time()
        for index, module in enumerate(pack.modules):
            voltages = level + random.normal(0.0, 1e-3, module.cells)
            estimation.on_scan(index, now, now, voltages, [20.0] * module.temperatures, 1)
        times['scan'].append((time.thread_time() - start) / len(pack.modules))
        estimator.add_current(0, now, 0.1)
        start = time.thread_time()
        view = estimation.tick(now)
        times['tick'].append(time.thread_time() - start)
        start = time.thread_time()
        view.pack(view.strings())
        times['battery_state'].append(time.thread_time() - start)
    return {name: 1e6 * statistics.median(values[5:]) for name, values in times.items()}


def main(argv: list[str] | None = None) -> int:
    """Measure, print and judge."""
    parser = argparse.ArgumentParser(
        prog='./dbms bench estimator',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--cells', type=int, nargs='+', default=[16, 256, 4096])
    parser.add_argument('--cell', default='lg_hg2', help='cell file, or name of a shipped one')
    parser.add_argument('--seconds', type=float, default=3.0, help='for each number of cells')
    parser.add_argument('--json', help='write the numbers to this file')
    words = parser.parse_args(argv)
    if min(words.cells) < 1 or not words.seconds > 0:
        parser.error('--cells and --seconds must be positive')
    try:
        import filterpy.kalman  # noqa: F401
    except ModuleNotFoundError as error:
        print(f'bench estimator: {error.name} is missing; install it: {INSTALL}', file=sys.stderr)
        return 2
    cell = load_cell(words.cell)
    results, missed = {}, []
    table = Table(title=f'SOC filter, {cell.name}: ns per cell and step, medians')
    for name in ('cells', 'filter', 'numba', 'filterpy', 'filterpy / filter', 'filter / numba'):
        table.add_column(name, justify='right')
    for count in words.cells:
        found = measure(cell, count, words.seconds)
        gain = found['filterpy'] / found['filter']
        loss = found['filter'] / found['numba'] if 'numba' in found else float('nan')
        results[str(count)] = {**found, 'filterpy_per_filter': gain, 'filter_per_numba': loss}
        numba = f'{found["numba"]:.0f}' if 'numba' in found else '-'
        table.add_row(
            str(count), f'{found["filter"]:.0f}', numba, f'{found["filterpy"]:.0f}',
            f'{gain:.0f}', f'{loss:.1f}',
        )  # fmt: skip
        if found.get('differ', 0.0) > AGREE:
            missed.append(f'{count} cells: filter and loop differ by {found["differ"]:.2g} SOC')
        if count >= 4096 and gain < AIM_FILTERPY:
            missed.append(f'{count} cells: {gain:.0f} times faster than filterpy, aim 1000')
        if count >= 4096 and loss > AIM_NUMBA:
            missed.append(f'{count} cells: {loss:.1f} times as slow as numba, aim 2')
    console = Console()
    console.print(table)
    if not all('numba' in found for found in results.values()):
        console.print(f'without numba; to see it: {INSTALL}')
    ticks = Table(title='One tick of the estimator, us, medians')
    for name in ('cells', 'a scan', 'tick', 'battery_state'):
        ticks.add_column(name, justify='right')
    for count in words.cells:
        took = tick(cell, count, 60)
        results[str(count)]['tick_us'] = took
        ticks.add_row(str(count), *(f'{took[k]:.0f}' for k in ('scan', 'tick', 'battery_state')))
    console.print(ticks)
    for line in missed:
        console.print(line)
    if words.json:
        write_json(words.json, {'cells': results, 'missed': missed})
    return 1 if missed else 0


if __name__ == '__main__':
    sys.exit(main())
