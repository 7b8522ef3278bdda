# SPDX-License-Identifier: Apache-2.0
"""The estimator of the node over a recording of one cell, row by row."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dbms_pack import Level, Limit, Limits, LossRule
from dbms_pack.model import (
    CellModel,
    ContactorUnit,
    CurrentSensor,
    FloatArray,
    Module,
    Pack,
    Precharge,
    String,
)

from .filter_options import FilterOptions
from .pack_estimator import PackEstimator
from .records import Record

PROGRESS = 500  # rows between reports of progress
LONGEST_PERIOD = 600.0  # s between rows of a recording


@dataclass(frozen=True)
class Estimate:
    """What is estimated for each row of a recording; arrays of the shape (rows,)."""

    soc: FloatArray  # 0..1; NaN before the first usable row
    soc_std: FloatArray
    current_bias: FloatArray  # A, what the current sensor shows too much
    voltage: FloatArray  # V, the terminal voltage the model foretold
    refused: Counter[str]  # how many rows were not used, and why

    def columns(self, record: Record) -> dict[str, FloatArray]:
        """Return it as the columns of an output file."""
        return {
            'time_s': record.time,
            'soc': self.soc,
            'soc_std': self.soc_std,
            'current_bias_A': self.current_bias,
            'voltage_model_V': self.voltage,
        }


def estimate(
    record: Record,
    cell: CellModel,
    initial_soc: float | None = None,
    options: FilterOptions | None = None,
    progress: Callable[[int], None] | None = None,
) -> Estimate:
    """Estimate the SOC of one cell for every row of a recording.

    Without `initial_soc` the first voltage is where it starts: at rest it is the OCV, under load
    sigma is wide. Rows whose time does not rise are not used; their estimate is that of the row
    before. `initial_soc` is 0..1, otherwise ValueError. `progress` is told now and then how many
    rows are done.
    """
    if initial_soc is not None and not 0.0 <= initial_soc <= 1.0:
        raise ValueError(f'initial SOC {initial_soc:g}: must be from 0 to 1')
    estimator = PackEstimator(one_cell_pack(record, cell), options, recorded=True)
    cells = estimator.filter
    result = np.full((4, len(record.time)), np.nan)
    last = -np.inf
    begun = initial_soc is None
    for k, time in enumerate(record.time.tolist()):
        if progress is not None and k % PROGRESS == 0:
            progress(k)
        if time > last:
            last = time
            if not begun and np.isfinite(record.voltage[k]):
                everyone = np.ones(1, dtype=bool)
                estimator.believe(everyone, np.array([initial_soc]))
                begun = True
            estimator.add_current(0, time, record.current[k])
            estimator.add_scan(
                0, time, time, record.voltage[k : k + 1], record.temperature[k : k + 1]
            )
            estimator.tick()
        else:
            estimator.counters['rows whose time does not rise'] += 1
        if cells.started[0]:
            result[:, k] = cells.soc[0], cells.sigma[0], cells.bias[0], cells.expected[0]
    soc = np.clip(result[0], 0.0, 1.0)
    return Estimate(soc, result[1], result[2], result[3], estimator.counters)


def one_cell_pack(record: Record, cell: CellModel) -> Pack:
    """Return a pack of one cell whose sensors report as often as the recording has rows."""
    steps = np.diff(record.time)
    rising = steps[steps > 0]
    period = float(np.clip(np.median(rising), 1e-3, LONGEST_PERIOD)) if len(rising) else 1.0
    strongest = np.nanmax(np.abs(record.current), initial=0.0)
    sensor = CurrentSensor('none', 0, period, period, max(strongest, cell.capacity))
    never = LossRule(np.inf, 0.0, 0.0)
    precharge = Precharge(0.0, 0.0, 0.0, 0.0, 1, 0.0)
    unit = ContactorUnit('none', 0, 0.0, 0.0, 0.0, 0.0, 0.0, precharge)
    module = Module('cell', 'cell', 'none', 0, 1, 1, 0, 0, period)
    voltages = _at(cell.voltage_max), _at(cell.voltage_min)
    currents = _at(sensor.range), _at(sensor.range)
    limits = Limits(*voltages, {}, {}, {}, {}, *currents, {}, never, never, 0.0)
    string = String('cell', (module,), sensor, unit)
    return Pack('recording', '', cell, 1, {}, (string,), limits, Path(), '')


def _at(value: float) -> dict[Level, Limit]:
    return {Level.MOL: Limit(value, 0.0, 0.0, False)}
