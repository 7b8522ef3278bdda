# SPDX-License-Identifier: Apache-2.0
"""CSV files whose columns have other names and signs: written anew as the simulator plays them."""

import csv
import gzip
import io
import itertools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import yaml

_KEYS = {'time', 'current', 'positive', 'cells', 'temperatures'}


class FieldError(ValueError):
    """A layout or a file that does not fit, and where."""


@dataclass(frozen=True)
class Layout:
    """Which columns are what. Cells and sensors are patterns, in the order of the file."""

    time: str  # s, or a date
    current: str
    sign: float  # what makes charging positive
    cells: re.Pattern[str]
    temperatures: re.Pattern[str]


def read_layout(path: Path) -> Layout:
    """Read a layout file; FieldError says what is wrong with it."""
    try:
        content = yaml.safe_load(path.read_text('utf-8'))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise FieldError(f'{path}: {error}') from None
    if not isinstance(content, dict) or set(content) != _KEYS:
        raise FieldError(f'{path}: keys are {", ".join(sorted(_KEYS))}')
    if content['positive'] not in ('charge', 'discharge'):
        raise FieldError(f'{path}: positive: {content["positive"]!r}; charge or discharge')
    try:
        return Layout(
            str(content['time']), str(content['current']),
            1.0 if content['positive'] == 'charge' else -1.0,
            re.compile(str(content['cells'])), re.compile(str(content['temperatures'])),
        )  # fmt: skip
    except re.error as error:
        raise FieldError(f'{path}: {error}') from None


def rewrite(source: Path, target: Path, layout: Layout, first: int, count: int | None) -> int:
    """Write `count` rows from row `first` on; return how many. Time begins at 0."""
    with _text(source) as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        cells = _places(header, layout.cells)
        sensors = _places(header, layout.temperatures)
        missing = [name for name in (layout.time, layout.current) if name not in header]
        if missing or not cells:
            raise FieldError(f'{source}: no column {", ".join(missing) or layout.cells.pattern}')
        time, current = header.index(layout.time), header.index(layout.current)
        last = None if count is None else first + count
        with target.open('w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file)
            writer.writerow([
                'Time(s)', 'Current(A)', *(f'Cell {n + 1}(V)' for n in range(len(cells))),
                *(f'T{n + 1}(C)' for n in range(len(sensors))),
            ])  # fmt: skip
            rows = itertools.islice(reader, first, last)
            return sum(1 for _ in _rows(rows, writer, layout, (time, current, cells, sensors),
                                        f'{source}: row', first))  # fmt: skip


def _rows(
    rows: Iterator[list[str]],
    writer: Any,
    layout: Layout,
    places: tuple[int, int, list[int], list[int]],
    where: str,
    first: int,
) -> Iterator[None]:
    time, current, cells, sensors = places
    start = None
    for number, row in enumerate(rows, first):
        try:
            now = _seconds(row[time])
            start = now if start is None else start
            amperes = layout.sign * float(row[current]) if row[current].strip() else ''
            writer.writerow(
                [f'{now - start:g}', amperes, *(row[n] for n in cells), *(row[n] for n in sensors)]
            )
        except (ValueError, IndexError) as error:
            raise FieldError(f'{where} {number + 1}: {error}') from None
        yield


def _places(header: list[str], pattern: re.Pattern[str]) -> list[int]:
    return [index for index, name in enumerate(header) if pattern.fullmatch(name)]


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()


def _text(source: Path) -> TextIO:
    try:
        if source.suffix == '.zip':
            archive = zipfile.ZipFile(source)
            return io.TextIOWrapper(archive.open(archive.namelist()[0]), 'utf-8')
        if source.suffix == '.gz':
            return gzip.open(source, 'rt', encoding='utf-8', newline='')
        return source.open(encoding='utf-8', newline='')
    except (OSError, zipfile.BadZipFile, IndexError) as error:
        raise FieldError(f'{source}: {error}') from None
