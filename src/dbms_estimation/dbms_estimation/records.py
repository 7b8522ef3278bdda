# SPDX-License-Identifier: Apache-2.0
"""Recordings of one cell as CSV: read with every fault named, and the estimate written."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dbms_pack.model import FloatArray

REQUIRED = ('time_s', 'current_A', 'voltage_V')
TEMPERATURE = 'temperature_degC'
_UNITS = {'time_s': 's', 'current_A': 'A', 'voltage_V': 'V', TEMPERATURE: 'degC'}


class RecordError(ValueError):
    """A recording that cannot be used: where, what was found, and what would be right."""

    def __init__(
        self, path: Path, line: int, column: str, found: str, remedy: str, more: int = 0
    ) -> None:
        self.path, self.line, self.column = path, line, column
        self.found, self.remedy = found, remedy
        place = f'{path}:{line}' if line else f'{path}'
        column = f' {column}:' if column else ''
        further = f' ({more} more like this)' if more else ''
        super().__init__(f'{place}:{column} {found}; {remedy}{further}')


@dataclass(frozen=True)
class Record:
    """A recording of one cell; each array of the shape (rows,), NaN where nothing was measured."""

    time: FloatArray  # s
    current: FloatArray  # A, charging positive
    voltage: FloatArray  # V
    temperature: FloatArray  # degC


def read_record(path: Path) -> Record:
    """Read columns time_s, current_A, voltage_V and, if there is one, temperature_degC.

    Blank means not measured and is allowed everywhere but in the time. Raises RecordError.
    """
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise RecordError(
            path, 0, '', f'byte {error.object[error.start]:#04x} is no UTF-8', 'save it as UTF-8'
        ) from error
    except OSError as error:
        raise RecordError(
            path, 0, '', error.strerror or 'cannot be read', 'name a CSV file that can be read'
        ) from error
    if '\0' in text:
        raise RecordError(path, 0, '', 'holds a null byte', 'name a CSV file, uncompressed')
    return _parse(text.splitlines(), path)


def _parse(lines: Sequence[str], path: Path) -> Record:
    rows = csv.reader(lines, delimiter=_separator(lines[0] if lines else ''))
    header = [name.strip() for name in next(rows, [])]
    places = _places(header, path)
    values: dict[str, list[float]] = {name: [] for name in places}
    try:
        for row in rows:
            if not row or not any(field.strip() for field in row):
                continue
            line = rows.line_num
            if len(row) != len(header):
                raise RecordError(
                    path, line, '', f'{len(row)} fields', f'{len(header)}, one per column'
                )
            for name, place in places.items():
                values[name].append(_number(row[place], path, line, name))
    except csv.Error as error:
        raise RecordError(path, rows.line_num, '', str(error), 'mend the line') from error
    count = len(values['time_s'])
    if not count:
        raise RecordError(path, 0, '', 'holds no row below its header', 'give at least one row')
    columns = {name: np.array(column) for name, column in values.items()}
    temperature = columns.get(TEMPERATURE, np.full(count, np.nan))
    time, current, voltage = (columns[name] for name in REQUIRED)
    return Record(time, current, voltage, temperature)


def _separator(header: str) -> str:
    """Return what stands between the names of a header: semicolons and tabs are used too."""
    return next((c for c in (',', ';', '\t') if c in header), ',')


def _places(header: list[str], path: Path) -> dict[str, int]:
    """Return the columns used and where they are."""
    known = ','.join((*REQUIRED, TEMPERATURE))
    for name in REQUIRED:
        if name not in header:
            found = ', '.join(header[:8]) or 'nothing'
            raise RecordError(
                path, 1, name, f'no such column among {found}', f'the header must be {known}'
            )
    for name in (*REQUIRED, TEMPERATURE):
        if header.count(name) > 1:
            raise RecordError(path, 1, name, f'is there {header.count(name)} times', 'keep one')
    return {name: header.index(name) for name in (*REQUIRED, TEMPERATURE) if name in header}


def _number(text: str, path: Path, line: int, column: str) -> float:
    text = text.strip()
    if (not text or text.lower() == 'nan') and column != 'time_s':
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        blank = '' if column == 'time_s' else ', or nothing where it was not measured'
        allowed = f'a number in {_UNITS[column]} with a decimal point{blank}'
        raise RecordError(path, line, column, repr(text), allowed)
    return value


def write_columns(path: Path, columns: dict[str, FloatArray]) -> None:
    """Write columns of equal length; NaN as nothing. The file is whole or not there."""
    temporary = path.with_name(path.name + '.part')
    try:
        with temporary.open('w', encoding='utf-8', newline='') as file:
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(columns)
            writer.writerows(_texts(columns.values()))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _texts(columns: Iterable[FloatArray]) -> Iterable[list[str]]:
    for row in zip(*columns, strict=True):
        yield ['' if math.isnan(value) else f'{value:.10g}' for value in row]
