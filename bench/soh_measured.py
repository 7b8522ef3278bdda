# SPDX-License-Identifier: Apache-2.0
"""Capacity of measured cells that were cycled to the end of their life.

XJTU: every cycle gives the charge from 4.0 to 4.2 V at 2C and that while the current fades from
0.5 to 0.1 A. What part of the capacity that is depends on the polarisation, which the two tell
together with the time; the law is fitted to the other cells of the batch, never to the cell
itself. The capacity in these files is that of the discharge of the same cycle.

CALCE and NASA: only a capacity per cycle is there. Partial cycles are drawn over it by a seed: a
change of SOC of 30 to 90 % with the error that two rest voltages have. The fade is measured, the
windows are not.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dbms_estimation.soh import CapacityFilter, Pairs
from dbms_pack.model import FloatArray

OFFSET = 0.003  # 1/h, sigma of the sensors' offset: laboratory
USABLE = 0.6  # of the rated capacity, down to which a cell is in service
BEGIN = 10  # windows before the scores begin
FULL = 0.8  # change of SOC that counts as a full discharge


@dataclass(frozen=True)
class Windows:
    """Windows of one cell, one per cycle; shares of the rated capacity."""

    group: str
    cell: str
    x: FloatArray  # change of SOC
    y: FloatArray  # charge
    white: FloatArray  # sigmas of x
    fixed: FloatArray
    truth: FloatArray  # capacity


@dataclass(frozen=True)
class CapacityScore:
    """RMSE of the capacity in shares of the rated one, and how many within 2 sigma."""

    group: str
    cell: str
    rmse: float
    worst: float
    coverage: float
    alone: float  # each window alone
    full: float  # last full discharge; NaN: there was none
    squares: float  # ordinary least squares over all windows so far


def measured(folder: Path) -> Iterator[Windows]:
    """Yield the windows of all cells in `folder`, those that are there."""
    for batch in ('2C', 'R2.5', 'Sim_satellite'):
        files = sorted(folder.glob(f'xjtu/{batch}_battery-*.csv.gz'))
        if files:
            yield from _charges(batch, {f.name.split('.csv')[0]: _xjtu(f) for f in files})
    for path in sorted(folder.glob('calce_cs2/CS2_*.csv.gz')):
        table = np.genfromtxt(path, delimiter=',', skip_header=1)
        yield _drawn('CALCE CS2', path.name.split('.')[0], table[:, 2] / 1.1)
    for path in sorted(folder.glob('nasa/B*.csv')):
        table = np.genfromtxt(path, delimiter=',', skip_header=1)
        yield _drawn('NASA', path.stem, table[:, 1] / 2.0)


def _xjtu(path: Path) -> dict[str, FloatArray]:
    with gzip.open(path, 'rt') as file:
        names = file.readline().strip().split(',')
        table = np.genfromtxt(file, delimiter=',')
    columns = dict(zip(names, table.T, strict=True))
    good = np.isfinite(table).all(axis=1) & (columns['CC Q'] > 0) & (columns['CV Q'] > 0)
    return {name: column[good] for name, column in columns.items()}


def _charges(batch: str, cells: dict[str, dict[str, FloatArray]]) -> Iterator[Windows]:
    def features(c: dict[str, FloatArray]) -> FloatArray:
        ratio = c['CV Q'] / c['CC Q']
        hours = c['CV charge time'] / 3600
        shape = [c['voltage mean'] - 4.096, c['voltage std'] - 0.0565]
        return np.column_stack([np.ones_like(ratio), ratio, ratio**2, hours, *shape])

    def share(c: dict[str, FloatArray]) -> FloatArray:
        return (c['CC Q'] + c['CV Q']) / c['capacity']

    def law(group: list[dict[str, FloatArray]]) -> FloatArray:
        design = np.concatenate([features(c) for c in group])
        return np.linalg.lstsq(design, np.concatenate([share(c) for c in group]), rcond=None)[0]

    for name, own in cells.items():
        others = [c for n, c in cells.items() if n != name]
        # What the law is off a cell that it was not fitted to.
        off = [features(c) @ law([d for d in others if d is not c]) / share(c) - 1 for c in others]
        fixed = float(np.sqrt(np.mean([part.mean() ** 2 for part in off])))
        white = float(np.sqrt(np.mean([np.var(part) for part in off])))
        x, y = features(own) @ law(others), (own['CC Q'] + own['CV Q']) / 2.0
        yield Windows(f'XJTU {batch}', name, x, y, white * x, fixed * x, own['capacity'] / 2.0)


def _drawn(group: str, name: str, truth: FloatArray, seed: int = 0) -> Windows:
    rng = np.random.default_rng([seed, *name.encode()])
    truth = truth[np.isfinite(truth)]
    size = rng.uniform(0.3, 0.9, len(truth)) * np.where(np.arange(len(truth)) % 2, 1, -1)
    stretch = 1 + 0.01 * rng.standard_normal()  # the table of this cell is that much off
    x = size * stretch + 0.015 * rng.standard_normal(len(truth))
    one = np.ones_like(x)
    return Windows(group, name, x, size * truth, 0.015 * one, 0.01 * np.abs(size), truth)


def capacity_score(w: Windows) -> CapacityScore:
    """Run the filter over the windows of one cell and the naive ways beside it."""
    filter_ = CapacityFilter(1, OFFSET)
    count = len(w.x)
    told = np.full((4, count), np.nan)  # filter, sigma, last full, least squares
    for k in range(count):
        filter_.age(np.ones(1), np.full(1, 4 * 3600.0))
        x, y, white, fixed = (v[k : k + 1] for v in (w.x, w.y, w.white, w.fixed))
        filter_.add(Pairs(x, y, white, fixed, np.abs(x) * 2))
        told[:2, k] = filter_.ratio[0], filter_.sigma[0]
        full = np.flatnonzero(np.abs(w.x[: k + 1]) >= FULL)
        if len(full):
            told[2, k] = w.y[full[-1]] / w.x[full[-1]]
        told[3, k] = (w.x[: k + 1] * w.y[: k + 1]).sum() / np.square(w.x[: k + 1]).sum()
    worn = np.flatnonzero(w.truth < USABLE)
    span = slice(BEGIN, int(worn[0]) if len(worn) else count)
    error = told[0] - w.truth

    def rmse(values: FloatArray) -> float:
        off = (values - w.truth)[span]
        known = off[np.isfinite(off)]
        return float(np.sqrt(np.square(known).mean())) if len(known) else float('nan')

    return CapacityScore(
        w.group, w.cell, rmse(told[0]), float(np.abs(error[span]).max()),
        float((np.abs(error) <= 2 * told[1])[span].mean()), rmse(w.y / w.x), rmse(told[2]),
        rmse(told[3]),
    )  # fmt: skip
