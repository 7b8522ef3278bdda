# SPDX-License-Identifier: Apache-2.0
"""Measured cycles with their true SOC, and what goes wrong with them in a vehicle.

The data are not part of the project: $DBMS_DATA, or ../shared/data beside the repository. The
reference is the tester's charge counter, over the charge that full and empty refer to.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dbms_estimation.identification.laboratory import Measurement, read_layout, read_measurement
from dbms_estimation.records import Record
from dbms_pack.model import CellModel, FloatArray

ROOT = Path(__file__).resolve().parents[1]
ROOM = 25.0  # degC
LEFT_OUT = 120.0  # s: a gap in which the logger of a pulse test left out a discharge
FILLED = 4.0  # s between rows put there instead
QUIET = 4.0  # s between the rows that are kept where neither current nor voltage changes
UNCHANGED = (0.005, 0.0005)  # A, V


@dataclass(frozen=True)
class Kind:
    """Files of one sort: what a row of the tables is called after, and how their SOC begins."""

    cell: str
    pattern: str
    name: str
    degrees: str = r'(n|-)?(\d+)degC'  # regular expression in the path: the temperature's label
    room: bool = False  # at 25 degC whatever the file says
    trained: bool = False  # such files made the cell file
    ends_full: bool = False
    ends_empty: bool = False


_A123 = r'_([NP])(\d+)_'
KINDS = (
    Kind('lg_hg2', 'lg_hg2/*/*_Mixed?_processed.csv.gz', 'Mixed', trained=True),
    Kind('lg_hg2', 'lg_hg2/*/*_UDDS_processed.csv.gz', 'UDDS', trained=True),
    Kind('lg_hg2', 'lg_hg2/*/*_LA92_processed.csv.gz', 'LA92', trained=True),
    Kind('lg_hg2', 'lg_hg2/40degC/*_HPPC_processed.csv.gz', 'HPPC', trained=True),
    Kind('lg_hg2', 'lg_hg2/n20degC/*_HPPC_processed.csv.gz', 'HPPC', trained=True),
    Kind('lg_hg2', 'lg_hg2/40degC/*_Cap_1C_processed.csv.gz', '1C'),
    Kind('lg_hg2', 'lg_hg2/n20degC/*_Cap_1C_processed.csv.gz', '1C', trained=True),
    Kind('a123_m1a', 'a123_m1a/dyn/*_s1.csv.gz', 's1', _A123, trained=True),
    Kind('a123_m1a', 'a123_m1a/dyn/*_s2.csv.gz', 's2', _A123, room=True, ends_empty=True),
    Kind('a123_m1a', 'a123_m1a/dyn/*_s3.csv.gz', 's3', _A123, room=True, ends_full=True),
    Kind('tbsi_lfp', 'tbsi_lfp/With_*.mat', 'cc', r'_(-)?(\d+)_degree', trained=True),
    Kind('ncr18650pf', 'ncr18650pf/*/*_5Pulse_HPPC_*.mat', 'HPPC', trained=True),
    Kind('ncr18650pf', 'ncr18650pf/25degC/*_3349_Dis1C_?.mat', '1C', trained=True),
)


@dataclass(frozen=True)
class Cycle:
    """One recording with its true SOC; `start` is the SOC the estimators are told."""

    cell: str
    name: str
    kind: Kind
    degrees: int
    condition: str
    record: Record
    truth: FloatArray
    start: float
    seed: int = 0


def data_folder() -> Path:
    """Return where the measurements are looked for."""
    return Path(os.environ.get('DBMS_DATA', ROOT.parent / 'shared' / 'data'))


def paths(wanted: str) -> Iterator[tuple[Kind, Path]]:
    """Yield the files whose path holds `wanted`."""
    for kind in KINDS:
        for path in sorted(data_folder().glob(kind.pattern)):
            if wanted in f'{kind.cell}/{path.relative_to(data_folder())}':
                yield kind, path


def read(kind: Kind, path: Path, cell: CellModel) -> Cycle:
    """Read a file as it was measured: clean, from its true start."""
    layout = read_layout(ROOT / 'config' / 'laboratories' / f'{kind.cell}.yaml')
    m = _thinned(_to_reset(read_measurement(path, layout)))
    if kind.room:
        m = replace(m, temperature=np.full(len(m.time), ROOM))
    found = re.search(kind.degrees, str(path))
    degrees = int(found[2]) * (-1 if found[1] in ('N', 'n', '-') else 1) if found else 25
    charge = m.charge / _capacity(cell, degrees, layout.capacity)
    first = 1.0 - charge[-1] if kind.ends_full else 1.0
    first = -charge[-1] if kind.ends_empty else first
    first = m.begins if np.isfinite(m.begins) else first
    record, truth = _filled(m, first + charge)
    label = int(ROOM) if kind.room else degrees
    name = path.name.split('.')[0].removesuffix('_processed')[:24]
    return Cycle(kind.cell, name, kind, label, 'clean', record, truth, float(np.clip(first, 0, 1)))


def _capacity(cell: CellModel, degrees: float, of_layout: float | None) -> float:
    """Return the charge in Ah that the SOC of a file refers to."""
    if len(cell.capacities[0]):
        return float(np.interp(degrees, *cell.capacities))
    return of_layout or cell.capacity


def _to_reset(m: Measurement) -> Measurement:
    """Leave out what comes after the tester's counter was reset."""
    counted = np.diff(m.charge)
    flowed = 0.5 * (m.current[1:] + m.current[:-1]) * np.diff(m.time) / 3600.0
    resets = np.flatnonzero((np.abs(counted - flowed) > 0.05) & (counted > 0.5))
    return m.rows(slice(0, resets[0] + 1)) if len(resets) else m


def _thinned(m: Measurement) -> Measurement:
    """Leave out rows of a rest, as loggers do: a pulse test rests for most of its day."""
    kept, last = [], -1
    amps, volts = UNCHANGED
    time, current, voltage = m.time.tolist(), m.current.tolist(), m.voltage.tolist()
    for k in range(len(time)):
        changed = last < 0 or abs(current[k] - current[last]) > amps
        changed = changed or abs(voltage[k] - voltage[last]) > volts
        # The row before a change ends the rest.
        changed = changed or (k + 1 < len(time) and abs(current[k + 1] - current[k]) > amps)
        if changed or time[k] - time[last] >= QUIET:
            kept.append(k)
            last = k
    return m.rows(np.array(kept))


def _filled(m: Measurement, truth: FloatArray) -> tuple[Record, FloatArray]:
    """Put a constant current where the logger left a discharge out, as the counter tells it."""
    pieces = [np.stack([m.time, m.current, m.voltage, m.temperature, truth])]
    dt, gained = np.diff(m.time), np.diff(m.charge)
    flowed = 0.5 * (m.current[1:] + m.current[:-1]) * dt / 3600.0
    for k in np.flatnonzero((dt > LEFT_OUT) & (np.abs(gained - flowed) > 0.005)):
        times = np.arange(m.time[k] + 1.0, m.time[k + 1] - 1.0, FILLED)
        way = (times - times[0]) / (times[-1] - times[0])
        amps = 3600.0 * gained[k] / (times[-1] - times[0])
        columns = [times, np.full(len(times), amps), np.full(len(times), np.nan)]
        columns += [np.full(len(times), m.temperature[k])]
        pieces.append(np.stack([*columns, truth[k] + way * (truth[k + 1] - truth[k])]))
    rows = np.concatenate(pieces, axis=1)
    rows = rows[:, np.argsort(rows[0], kind='stable')]
    return Record(*rows[:4]), rows[4]


def perturbed(cycle: Cycle, cell: CellModel, seed: int) -> Cycle:
    """Spoil a cycle by a seed.

    It starts somewhere in the first third and is told an SOC that is 20 to 30 % wrong; current
    with an offset of up to 1 % of 1C and a gain error of up to 1 %; noise on everything; rows
    missing and fields blank.
    """
    rng = np.random.default_rng([seed, *cycle.name.encode()])
    record, capacity = cycle.record, cell.capacity
    count = len(cycle.truth)
    first = int(count * rng.uniform(0.0, 0.35))
    first += int(np.argmax(np.isfinite(record.voltage[first:])))  # not where rows were put in
    missing, blank = np.arange(count) < first, np.zeros(count, dtype=bool)
    for which in (missing, missing, missing, blank, blank):
        gap = rng.integers(first + 10, max(count - 40, first + 11))
        which[gap : gap + rng.integers(3, 20)] = True
    kept = ~missing
    truth, rows = cycle.truth[kept], int(kept.sum())
    current = record.current[kept] * (1 + rng.uniform(-0.01, 0.01))
    current += capacity * (rng.uniform(-0.01, 0.01) + rng.normal(0, 0.005, rows))
    voltage = record.voltage[kept] + rng.normal(0, 0.002, rows)
    voltage[blank[kept]] = np.nan
    temperature = record.temperature[kept] + rng.normal(0, 0.3, rows)
    wrong = rng.uniform(0.2, 0.3) * rng.choice([-1, 1])
    start = truth[0] + wrong if 0 <= truth[0] + wrong <= 1 else truth[0] - wrong
    spoilt = Record(record.time[kept], current, voltage, temperature)
    start = float(np.clip(start, 0.0, 1.0))
    changes = {'record': spoilt, 'truth': truth, 'start': start, 'seed': seed}
    return replace(cycle, condition='perturbed', **changes)


def without_temperature(cycle: Cycle) -> Cycle:
    """Return the cycle with a blank column of temperature."""
    blank = np.full(len(cycle.truth), np.nan)
    return replace(cycle, record=replace(cycle.record, temperature=blank))
