# SPDX-License-Identifier: Apache-2.0
"""Reading measured data: CSV files as laboratories write them, plain or gzipped.

Lines before the header are skipped, columns are found by name, commas at line ends do not
matter. A file that cannot be played is refused with file, line, column, value and remedy.
"""

import csv
import gzip
import itertools
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dbms_pack.model import Pack

FloatArray = npt.NDArray[np.float64]

HEADER_WITHIN = 200  # lines
_UNIT = r'(\s*[\[(_/ ]\s*(s|sec|seconds|v|volts?|a|amps?|c|deg_?c|°c)\s*[\])]?)?'
_NUMBER = r'[\s_]*[a-z]?[\s_]*\d+'


class RecordingError(ValueError):
    """A file that cannot be played, and why."""


@dataclass(frozen=True)
class Columns:
    """Regular expressions for the names of columns; they match whole names in any case.

    For time the first pattern that matches decides. Cells, temperatures and currents are taken
    in the order of the file.
    """

    time: Sequence[str] = ('total time', rf'(test|elapsed)?[\s_]*time{_UNIT}', rf't{_UNIT}')
    current: str = rf'(pack|string|battery)?[\s_]*(current|i){_UNIT}'
    cell: str = rf'(cell[\s_]*)?(voltage|volt|v|u|cell){_NUMBER}([\s_]*(voltage|v))?{_UNIT}'
    temperature: str = rf'(cell[\s_]*)?(temperature|temp|t){_NUMBER}{_UNIT}'


@dataclass(frozen=True)
class Recording:
    """Measured rows: what was sampled, and when."""

    path: Path
    time: FloatArray  # (n,) s, ascending, as in the file
    current: FloatArray  # (n, strings) A, positive = charging
    voltages: FloatArray  # (n, cells) V
    temperatures: FloatArray  # (n, sensors) degC
    notes: tuple[str, ...] = field(default=())  # what was remarkable in the file

    def row(self, time: float) -> int:
        """Return the row of the sample that was taken at `time` or last before it."""
        return max(0, int(np.searchsorted(self.time, time, side='right')) - 1)


@dataclass(frozen=True)
class _Header:
    line: int
    delimiter: str
    names: list[str]
    time: int
    current: list[int]
    cells: list[int]
    temperatures: list[int]


def read_recording(path: Path, pack: Pack, columns: Columns = Columns()) -> Recording:  # noqa: B008
    """Read a recording of `pack`; RecordingError says what is wrong with it.

    It needs as many columns of cells as the pack has, and a current for each string. A cell,
    temperature or current that is empty or NaN counts as not measured, as does a temperature
    sensor that the file does not have.
    """
    recording = _read(path, columns, cells_needed=True)
    notes = list(recording.notes)
    found = recording.voltages.shape[1]
    if found != pack.cells:
        raise RecordingError(
            f'{path}: {found} columns of cell voltages, but pack {pack.name} has {pack.cells} '
            f'cells; play it on a pack with {found} cells, or name the columns like "Cell 1"'
        )
    strings = recording.current.shape[1]
    if strings != len(pack.strings):
        raise RecordingError(
            f'{path}: {strings} columns of current, but pack {pack.name} has '
            f'{len(pack.strings)} strings; there must be one for each string'
        )
    temperatures, told = _fit(recording.temperatures, pack.temperatures)
    return Recording(
        path,
        recording.time,
        recording.current,
        recording.voltages,
        temperatures,
        (*notes, *told),
    )


def read_profile(path: Path, columns: Columns = Columns()) -> Recording:  # noqa: B008
    """Read a load profile: time and one current; every row must be measured."""
    recording = _read(path, columns, cells_needed=False)
    if np.isnan(recording.current).any():
        raise RecordingError(f'{path}: a load profile needs a current in every row')
    return recording


def _fit(temperatures: FloatArray, sensors: int) -> tuple[FloatArray, list[str]]:
    found = temperatures.shape[1]
    if found == sensors:
        return temperatures, []
    fitted = np.full((len(temperatures), sensors), np.nan)
    used = min(found, sensors)
    fitted[:, :used] = temperatures[:, :used]
    return fitted, [f'{found} columns of temperature for {sensors} sensors: {used} used']


def _read(path: Path, columns: Columns, cells_needed: bool) -> Recording:
    try:
        raw = path.read_bytes()
        if raw[:2] == b'\x1f\x8b':
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise RecordingError(f'{path}: cannot be read: {error}') from None
    lines = raw.decode('utf-8-sig', errors='replace').replace('\0', '\ufffd').splitlines()
    header = _find_header(path, lines, columns, cells_needed)
    numbers, values = _parse(path, lines, header)
    return _arrange(path, header, numbers, values)


def _find_header(path: Path, lines: list[str], columns: Columns, cells_needed: bool) -> _Header:
    best: tuple[int, str] | None = None  # how many kinds of column, and what is missing
    for number, line in enumerate(lines[:HEADER_WITHIN], start=1):
        for delimiter in ',;\t':
            names = [name.strip().strip('"') for name in line.split(delimiter)]
            header = _match(number, delimiter, names, columns)
            missing = [
                kind
                for kind, found in (
                    ('time', header.time >= 0),
                    ('current', header.current),
                    ('cell voltages', header.cells or not cells_needed),
                )
                if not found
            ]
            if not missing:
                return header
            if best is None or len(missing) < best[0]:
                best = len(missing), f'line {number} has no column for {" and ".join(missing)}'
    hint = f'; {best[1]}' if best and best[0] < 2 + cells_needed else ''
    raise RecordingError(
        f'{path}: no header in the first {HEADER_WITHIN} lines{hint}; it needs column names '
        'such as "Time", "Current"' + (', "Cell 1", "Cell 2", ..' if cells_needed else '')
    )


def _match(number: int, delimiter: str, names: list[str], columns: Columns) -> _Header:
    def matching(pattern: str) -> list[int]:
        regex = re.compile(pattern, re.IGNORECASE)
        return [i for i, name in enumerate(names) if name and regex.fullmatch(name)]

    times = itertools.chain.from_iterable(matching(pattern) for pattern in columns.time)
    cells = matching(columns.cell)
    current = [i for i in matching(columns.current) if i not in cells]
    return _Header(
        number,
        delimiter,
        names,
        next(times, -1),
        current,
        cells,
        [i for i in matching(columns.temperature) if i not in cells],
    )


def _parse(path: Path, lines: list[str], header: _Header) -> tuple[list[int], list[list[float]]]:
    """Return the line numbers and the numbers of the wanted columns of every row with data."""
    wanted = [header.time, *header.current, *header.cells, *header.temperatures]
    numbers: list[int] = []
    values: list[list[float]] = []
    for number, fields in _rows(path, lines, header):
        if not any(text.strip() for text in fields):
            continue
        if len(fields) <= max(wanted):
            raise RecordingError(
                f'{path}, line {number}: {len(fields)} fields, but column '
                f'"{header.names[max(wanted)]}" is number {max(wanted) + 1}; '
                'the file may be cut off: delete the line'
            )
        row = [_number(path, number, header.names[i], fields[i]) for i in wanted]
        if math.isnan(row[0]):
            raise RecordingError(
                f'{path}, line {number}, column "{header.names[header.time]}": no time; '
                'delete the line'
            )
        numbers.append(number)
        values.append(row)
    if not values:
        raise RecordingError(f'{path}: no rows after the header in line {header.line}')
    return numbers, values


def _rows(path: Path, lines: list[str], header: _Header) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines[header.line :], delimiter=header.delimiter)
    try:
        for fields in reader:
            yield header.line + reader.line_num, fields
    except csv.Error as error:
        raise RecordingError(f'{path}, line {header.line + reader.line_num}: {error}') from None


def _number(path: Path, line: int, column: str, text: str) -> float:
    """Return the number in a field; NaN for an empty one."""
    text = text.strip()
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise RecordingError(
            f'{path}, line {line}, column "{column}": \'{text}\' is not a number; '
            'correct it, or leave it empty where nothing was measured'
        )
    return value


def _arrange(
    path: Path, header: _Header, numbers: list[int], values: list[list[float]]
) -> Recording:
    table = np.array(values)
    time = table[:, 0]
    steps = np.diff(time)
    if (steps < 0).any():
        row = int(np.argmax(steps < 0)) + 1
        raise RecordingError(
            f'{path}, line {numbers[row]}, column "{header.names[header.time]}": {time[row]:g} s '
            f'is before the {time[row - 1]:g} s of line {numbers[row - 1]}; time may not go '
            'backwards: sort the lines, or cut the file there'
        )
    notes = []
    # Of several rows with one time the last was measured last.
    keep = np.append(steps > 0, True)
    if not keep.all():
        notes.append(f'{int((~keep).sum())} rows with the time of the next row left out')
    table = table[keep]
    missing = int(np.isnan(table).sum())
    if missing:
        notes.append(f'{missing} values not measured')
    bounds = np.cumsum([1, len(header.current), len(header.cells), len(header.temperatures)])
    current, voltages, temperatures = (table[:, a:b] for a, b in itertools.pairwise(bounds))
    return Recording(path, table[:, 0], current, voltages, temperatures, tuple(notes))
