# SPDX-License-Identifier: Apache-2.0
"""How good the SOC is on measured cycles, clean and perturbed, beside other ways to tell it.

The data are not part of the project: $DBMS_DATA, or ../shared/data beside the repository. The
reference is the tester's charge counter. `clean` starts true; `perturbed` starts 20 to 30 % wrong
somewhere in the first third, with an offset and a gain error of up to 1 % on the current, noise on
everything and rows missing, by a seed. Scores leave the first 600 s out.
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.report import write_json
from dbms_estimation.ecm import CellTables
from dbms_estimation.identification.laboratory import (
    Measurement,
    read_layout,
    read_measurement,
)
from dbms_estimation.offline import estimate
from dbms_estimation.records import Record
from dbms_pack import load_cell
from dbms_pack.model import CellModel, FloatArray

ROOT = Path(__file__).resolve().parents[1]
SETTLED = 600.0  # s
CONVERGED = 0.03
CYCLES = {
    'lg_hg2': ('lg_hg2/*/*_Mixed?_*.gz', 'lg_hg2/*/*_UDDS_*.gz', 'lg_hg2/*/*_LA92_*.gz'),
    'a123_m1a': ('a123_m1a/dyn/*_s1.csv.gz',),
}
TRAINED_ON = ('UDDS', 'LA92', 'DYN')  # such cycles made the cell file: marked in the table


@dataclass(frozen=True)
class Case:
    """One cycle, clean or perturbed."""

    cell: str
    path: Path
    kind: str
    seed: int


@dataclass(frozen=True)
class Score:
    """How one estimator did on one case, in shares of the capacity."""

    rmse: float
    mae: float
    worst: float
    converged: float  # s after which the error stays below CONVERGED; NaN: never
    coverage: float  # share of rows within 2 sigma; NaN where there is no sigma


def data_folder() -> Path:
    """Return where the measurements are looked for."""
    return Path(os.environ.get('DBMS_DATA', ROOT.parent / 'shared' / 'data'))


def perturbed(record: Record, truth: FloatArray, capacity: float, seed: int) -> tuple:
    """Return a spoilt recording, its true SOC, and a wrong SOC to start with."""
    rng = np.random.default_rng(seed)
    first = int(len(truth) * rng.uniform(0.0, 0.35))
    kept = np.arange(len(truth)) >= first
    for _ in range(5):
        gap = rng.integers(first + 10, len(truth) - 40)
        kept[gap : gap + rng.integers(3, 20)] = False
    truth = truth[kept]
    rows = len(truth)
    current = record.current[kept] * (1 + rng.uniform(-0.01, 0.01))
    current += capacity * (rng.uniform(-0.01, 0.01) + rng.normal(0, 0.005, rows))
    voltage = record.voltage[kept] + rng.normal(0, 0.002, rows)
    temperature = record.temperature[kept] + rng.normal(0, 0.3, rows)
    wrong = rng.uniform(0.2, 0.3) * rng.choice([-1, 1])
    start = truth[0] + wrong if 0 <= truth[0] + wrong <= 1 else truth[0] - wrong
    return Record(record.time[kept], current, voltage, temperature), truth, float(start)


def counted(record: Record, start: float, capacity: float) -> FloatArray:
    """Return the SOC by coulomb counting alone."""
    step = 0.5 * (record.current[1:] + record.current[:-1]) * np.diff(record.time)
    return start + np.r_[0.0, np.cumsum(step)] / (3600.0 * capacity)


def plain_ekf(record: Record, start: float, cell: CellModel) -> tuple[FloatArray, FloatArray]:
    """Return SOC and sigma of a filterpy EKF over the same circuit, with white noises."""
    from filterpy.kalman import ExtendedKalmanFilter

    tables = CellTables(cell)
    ekf = ExtendedKalmanFilter(dim_x=3, dim_z=1)
    ekf.x = np.array([start, 0.0, 0.0])
    ekf.P, ekf.R = np.diag([0.3**2, 1e-4, 1e-4]), np.array([[0.01**2]])
    result = np.empty((2, len(record.time)))
    steps = np.diff(record.time, prepend=record.time[0])
    for k, (dt, amps, volts, celsius) in enumerate(
        zip(steps, record.current, record.voltage, record.temperature, strict=True)
    ):
        soc = np.clip(ekf.x[:1], -0.05, 1.05)
        z = tables.impedance(soc, np.array([celsius]))
        keep = np.exp(-dt / np.array([1e12, z.tau1[0], z.tau2[0]]))
        ekf.F, ekf.Q = np.diag(keep), np.diag([1e-10, 1e-8, 1e-8]) * dt
        ekf.P = ekf.F @ ekf.P @ ekf.F.T + ekf.Q
        drive = np.array([0.0, z.r1[0], z.r2[0]]) * (1 - keep) * amps
        ekf.x = keep * ekf.x + drive + [amps * dt / 3600 / cell.capacity, 0, 0]
        ocv, slope = tables.ocv(np.clip(ekf.x[:1], -0.05, 1.05))
        ekf.update(
            np.array([volts]),
            lambda x, slope=slope: np.array([[slope[0], 1.0, 1.0]]),
            lambda x, ocv=ocv, z=z, amps=amps: np.array([ocv[0] + z.r0[0] * amps + x[1] + x[2]]),
        )
        result[:, k] = ekf.x[0], np.sqrt(ekf.P[0, 0])
    return result[0], result[1]


def score(time: FloatArray, error: FloatArray, sigma: FloatArray | None) -> Score:
    """Judge an error over time."""
    settled = time - time[0] > SETTLED
    late = np.flatnonzero(np.abs(error) > CONVERGED)
    last = int(late[-1]) if len(late) else -1
    converged = float(time[last + 1] - time[0]) if last + 1 < len(time) else np.nan
    e = error[settled]
    inside = np.nan if sigma is None else float((np.abs(e) <= 2 * sigma[settled]).mean())
    rms = float(np.sqrt(np.mean(e**2)))
    return Score(rms, float(np.abs(e).mean()), float(np.abs(e).max()), converged, inside)


def run(case: Case, plots: Path | None) -> tuple[Case, float, dict[str, Score]]:
    """Run all estimators on one case."""
    layout = read_layout(ROOT / 'config' / 'laboratories' / f'{case.cell}.yaml')
    cell = load_cell(case.cell)
    m: Measurement = read_measurement(case.path, layout)
    truth = 1.0 + m.charge / (layout.capacity or cell.capacity)
    record, start = Record(m.time, m.current, m.voltage, m.temperature), 1.0
    if case.kind == 'perturbed':
        record, truth, start = perturbed(record, truth, cell.capacity, case.seed)
    ours = estimate(record, cell, start)
    ekf, sigma = plain_ekf(record, start, cell)
    count = counted(record, start, cell.capacity)
    scores = {
        'dbms': score(record.time, ours.soc - truth, ours.soc_std),
        'plain EKF': score(record.time, ekf - truth, sigma),
        'counting': score(record.time, count - truth, None),
    }
    if plots:
        _draw(case, record.time, truth, {'dbms': ours.soc, 'plain EKF': ekf}, ours.soc_std, plots)
    return case, float(np.median(record.temperature)), scores


def _draw(case, time, truth, estimates, sigma, folder: Path) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    hours = (time - time[0]) / 3600
    figure, axes = pyplot.subplots(figsize=(9, 4), layout='constrained')
    for name, soc in estimates.items():
        axes.plot(hours, 100 * (soc - truth), label=name, linewidth=0.8)
    axes.fill_between(hours, -200 * sigma, 200 * sigma, alpha=0.2, label='2 sigma of dbms')
    axes.set(xlabel='time [h]', ylabel='SOC error [%]', ylim=(-12, 12))
    axes.set_title(f'{case.path.name.split(".")[0]}, {case.kind}')
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(folder / f'{case.path.name.split(".")[0]}_{case.kind}.png', dpi=100)
    pyplot.close(figure)


def cases(wanted: str, seeds: int) -> Iterator[Case]:
    """Yield the cases whose path holds `wanted`."""
    for cell, patterns in CYCLES.items():
        for path in sorted(p for pattern in patterns for p in data_folder().glob(pattern)):
            if wanted in str(path.relative_to(data_folder())):
                yield Case(cell, path, 'clean', 0)
                for seed in range(seeds):
                    yield Case(cell, path, 'perturbed', sum(path.name.encode()) + seed)


def tabulate(results: list[tuple[Case, float, dict[str, Score]]]) -> Table:
    """Return a row for each case."""
    table = Table(title='SOC error in %, without the first 600 s; * made the cell file', box=None)
    for name in ('cell', 'degC', 'cycle', 'kind', 'RMSE', 'MAE', 'max', 'conv s', '2 sigma'):
        table.add_column(name, justify='left' if name in ('cell', 'cycle', 'kind') else 'right')
    for name in ('plain EKF', 'its 2 sigma', 'counting'):
        table.add_column(name, justify='right')
    for case, temperature, scores in results:
        s, ekf = scores['dbms'], scores['plain EKF']
        star = '*' if any(name in case.path.name for name in TRAINED_ON) else ''
        table.add_row(
            *(case.cell, f'{temperature:.0f}', case.path.name.split('.')[0][:24] + star),
            *(case.kind, f'{100 * s.rmse:.2f}', f'{100 * s.mae:.2f}', f'{100 * s.worst:.1f}'),
            *(f'{s.converged:.0f}', f'{s.coverage:.0%}', f'{100 * ekf.rmse:.2f}'),
            *(f'{ekf.coverage:.0%}', f'{100 * scores["counting"].rmse:.2f}'),
        )
    means = defaultdict(list)
    for case, temperature, scores in results:
        means[case.cell, 5 * round(temperature / 5), case.kind].append(scores)
    table.add_section()
    for (cell, temperature, kind), group in sorted(means.items()):
        mean = [
            100 * np.mean([scores[name].rmse for scores in group])
            for name in ('dbms', 'plain EKF', 'counting')
        ]
        inside = [np.mean([s[name].coverage for s in group]) for name in ('dbms', 'plain EKF')]
        table.add_row(
            *(cell, f'{temperature}', 'mean', kind, f'{mean[0]:.2f}', '', '', ''),
            *(f'{inside[0]:.0%}', f'{mean[1]:.2f}', f'{inside[1]:.0%}', f'{mean[2]:.2f}'),
        )
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', default='', help='part of a path, e.g. 25degC or Mixed1')
    parser.add_argument('--seeds', type=int, default=1, help='perturbed runs of each cycle')
    parser.add_argument('--plots', type=Path, help='folder for a plot of each run')
    parser.add_argument('--json', type=Path)
    arguments = parser.parse_args()
    todo = list(cases(arguments.only, arguments.seeds))
    if not todo:
        print(f'no such measurements in {data_folder()}; set DBMS_DATA', file=sys.stderr)
        return 1
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        results = list(pool.map(run, todo, [arguments.plots] * len(todo)))
    Console(width=140).print(tabulate(results))
    if arguments.json:
        rows = [
            {'cell': c.cell, 'file': c.path.name, 'kind': c.kind, 'temperature': t}
            | {name: vars(s) for name, s in scores.items()}
            for c, t, scores in results
        ]
        write_json(arguments.json, {'runs': rows})
    return 0


if __name__ == '__main__':
    from bench import soc  # by its name: what goes to other processes must be found there

    sys.exit(soc.main())
