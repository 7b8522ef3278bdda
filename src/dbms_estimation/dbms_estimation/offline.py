# SPDX-License-Identifier: Apache-2.0
"""The estimator of the node over a recording of one cell, row by row."""

from bisect import bisect_left
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
from .pack_estimator import TEMPERATURE_RANGE, VOLTAGE_MARGIN, PackEstimator
from .records import Record

PROGRESS = 500  # rows between reports of progress
LONGEST_PERIOD = 600.0  # s between rows of a recording
STRONGEST = 40.0  # 1/h, current per capacity that a sensor of a cell reaches; a spike goes beyond


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
    sigma is wide. Rows whose time does not rise are not used (`rising`); their estimate is that
    of the row before. `initial_soc` is 0..1, otherwise ValueError. `progress` is told now and
    then how many rows are done.
    """
    if initial_soc is not None and not 0.0 <= initial_soc <= 1.0:
        raise ValueError(f'initial SOC {initial_soc:g}: must be from 0 to 1')
    estimator = PackEstimator(one_cell_pack(record, cell), options, recorded=True)
    if initial_soc is not None:
        estimator.believe(np.ones(1, dtype=bool), np.array([initial_soc]))
    cells = estimator.filter
    result = np.full((4, len(record.time)), np.nan)
    used = rising(record.time)
    for k, time in enumerate(record.time.tolist()):
        if progress is not None and k % PROGRESS == 0:
            progress(k)
        if used[k]:
            estimator.add_current(0, time, record.current[k])
            estimator.add_scan(
                0, time, time, record.voltage[k : k + 1], record.temperature[k : k + 1]
            )
            estimator.tick()
        if cells.started[0]:
            result[:, k] = cells.soc[0], cells.sigma[0], cells.bias[0], cells.expected[0]
    estimator.counters += _implausible(record, cell, used)
    soc = np.clip(result[0], 0.0, 1.0)
    return Estimate(soc, result[1], result[2], result[3], estimator.counters)


def rising(time: FloatArray) -> np.ndarray:
    """Return a mask of the most rows that can be used so that their time rises.

    One stamp far in the future costs that row, and not all that come after it.
    """
    tails: list[float] = []  # the earliest time at which a chain of each length ends
    ends: list[int] = []  # its row
    before = np.full(len(time), -1)
    for k, now in enumerate(time.tolist()):
        length = bisect_left(tails, now)
        if length < len(tails) and tails[length] == now:
            continue  # of equal ones the first
        before[k] = ends[length - 1] if length else -1
        tails[length : length + 1] = [now]
        ends[length : length + 1] = [k]
    used = np.zeros(len(time), dtype=bool)
    k = ends[-1] if ends else -1
    while k >= 0:
        used[k] = True
        k = int(before[k])
    return used


def _implausible(record: Record, cell: CellModel, used: np.ndarray) -> Counter[str]:
    """Count what was not used, beside what the estimator counts itself."""
    low, high = cell.voltage_min - VOLTAGE_MARGIN, cell.voltage_max + VOLTAGE_MARGIN
    cold, hot = TEMPERATURE_RANGE
    voltage, temperature = record.voltage[used], record.temperature[used]
    counts = {
        'rows whose time does not rise': ~used,
        'voltages that no cell can have': (voltage < low) | (voltage > high),
        'temperatures that no cell can have': (temperature < cold) | (temperature > hot),
    }
    return Counter({what: int(mask.sum()) for what, mask in counts.items() if mask.any()})


def one_cell_pack(record: Record, cell: CellModel) -> Pack:
    """Return a pack of one cell whose sensors report as often as the recording has rows."""
    steps = np.diff(record.time)
    rising = steps[steps > 0]
    period = float(np.clip(np.median(rising), 1e-3, LONGEST_PERIOD)) if len(rising) else 1.0
    strongest = np.nanmax(np.abs(record.current), initial=0.0)
    most = min(max(strongest, cell.capacity), STRONGEST * cell.capacity)
    sensor = CurrentSensor('none', 0, period, period, most)
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
