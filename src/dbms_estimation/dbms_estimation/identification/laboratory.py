# SPDX-License-Identifier: Apache-2.0
"""Files of laboratories, as they are, by a small YAML that says what their columns mean."""

import gzip
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dbms_pack.model import FloatArray

_KEYS = {
    *('time', 'current', 'voltage', 'temperature'),
    *('charge', 'charged', 'discharged', 'soc'),
}


_FULL = 0.001  # of the charge that was moved


class LaboratoryError(ValueError):
    """A laboratory file, or the YAML that describes it, cannot be used; the text says why."""


@dataclass(frozen=True)
class Layout:
    """What the files of one laboratory mean, and what is known of the cell beside them."""

    path: Path
    columns: Mapping[str, str]
    cell: Mapping[str, Any]  # chemistry, source, voltage, thermal: go into the cell file as is
    discharge_positive: bool = False
    temperature_in_name: str = ''  # regular expression: a sign or N, P and a number
    ocv_table: Mapping[str, str] | None = None  # soc [%], charge, discharge [V] in a .mat
    capacity: float | None = None  # Ah, what SOC 1..0 is to mean; else of the OCV file
    row_period: float | None = None  # s, where there is no column of time
    also: Sequence[Mapping[str, Any]] = ()  # other columns, for files that lack these
    from_full: bool = False  # a file counts from where its charge is highest
    ocv_from_rests: bool = False  # of a pulse test, where no slow discharge was measured
    ocv_matched: bool = False  # bring its SOC in line with the rests of the pulses near 25 degC
    match_capacity: bool = False  # find it for each temperature from the rests of the pulses
    capacities: Mapping[float, float] | None = None  # Ah at degC, where the cell aged on the way
    saturation: float = math.inf  # V, at which the voltage of R0 bends
    time_constants: Sequence[float] = (40.0, 1200.0)  # s, of the RC pairs, the faster first
    ocv_by_temperature: float = 0.0  # V/K that is expected; above 0 it is found from all files
    hysteresis: bool = True  # whether there is any; without, the OCV is that of the discharge
    left_out: bool = False  # whether model_error is that of cycles that are left out of the fit
    hysteresis_soc: float = 0.05  # SOC that takes the hysteresis from the middle to an edge
    activation: float = 3500.0  # K, of the resistances: how they go with temperature unmeasured
    load_error: float | None = None  # model_error.load of the cell file
    # soc [1], voltage [V/K]: how the OCV goes with temperature, where one does not tell it
    entropic: Mapping[str, Sequence[float]] | None = None


@dataclass(frozen=True)
class Measurement:
    """One file; arrays of the shape (rows,)."""

    path: Path
    time: FloatArray  # s
    current: FloatArray  # A, charging positive
    voltage: FloatArray  # V
    temperature: FloatArray  # degC
    charge: FloatArray  # Ah, of the tester's counter, 0 at the first row
    begins: float = np.nan  # SOC of the first row, where the file says it

    def rows(self, which: Any) -> 'Measurement':
        """Return some of the rows."""
        return replace(
            self,
            time=self.time[which],
            current=self.current[which],
            voltage=self.voltage[which],
            temperature=self.temperature[which],
            charge=self.charge[which],
        )


def read_layout(path: Path) -> Layout:
    """Read the YAML that describes the files; raises LaboratoryError."""
    try:
        data = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise LaboratoryError(f'{path}: {error}') from error
    if not isinstance(data, dict) or not isinstance(data.get('columns'), dict):
        raise LaboratoryError(f'{path}: columns: missing; a mapping of {", ".join(sorted(_KEYS))}')
    for name in set(data['columns']) - _KEYS:
        raise LaboratoryError(
            f'{path}: columns.{name}: unknown; one of {", ".join(sorted(_KEYS))}'
        )
    known = set(Layout.__dataclass_fields__) - {'path'}
    for name in set(data) - known:
        raise LaboratoryError(f'{path}: {name}: unknown; one of {", ".join(sorted(known))}')
    if not isinstance(data.get('cell'), dict):
        raise LaboratoryError(f'{path}: cell: missing; chemistry, source, voltage and thermal')
    layout = Layout(path, **data)
    _check_circuit(layout)
    return layout


def _check_circuit(layout: Layout) -> None:
    """Raise LaboratoryError for numbers the circuit cannot have."""

    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    if not is_number(layout.saturation) or not layout.saturation >= 0.01:
        raise LaboratoryError(
            f'{layout.path}: saturation: {layout.saturation!r}; at least 0.01 V, or left out'
        )
    for name, least, most in (('hysteresis_soc', 0.001, 1.0), ('activation', 0.0, 20000.0)):
        value = getattr(layout, name)
        if not is_number(value) or not least <= value <= most:
            raise LaboratoryError(f'{layout.path}: {name}: {value!r}; {least:g} to {most:g}')
    share = layout.load_error
    if share is not None and not (is_number(share) and 0.0 < share <= 1.0):
        raise LaboratoryError(f'{layout.path}: load_error: {share!r}; above 0 and up to 1')
    for name in ('hysteresis', 'left_out', 'ocv_matched'):
        if not isinstance(getattr(layout, name), bool):
            raise LaboratoryError(
                f'{layout.path}: {name}: {getattr(layout, name)!r}; true or false'
            )
    _check_entropic(layout, is_number)
    change = layout.ocv_by_temperature
    if not is_number(change) or not 0.0 <= change <= 0.01:
        raise LaboratoryError(f'{layout.path}: ocv_by_temperature: {change!r}; 0 to 0.01 V/K')
    known = layout.capacities
    if known is not None and not (
        isinstance(known, Mapping)
        and all(is_number(place) and is_number(value) for place, value in known.items())
        and all(0.0 < value < 10000.0 for value in known.values())
    ):
        raise LaboratoryError(f'{layout.path}: capacities: {known!r}; Ah at each of some degC')
    taus = layout.time_constants
    if not (isinstance(taus, Sequence) and len(taus) == 2 and all(map(is_number, taus))):
        raise LaboratoryError(f'{layout.path}: time_constants: {taus!r}; two numbers in s')
    if not 0.0 < taus[0] < taus[1] < 1e6:
        raise LaboratoryError(f'{layout.path}: time_constants: {taus!r}; rising, in s')


def _check_entropic(layout: Layout, is_number: Callable[[Any], bool]) -> None:
    table: Any = layout.entropic
    if table is None:
        return
    given = table if isinstance(table, dict) else {}
    rows = [row for row in (given.get('soc'), given.get('voltage')) if isinstance(row, list)]
    same = len(rows) == 2 and len(rows[0]) == len(rows[1]) > 0
    if not same or not all(is_number(value) for row in rows for value in row):
        raise LaboratoryError(f'{layout.path}: entropic: soc and voltage, lists of one length')


def read_measurement(path: Path, layout: Layout) -> Measurement:
    """Read a .csv, .csv.gz or .mat file; raises LaboratoryError."""
    layouts = [layout, *(replace(layout, **other) for other in layout.also)]
    problem: LaboratoryError | None = None
    for one in layouts:
        try:
            return _measurement(path, one)
        except LaboratoryError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _measurement(path: Path, layout: Layout) -> Measurement:
    table = _matlab(path) if path.suffix == '.mat' else _text(path, layout)
    wanted = {key: name.lower() for key, name in layout.columns.items()}
    for key, name in wanted.items():
        if name not in table:
            near = ', '.join(sorted(table)[:12])
            raise LaboratoryError(f'{path}: {key}: no column {name!r}; there are: {near}')
    get = {key: np.asarray(table[name], dtype=float) for key, name in wanted.items()}
    current = -get['current'] if layout.discharge_positive else get['current']
    rows = len(current)
    period = layout.row_period
    time = np.arange(rows, dtype=float) * period if period else get['time']
    temperature = get.get('temperature')
    if temperature is None:
        temperature = np.full(rows, _named_temperature(path, layout))
    counter = _counter(get, layout)
    finite = np.isfinite(time + current + get['voltage'] + temperature + counter)
    rising = finite & (time > np.maximum.accumulate(np.r_[-np.inf, time[:-1]]))
    if rising.sum() < 10:
        raise LaboratoryError(f'{path}: only {rising.sum()} usable rows')
    begins = float(get['soc'][rising][0]) if 'soc' in get else np.nan
    whole = Measurement(path, time, current, get['voltage'], temperature, counter, begins)
    kept = whole.rows(rising)
    kept = replace(kept, charge=kept.charge - kept.charge[0])
    if layout.from_full:
        # An offset of the sensor goes on counting while the full cell rests.
        full = kept.charge >= kept.charge.max() - _FULL * np.ptp(kept.charge)
        kept = kept.rows(slice(int(full.argmax()), None))
        kept = replace(kept, charge=kept.charge - kept.charge[0], begins=1.0)
    return kept


def _counter(get: Mapping[str, np.ndarray], layout: Layout) -> FloatArray:
    if 'soc' in get:
        return get['soc'] * (layout.capacity or 1.0)
    if 'charge' in get:
        return get['charge']
    if 'charged' in get:
        return get['charged'] - get['discharged']
    # No counter: a row tells the current since the row before it.
    current = -get['current'] if layout.discharge_positive else get['current']
    known = np.isfinite(get['time'] + current)
    steps = np.diff(get['time'][known], prepend=get['time'][known][:1])
    counter = np.full(len(current), np.nan)
    counter[known] = np.cumsum(current[known] * steps) / 3600.0
    return counter


def _named_temperature(path: Path, layout: Layout) -> float:
    match = re.search(layout.temperature_in_name or r'(?!)', path.name)
    if match is None:
        raise LaboratoryError(
            f'{path}: no temperature; give columns.temperature or temperature_in_name'
        )
    return float(match[2]) * (-1.0 if match[1] in ('N', 'n', '-') else 1.0)


def _text(path: Path, layout: Layout) -> dict[str, np.ndarray]:
    opener = gzip.open if path.suffix == '.gz' else open
    try:
        with opener(path, 'rt', encoding='latin-1') as file:
            lines = file.read().splitlines()
    except (OSError, EOFError) as error:
        raise LaboratoryError(f'{path}: {error}') from error
    wanted = {name.lower() for name in layout.columns.values()}
    if all(re.fullmatch(r'#\d+', name) for name in wanted):  # no header: by number, from 1
        return _fields(lines, {name: int(name[1:]) - 1 for name in wanted}, path)
    headers = [[field.strip().lower() for field in line.split(',')] for line in lines[:100]]
    start = next((k for k, fields in enumerate(headers) if wanted <= set(fields)), None)
    if start is None:
        raise LaboratoryError(f'{path}: no header with {", ".join(layout.columns.values())}')
    header = headers[start]
    return _fields(lines[start + 1 :], {name: header.index(name) for name in wanted}, path)


def _fields(lines: Sequence[str], places: Mapping[str, int], path: Path) -> dict[str, np.ndarray]:
    """Return columns by their place in a row; what is no number becomes NaN."""
    try:
        values = np.genfromtxt(
            lines, delimiter=',', usecols=list(places.values()), invalid_raise=False, loose=True
        )
    except (ValueError, IndexError) as error:
        raise LaboratoryError(f'{path}: {error}') from error
    values = np.atleast_2d(values)
    if values.shape[1] != len(places):
        raise LaboratoryError(f'{path}: rows are too short for {", ".join(places)}')
    return dict(zip(places, values.T, strict=True))


def _matlab(path: Path) -> dict[str, np.ndarray]:
    """Return every vector in a .mat, those in a struct as struct.field, names in lower case."""
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise LaboratoryError(f'{path}: .mat needs scipy: ./dbms test installs it') from error
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except (OSError, ValueError, NotImplementedError) as error:
        raise LaboratoryError(f'{path}: {error}') from error
    table = {}
    for name, value in content.items():
        for field in getattr(value, '_fieldnames', ()):
            table[f'{name}.{field}'.lower()] = getattr(value, field)
        if isinstance(value, np.ndarray) and value.dtype != object:
            table[name.lower()] = value
    return table


def read_ocv_table(path: Path, layout: Layout) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return SOC 0..1 and the OCV in V after charge and after discharge from a .mat."""
    names = layout.ocv_table or {}
    table = _matlab(path)
    missing = [name for name in names.values() if name.lower() not in table]
    if missing:
        raise LaboratoryError(f'{path}: no {", ".join(missing)}; there are {", ".join(table)}')
    soc, up, down = (table[names[key].lower()] for key in ('soc', 'charge', 'discharge'))
    return np.asarray(soc, dtype=float) / 100.0, np.asarray(up, float), np.asarray(down, float)
