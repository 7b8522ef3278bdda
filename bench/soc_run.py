# SPDX-License-Identifier: Apache-2.0
"""Runs the estimators over cycles, and judges what they say.

The project's own runs over many recordings at once: a pack with a string of one cell for each
recording, each with its own current and stamps, fed row by row as the node is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.soc_cycles import Cycle
from dbms_estimation.filter_options import FilterOptions
from dbms_estimation.offline import one_cell_pack
from dbms_estimation.pack_estimator import PackEstimator
from dbms_pack.model import CellModel, FloatArray, Pack

SETTLED = 600.0  # s, left out of the scores
CONVERGED = 0.03

Guess = tuple[FloatArray, FloatArray | None]  # SOC and sigma, a value per row of the cycle
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Score:
    """How one estimator did on one cycle, in shares of the capacity."""

    rmse: float
    mae: float
    worst: float
    converged: float  # s after which the error stays below CONVERGED; NaN: never
    nearest: float  # the smallest error there was
    coverage: float  # share of rows within 2 sigma; NaN where there is no sigma


def score(cycle: Cycle, guess: Guess) -> Score:
    """Judge an estimate."""
    soc, sigma = guess
    time = cycle.record.time
    error = np.clip(soc, 0.0, 1.0) - cycle.truth
    settled = (time - time[0] > SETTLED) & np.isfinite(error)
    late = np.flatnonzero(np.abs(error) > CONVERGED)
    last = int(late[-1]) if len(late) else -1
    converged = float(time[last + 1] - time[0]) if last + 1 < len(time) else np.nan
    e = error[settled]
    inside = np.nan if sigma is None else float((np.abs(e) <= 2 * sigma[settled]).mean())
    size = np.abs(e)
    rms = float(np.sqrt(np.mean(e**2)))
    return Score(rms, size.mean(), size.max(), converged, float(np.nanmin(np.abs(error))), inside)


def run_ours(
    cycles: Sequence[Cycle],
    cell: CellModel,
    options: FilterOptions | None = None,
    progress: Progress = lambda rows: None,
) -> list[Guess]:
    """Run the project's estimator over cycles of one cell."""
    estimator = PackEstimator(_pack(cycles, cell), options, recorded=True)
    length = max(len(cycle.truth) for cycle in cycles)
    result = np.full((2, length, len(cycles)), np.nan)
    records = [[c.tolist() for c in vars(cycle.record).values()] for cycle in cycles]
    starts = np.array([cycle.start for cycle in cycles])
    estimator.believe(np.ones(len(cycles), dtype=bool), starts)
    for k in range(length):
        for index, (times, currents, voltages, temperatures) in enumerate(records):
            if k < len(times):
                estimator.add_current(index, times[k], currents[k])
                row = (times[k], times[k], voltages[k : k + 1], temperatures[k : k + 1])
                estimator.add_scan(index, *row)
        estimator.tick()
        result[0, k], result[1, k] = estimator.filter.soc, estimator.filter.sigma
        progress(1)
    return [
        (result[0, : len(cycle.truth), index], result[1, : len(cycle.truth), index])
        for index, cycle in enumerate(cycles)
    ]


def _pack(cycles: Sequence[Cycle], cell: CellModel) -> Pack:
    """Return a pack with a string for each cycle."""
    alone = [one_cell_pack(cycle.record, cell) for cycle in cycles]
    strings = []
    for index, pack in enumerate(alone):
        string = pack.strings[0]
        place = {'first_cell': index, 'first_temperature': index}
        module = replace(string.modules[0], name=f'c{index}', string=f'c{index}', **place)
        strings.append(replace(string, name=f'c{index}', modules=(module,)))
    return replace(alone[0], strings=tuple(strings))
