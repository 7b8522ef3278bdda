# SPDX-License-Identifier: Apache-2.0
"""CAN logs as CSV of GVRET and SavvyCAN: a row per frame, its time in us."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import can

_FIRST = ['Time Stamp', 'ID', 'Extended']  # how the header begins
_DATA = 6  # columns before the first byte with 'Dir' in it; older ones lack that


def is_gvret(path: Path) -> bool:
    """Tell whether a file is one by its header."""
    try:
        with path.open(encoding='utf-8', errors='replace', newline='') as file:
            return [word.strip() for word in file.readline().split(',')][:3] == _FIRST
    except OSError:
        return False


def read_gvret(path: Path, problems: Counter[str]) -> Iterator[can.Message]:
    """Yield the frames of a log; rows that are malformed are counted."""
    with path.open(encoding='utf-8', errors='replace', newline='') as file:
        reader = csv.reader(file)
        header = [word.strip() for word in next(reader, [])]
        first = _DATA if 'Dir' in header else _DATA - 1
        for row in reader:
            if not row:
                continue
            try:
                length = int(row[first - 1])
                data = bytes(int(word, 16) for word in row[first : first + length])
                message = can.Message(
                    timestamp=int(row[0]) * 1e-6,
                    arbitration_id=int(row[1], 16),
                    is_extended_id=row[2].strip().lower() in ('true', '1'),
                    data=data,
                    check=True,
                )
            except (ValueError, IndexError):
                problems['lines malformed'] += 1
                continue
            yield message
