# SPDX-License-Identifier: Apache-2.0
"""What happened, kept in an SQLite file: events with freeze frames, latched faults, wear.

Every call that writes is one transaction on the disk (write-ahead log, synchronous FULL): after a
crash the file holds it whole or not at all. The file is bounded: the oldest events and frames
give way. A file that cannot be used is renamed and never deleted. Nothing here raises for what is
wrong with a file or a disk: it is said, and guarding goes on.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

APPLICATION = 0x44424D45  # 'DBME', in the header of the file
VERSION = 1  # of the tables
EVENTS_KEPT = 20000
FRAMES_KEPT = 100
PAGES = 131072  # of 4096 bytes, which the file may have at most
PRUNE_EVERY = 100  # events
_SCHEMA = """
CREATE TABLE events (
    number INTEGER PRIMARY KEY, at REAL, kind TEXT, level TEXT, text TEXT, detail TEXT
);
CREATE TABLE frames (number INTEGER PRIMARY KEY, content BLOB);
CREATE TABLE latched (key TEXT PRIMARY KEY, detail TEXT);
CREATE TABLE wear (string TEXT, contactor TEXT, cycles INTEGER, loaded INTEGER, arcs REAL,
    PRIMARY KEY (string, contactor));
"""
_HEAT = 'CREATE TABLE IF NOT EXISTS heat (string TEXT PRIMARY KEY, joules REAL, at REAL)'
_WEAR = 'INSERT OR REPLACE INTO wear VALUES (?, ?, ?, ?, ?)'
_FAILURES = (sqlite3.Error, ValueError, OSError)


class Event(NamedTuple):
    """One thing that happened."""

    number: int
    at: float  # s since 1970, UTC
    kind: str  # fault, command, contactor, start
    level: str  # MOL, RSL, MSL, or '' for what is no fault
    text: str  # one sentence for a person
    detail: Mapping[str, Any]  # the same for a program


class WearRow(NamedTuple):
    """What a contactor has been through."""

    string: str
    contactor: str  # minus, precharge, plus
    cycles: int  # closings
    loaded: int  # openings under more than the break current
    arcs: float  # sum over those of (current / break current) squared


class EventLog:
    """The file, for one writer. Calls come from any thread, one at a time."""

    def __init__(self, path: Path, told: Callable[[str], None]) -> None:
        self.path = path
        self.problem = ''  # why nothing is kept now
        self._told = told
        self._base: sqlite3.Connection | None = None
        self._written = 0
        self._shift = 0  # of numbers, if the file could be read only after they had begun

    def open(self) -> int:
        """Open the file or begin a new one; return the number of the newest event."""
        for attempt in range(2):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._base = self._connect()
                self.problem = ''
                return _newest(self._base)
            except _FAILURES as error:
                self._drop()
                damaged = isinstance(error, ValueError) or _is_damage(error)
                if attempt or not damaged:
                    self._refuse(f'{error}')
                    return 0
                self._set_aside(f'{error}')
        return 0

    def _connect(self) -> sqlite3.Connection:
        base = sqlite3.connect(
            self.path, timeout=0.5, isolation_level=None, check_same_thread=False
        )
        try:
            base.execute('PRAGMA journal_mode = WAL')
            base.execute('PRAGMA synchronous = FULL')
            base.execute(f'PRAGMA max_page_count = {PAGES}')
            found = base.execute('PRAGMA application_id').fetchone()[0]
            if found == 0 and not base.execute('SELECT count(*) FROM sqlite_master').fetchone()[0]:
                base.executescript(
                    f'BEGIN; PRAGMA application_id = {APPLICATION}; '
                    f'PRAGMA user_version = {VERSION}; {_SCHEMA} COMMIT;'
                )
            elif found != APPLICATION:
                raise ValueError('is another file')
            elif base.execute('PRAGMA user_version').fetchone()[0] != VERSION:
                raise ValueError('is of another version')
            base.execute(_HEAT)
        except BaseException:
            base.close()
            raise
        return base

    # -- writing ------------------------------------------------------------------------------

    def append(
        self, events: Iterable[Event], latched: Mapping[str, Mapping[str, Any]] | None,
        wear: Iterable[WearRow],
    ) -> bool:  # fmt: skip
        """Write events, the latched faults if they changed, and wear; all or nothing."""
        rows = [(e.number, e.at, e.kind, e.level, e.text, json.dumps(e.detail)) for e in events]

        def work(base: sqlite3.Connection) -> None:
            if rows:  # what is there already stays
                self._shift = max(self._shift, _newest(base) + 1 - rows[0][0])
            moved = [(row[0] + self._shift, *row[1:]) for row in rows]
            base.executemany('INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)', moved)
            if latched is not None:
                base.execute('DELETE FROM latched')
                told = [(key, json.dumps(value)) for key, value in latched.items()]
                base.executemany('INSERT INTO latched VALUES (?, ?)', told)
            base.executemany(_WEAR, wear)

        done = self._write(work)
        self._written += len(rows)
        if self._written >= PRUNE_EVERY:
            self._written = 0
            self._write(_prune)
        return done

    def keep_frame(self, number: int, content: bytes) -> bool:
        """Keep the freeze frame of an event, in place of an earlier one."""
        return self._write(
            lambda base: base.execute(
                'INSERT OR REPLACE INTO frames VALUES (?, ?)', (number + self._shift, content)
            )
        )

    def keep_heat(self, rows: Iterable[tuple[str, float, float]]) -> bool:
        """Keep string, J and stamp of precharge resistors that are warm."""
        return self._write(
            lambda base: base.executemany('INSERT OR REPLACE INTO heat VALUES (?, ?, ?)', rows)
        )

    def writable(self) -> bool:
        """Try to write something that changes nothing; `problem` says why it cannot be done."""
        return self._write(lambda base: base.execute(f'PRAGMA user_version = {VERSION}'))

    def _write(self, work: Callable[[sqlite3.Connection], Any]) -> bool:
        if self._base is None:
            self.open()
        base = self._base
        if base is None:
            return False
        try:
            base.execute('BEGIN IMMEDIATE')
            work(base)
            base.execute('COMMIT')
        except _FAILURES as error:
            with suppress(*_FAILURES):
                base.execute('ROLLBACK')
            if _is_damage(error):
                self._drop()
                self._set_aside(f'{error}')
            else:
                self._refuse(f'not kept: {error}')
            return False
        self.problem = ''
        return True

    # -- reading ------------------------------------------------------------------------------

    def latched(self) -> list[dict[str, Any]]:
        """Return the faults that stood latched when last written."""
        return [json.loads(row[0]) for row in self._rows('SELECT detail FROM latched')]

    def wear(self) -> list[WearRow]:
        """Return what the contactors have been through."""
        return [WearRow(*row) for row in self._rows('SELECT * FROM wear')]

    def heat(self) -> list[tuple[str, float, float]]:
        """Return string, J and stamp of the precharge resistors, as they were kept last."""
        return [(str(name), float(joules), float(at)) for name, joules, at in
                self._rows('SELECT * FROM heat')]  # fmt: skip

    def _rows(self, query: str) -> list[Any]:
        if self._base is None:
            return []
        try:
            return self._base.execute(query).fetchall()
        except _FAILURES as error:
            self._refuse(f'cannot be read: {error}')
            return []

    def close(self) -> None:
        """Close the file; a call that writes opens it again."""
        self._drop()

    # -- trouble ------------------------------------------------------------------------------

    def _drop(self) -> None:
        base, self._base = self._base, None
        if base is not None:
            with suppress(*_FAILURES):
                base.close()

    def _set_aside(self, why: str) -> None:
        for number in range(1, 1000):
            aside = self.path.with_name(f'{self.path.name}.unusable.{number}')
            if not aside.exists():
                break
        with suppress(OSError):
            self.path.rename(aside)
            for suffix in ('-wal', '-shm'):
                side = self.path.with_name(self.path.name + suffix)
                if side.exists():
                    side.rename(aside.with_name(aside.name + suffix))
        self._told(f'{self.path}: {why}; set aside as {aside.name}, a new one is begun')

    def _refuse(self, why: str) -> None:
        if why != self.problem:
            self._told(f'{self.path}: {why}')
        self.problem = why


def _newest(base: sqlite3.Connection) -> int:
    return int(base.execute('SELECT coalesce(max(number), 0) FROM events').fetchone()[0])


def _is_damage(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, sqlite3.DatabaseError) and (
        'malformed' in text or 'not a database' in text or 'no such table' in text
    )


def _prune(base: sqlite3.Connection) -> None:
    """Let the oldest events and frames give way."""
    base.execute(
        'DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?', (EVENTS_KEPT,)
    )
    base.execute(
        'DELETE FROM frames WHERE number NOT IN '
        '(SELECT number FROM frames ORDER BY number DESC LIMIT ?)',
        (FRAMES_KEPT,),
    )


def read(path: Path, after: int = 0, last: int = EVENTS_KEPT) -> Iterator[Event]:
    """Yield the newest events of a file, also of one that is being written, oldest first.

    Raises OSError or sqlite3.Error if it cannot be read.
    """
    query = (
        'SELECT * FROM (SELECT * FROM events WHERE number > ? ORDER BY number DESC LIMIT ?) '
        'ORDER BY number'
    )
    with closing(_reader(path)) as base:
        for row in base.execute(query, (after, last)).fetchall():
            yield Event(row[0], row[1], row[2], row[3], row[4], json.loads(row[5]))


def read_frame(path: Path, number: int) -> bytes | None:
    """Return the freeze frame of an event; None: it has none."""
    with closing(_reader(path)) as base:
        row = base.execute('SELECT content FROM frames WHERE number = ?', (number,)).fetchone()
        return None if row is None else bytes(row[0])


def read_wear(path: Path) -> list[WearRow]:
    """Return what the contactors have been through."""
    with closing(_reader(path)) as base:
        rows = base.execute('SELECT * FROM wear ORDER BY string, contactor').fetchall()
    return [WearRow(*row) for row in rows]


def _reader(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    return sqlite3.connect(f'{path.absolute().as_uri()}?mode=ro', uri=True, timeout=2.0)
