# SPDX-License-Identifier: Apache-2.0
"""How fast the cell physics runs on one core, and what a cell costs in memory.

    ./dbms bench sim                       # 4096 cells at 10 Hz
    ./dbms bench sim --cells 256 --dt 1 --json result.json

Every step sees another current. The floors are measured in the same run on the same arrays: a
copy of the state, and the bare circuit, a numpy loop of two RC pairs with constant resistances
and no heat, no tables and no books. Exits 1 when the plain model is below --aim.
"""

import argparse
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.report import write_json
from dbms_pack import CellModel, load_cell
from dbms_pack.model import AgeingModel
from dbms_sim.cell_physics import Cells

ROW = 16  # cells in a module
REPEATS = 3  # the best counts: others use the machine too


def with_everything(model: CellModel) -> CellModel:
    """Return the cell with every effect that a cell file may leave out."""
    points = len(model.ocv_soc)
    return replace(
        model,
        hysteresis_voltage=np.full(points, 0.01),
        entropic=np.full(points, -1e-4),
        r0_charge=model.r0 * 1.1,
        neighbour_resistance=3.0,
        self_discharge=0.02,
        ageing=AgeingModel(0.03, 1e-4, 0.05, 1e-4),
    )


def make_cells(model: CellModel, count: int) -> Cells:
    """Return cells that differ, in rows of a module."""
    random = np.random.default_rng(1)
    return Cells(
        model,
        random.uniform(0.4, 0.6, count),
        [ROW] * (count // ROW),
        capacity=1 + 0.01 * random.standard_normal(count),
        resistance=1 + 0.03 * random.standard_normal(count),
    )


def physics(model: CellModel, count: int, dt: float) -> Callable[[float], None]:
    """Return a step of the model for a rate in C."""
    cells = make_cells(model, count)
    current = np.empty(count)

    def step(rate: float) -> None:
        current.fill(rate * model.capacity)
        cells.carry(cells.prepare(dt), current)

    return step


def copy_floor(count: int) -> Callable[[float], None]:
    """Return a copy of the arrays that are the state: SOC, 2 RC, hysteresis, temperature."""
    state, other = np.zeros((5, count)), np.zeros((5, count))

    def step(_rate: float) -> None:
        np.copyto(other, state)

    return step


def circuit_floor(count: int, dt: float) -> Callable[[float], None]:
    """Return the bare circuit: charge, two RC pairs and a straight OCV, constants all."""
    soc, v1, v2, voltage, work = np.full((5, count), 0.5)
    keep1, keep2 = np.exp(-dt / 20.0), np.exp(-dt / 1200.0)
    current, r = np.empty(count), np.full(count, 0.02)

    def step(rate: float) -> None:
        current.fill(rate * 3.0)
        np.multiply(current, r, out=work)
        for v, keep in ((v1, keep1), (v2, keep2)):
            np.multiply(v, keep, out=v)
            np.add(v, work * (1 - keep), out=v)
        np.add(soc, current * (dt / 10800.0), out=soc)
        np.multiply(soc, 1.2, out=voltage)
        np.add(voltage, v1, out=voltage)
        np.add(voltage, v2, out=voltage)
        np.add(voltage, work, out=voltage)

    return step


def measure(step: Callable[[float], None], rates: np.ndarray) -> float:
    """Return the s that a step takes: the best of some rounds over all rates."""
    best = np.inf
    for rate in rates[:20]:
        step(rate)
    for _ in range(REPEATS):
        start = time.perf_counter()
        for rate in rates:
            step(rate)
        best = min(best, time.perf_counter() - start)
    return best / len(rates)


def memory(model: CellModel, count: int) -> float:
    """Return the bytes that a cell takes while it runs, tables not counted."""

    def peak(cells: int) -> int:
        tracemalloc.start()
        run = physics(model, cells, 1.0)
        run(0.1)
        run(-0.1)
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return used

    return (peak(count) - peak(ROW)) / (count - ROW)


def run(count: int, dt: float, steps: int, model: CellModel) -> dict:
    """Measure all, and return a row per thing that was measured."""
    rates = np.random.default_rng(0).normal(0.0, 0.5, steps).tolist()
    rates = np.array(rates) - np.mean(rates)
    full = with_everything(model)
    work = {
        'cell model': physics(model, count, dt),
        'all effects': physics(full, count, dt),
        'floor: bare circuit': circuit_floor(count, dt),
        'floor: copy of state': copy_floor(count),
    }
    rows = {name: measure(step, rates) for name, step in work.items()}
    return {
        'cells': count,
        'dt_s': dt,
        'steps': steps,
        'step_us': {name: seconds * 1e6 for name, seconds in rows.items()},
        'times_real_time': {name: dt / seconds for name, seconds in rows.items()},
        'bytes_per_cell': {
            'cell model': memory(model, count),
            'all effects': memory(full, count),
        },
    }


def show(result: dict, cell: str) -> None:
    """Print a table."""
    title = f'{result["cells"]} cells ({cell}), a step every {result["dt_s"]:g} s, one core'
    table = Table(title=title)
    for name in ('', 'us per step', 'times real time', 'times the bare circuit', 'bytes per cell'):
        table.add_column(name, justify='left' if not name else 'right')
    floor = result['step_us']['floor: bare circuit']
    for name, step in result['step_us'].items():
        used = result['bytes_per_cell'].get(name)
        table.add_row(
            name,
            f'{step:.1f}',
            f'{result["times_real_time"][name]:.0f}',
            f'{step / floor:.2f}',
            '' if used is None else f'{used:.0f}',
        )
    Console().print(table)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='dbms bench sim', description=__doc__.split('\n\n')[0])
    parser.add_argument('--cells', type=int, default=4096, help=f'a multiple of {ROW}')
    parser.add_argument('--dt', type=float, default=0.1, help='s of a step')
    parser.add_argument('--steps', type=int, default=2000)
    parser.add_argument('--cell', default='lg_hg2', help='cell file, or name of a shipped one')
    parser.add_argument('--aim', type=float, default=100.0, help='times real time')
    parser.add_argument('--json', metavar='FILE', help='write the numbers too')
    arguments = parser.parse_args(argv)
    if arguments.cells < 2 * ROW or arguments.cells % ROW:
        parser.error(f'--cells: {arguments.cells}, must be a multiple of {ROW}, above {ROW}')
    if not 0 < arguments.dt < 3600 or arguments.steps < 1:
        parser.error('--dt must be between 0 and 3600 s, --steps at least 1')
    if hasattr(os, 'sched_setaffinity'):  # one core, and no threads of the matrix library beside
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    result = run(arguments.cells, arguments.dt, arguments.steps, load_cell(arguments.cell))
    show(result, arguments.cell)
    if arguments.json:
        write_json(arguments.json, result)
    return 0 if result['times_real_time']['cell model'] >= arguments.aim else 1


if __name__ == '__main__':
    sys.exit(main())
