# SPDX-License-Identifier: Apache-2.0
"""Reading CAN logs of other tools. What is malformed in them is left out and counted."""

import heapq
import io
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import can
from can.io.blf import BLFParseError

from .gvret import is_gvret, read_gvret

MALFORMED = 'lines malformed'
ENDLESS = 'files without an end'
TEXTS = {'.log': can.CanutilsLogReader, '.asc': can.ASCReader, '.trc': can.TRCReader}
LOGS = (*TEXTS, '.blf')
# What the readers of python-can raise on content that is none.
UNREADABLE = (
    ValueError, IndexError, KeyError, NotImplementedError, AssertionError, struct.error,
    zlib.error, can.CanError, BLFParseError,
)  # fmt: skip


class LogError(ValueError):
    """A log that cannot be read at all, and why."""


def frames_of(
    files: Mapping[str, Path], problems: Counter[str]
) -> Iterator[tuple[str, can.Message]]:
    """Read CAN logs, one per bus of the pack, together in the order of their times."""
    streams = [_log(bus, path, problems) for bus, path in files.items()]
    return heapq.merge(*streams, key=lambda pair: pair[1].timestamp)


def _log(bus: str, path: Path, problems: Counter[str]) -> Iterator[tuple[str, can.Message]]:
    suffix = path.suffix.lower()
    if not is_gvret(path) and suffix not in LOGS:
        raise LogError(f'{path}: no CAN log; known are {", ".join(LOGS)} and CSV of GVRET')
    try:
        if is_gvret(path):
            messages = read_gvret(path, problems)
        elif suffix == '.blf':
            messages = _binary(path, problems)
        else:
            messages = _text(path, suffix, problems)
        for message in messages:
            if 0.0 <= message.timestamp < 2**31:  # not so if it is NaN
                yield bus, message
            else:
                problems['frames without a time'] += 1
    except OSError as error:
        raise LogError(f'{path}: {error.strerror}') from None


def _text(path: Path, suffix: str, problems: Counter[str]) -> Iterator[can.Message]:
    with path.open(encoding='utf-8', errors='replace') as file:
        lines = _Lines(file)
        while True:
            try:
                for message in TEXTS[suffix](lines):
                    lines.begin()
                    yield message
                return
            except UNREADABLE as error:
                if not lines.begun:
                    raise LogError(f'{path}: not readable as {suffix}: {error}') from None
                problems[MALFORMED] += 1
                lines.again()


class _Lines(io.TextIOBase):
    """Lines of a log for a reader that gives up at one that is malformed.

    The next reader gets the head of the log again, and then what comes after that line.
    """

    def __init__(self, file: io.TextIOBase) -> None:
        self._file = file
        self._head: list[str] = []
        self._place = 0
        self.begun = False

    def begin(self) -> None:
        """End the head: the line read last was the first frame."""
        if not self.begun:
            self.begun = True
            self._place = len(self._head)
            self._head.pop()

    def again(self) -> None:
        """Begin with the head once more."""
        self._place = 0

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        if self._place < len(self._head):
            self._place += 1
            return self._head[self._place - 1]
        line = self._file.readline()
        if not self.begun:
            self._head.append(line)
            self._place += 1
        return line

    def close(self) -> None:
        """Stay open: readers close what they have read."""


def _binary(path: Path, problems: Counter[str]) -> Iterator[can.Message]:
    begun = False
    try:
        with can.BLFReader(str(path)) as reader:
            for message in reader:
                begun = True
                yield message
            problems[ENDLESS] += path.stat().st_size < reader.file_size
    except UNREADABLE as error:
        if not begun:
            raise LogError(f'{path}: not readable as .blf: {error}') from None
        problems[ENDLESS] += 1
