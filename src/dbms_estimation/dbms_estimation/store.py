# SPDX-License-Identifier: Apache-2.0
"""What is kept over a restart, in an SQLite file that survives whatever happens to it.

One row for each cell of each board that was ever seen at a place, with a checksum of its own. A
save is one transaction: after a crash the file holds the save before or the one after. There is
one writer and it writes once a minute, so a rollback journal (with the directory synced) is safer
than WAL: between saves everything is in one file, which can be copied, and no shared memory is
needed. The file is locked as long as it is open: a second process is told so.

A file that cannot be used is renamed, with a number, and never deleted; one that is locked is in
use and left alone. Nothing here raises for what is wrong with a file: it is said.
"""

import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

APPLICATION = 0x44424D53  # 'DBMS', in the header of the file
VERSION = 1  # of the tables
KEPT_BOARDS = 4  # boards of one place that are remembered
PAGES = 65536  # of 4096 bytes, which the file may have
_MAGIC = b'SQLite format 3\0'
_SUFFIXES = ('', '-journal', '-wal', '-shm')
# Text of a damaged file need not be UTF-8, not even that of an error.
_FAILURES = (sqlite3.Error, ValueError)
_SCHEMA = """
CREATE TABLE cells (
    pack TEXT, string TEXT, module TEXT, serial INTEGER, cell INTEGER,
    stamp REAL, layout TEXT, content BLOB, checksum INTEGER,
    PRIMARY KEY (pack, string, module, serial, cell)
) WITHOUT ROWID
"""
_SAVE = 'INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)'
_PRUNE = """
DELETE FROM cells WHERE (pack, string, module, serial) IN (
    SELECT pack, string, module, serial FROM (
        SELECT pack, string, module, serial,
            row_number() OVER (PARTITION BY pack, string, module ORDER BY max(stamp) DESC) AS place
        FROM cells GROUP BY pack, string, module, serial
    ) WHERE place > ?
)
"""


class Record(NamedTuple):
    """What is kept of one cell, or, with an empty `module`, of the whole pack."""

    pack: str
    string: str
    module: str
    serial: int  # of the board, low 16 bits
    cell: int  # of the module, from 0
    stamp: float  # s, of the measurement it belongs to
    layout: str  # what the content means
    content: bytes

    @property
    def checksum(self) -> int:
        """Return the CRC-32 of all fields."""
        return zlib.crc32(repr(self[:-1]).encode() + self.content)


class Store:
    """A file of records. `told` is given a line for whatever is wrong with it.

    Methods may be called from any thread, one at a time.
    """

    def __init__(self, path: Path, told: Callable[[str], None]) -> None:
        self.path = path
        self.problem = ''  # why nothing is saved now
        self.saves = 0  # that are on the disk
        self._told = told
        self._base: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._unwritable = False

    def load(self) -> list[Record]:
        """Open the file, or begin a new one, and return the records that are whole."""
        with self._lock:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self._refuse(f'{self.path.parent}: {error.strerror or error}')
                return []
            return self._open()

    def save(self, records: Iterable[Record]) -> bool:
        """Write all records or none; return whether they are on the disk."""
        with self._lock:
            if self._base is None and not self._unwritable:
                self._open()  # whoever had it locked may be gone
            base = self._base
            if base is None:
                return False
            try:
                base.execute('BEGIN IMMEDIATE')
                base.executemany(_SAVE, [(*r, r.checksum) for r in records])
                base.execute(_PRUNE, (KEPT_BOARDS,))
                base.execute('COMMIT')
            except _FAILURES as error:
                with suppress(*_FAILURES):
                    base.execute('ROLLBACK')
                if _is_damage(error):
                    self._set_aside(f'{error}')
                    self._open()
                else:
                    self._refuse(f'not saved: {error}')
                return False
            self.problem = ''
            self.saves += 1
            return True

    def close(self) -> None:
        """Close the file. It can be opened again with `load`."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._base is not None:
            with suppress(*_FAILURES):
                self._base.close()
            self._base = None

    def _open(self) -> list[Record]:
        if self.path.is_dir():  # and stays where it is
            self._refuse('is a folder; name a file in it')
            return []
        for _ in range(2):
            try:
                self._base = self._connect()
                records = self._read(self._base)
                self.problem = ''
                return records
            except _FAILURES as error:
                self._close()
                if 'locked' in str(error):
                    self._refuse(f'used by another process, left alone: {error}')
                    return []
                if _is_read_only(error):
                    return self._only_read()
                if not self.path.exists():
                    self._refuse(f'{error}')
                    return []
                if not self._set_aside(str(error)):
                    return []
        return []

    def _connect(self) -> sqlite3.Connection:
        if not self._may_be_database():
            raise sqlite3.DatabaseError('file is not a database')
        # SQLite would only find out when it has something to write.
        for place in (self.path, self.path.parent):
            if place.exists() and not os.access(place, os.W_OK, effective_ids=True):
                raise sqlite3.OperationalError('readonly')
        # Autocommit: transactions begin where this module says so.
        base = sqlite3.connect(
            self.path, timeout=0.0, isolation_level=None, check_same_thread=False
        )
        try:
            base.execute('PRAGMA locking_mode = EXCLUSIVE')
            base.execute('PRAGMA journal_mode = DELETE')
            base.execute('PRAGMA synchronous = EXTRA')
            base.execute(f'PRAGMA max_page_count = {PAGES}')
            base.execute('BEGIN EXCLUSIVE')
            if not base.execute('SELECT count(*) FROM sqlite_master').fetchone()[0]:
                base.execute(_SCHEMA)
                base.execute(f'PRAGMA application_id = {APPLICATION}')
                base.execute(f'PRAGMA user_version = {VERSION}')
            base.execute('COMMIT')
        except BaseException:
            base.close()
            raise
        return base

    def _may_be_database(self) -> bool:
        """Tell whether the file begins as a database does: SQLite takes a short one for new."""
        try:
            with self.path.open('rb') as file:
                start = file.read(len(_MAGIC))
        except OSError:
            return True  # there is none yet, or SQLite says why
        return start in (b'', _MAGIC) or os.path.exists(f'{self.path}-journal')

    def _read(self, base: sqlite3.Connection) -> list[Record]:
        """Return the records that are whole; sqlite3.Error if the file is not."""
        found = base.execute('PRAGMA application_id').fetchone()[0]
        if found != APPLICATION:
            raise sqlite3.DatabaseError(f'a file of another program ({found:#x})')
        version = base.execute('PRAGMA user_version').fetchone()[0]
        if version != VERSION:
            raise sqlite3.DatabaseError(f'version {version} of the file, {VERSION} is known')
        check = base.execute('PRAGMA integrity_check(1)').fetchone()[0]
        if check != 'ok':
            raise sqlite3.DatabaseError(f'damaged: {check}')
        records, torn = [], 0
        for *values, checksum in base.execute('SELECT * FROM cells'):
            record = Record(*values)
            whole = isinstance(record.content, bytes) and record.checksum == checksum
            records += [record] if whole else []
            torn += not whole
        if torn:
            self._told(f'{self.path}: {torn} records with a wrong checksum are not used')
        return records

    def _only_read(self) -> list[Record]:
        """Return what a file that cannot be written holds, and begin another one if possible."""
        records: list[Record] = []
        try:
            base = sqlite3.connect(f'{self.path.absolute().as_uri()}?mode=ro', uri=True)
            try:
                records = self._read(base)
            finally:
                base.close()
        except _FAILURES:
            pass  # what it is, is told below
        if self._set_aside('cannot be written', quiet=True):
            with suppress(*_FAILURES):
                self._base = self._connect()
                return records
        self._unwritable = True
        self._refuse('cannot be written: it is read, and nothing will be saved')
        return records

    def _set_aside(self, why: str, quiet: bool = False) -> bool:
        """Rename the file and what belongs to it; return whether that was possible."""
        self._close()
        number = 1
        while any(Path(f'{self.path}.{number}{s}').exists() for s in _SUFFIXES):
            number += 1
        aside = f'{self.path}.{number}'
        try:
            for suffix in _SUFFIXES:
                if os.path.lexists(f'{self.path}{suffix}'):
                    os.rename(f'{self.path}{suffix}', f'{aside}{suffix}')
        except OSError as error:
            self._unwritable = True
            if not quiet:
                self._refuse(f'{why}; it cannot be set aside: {error.strerror or error}')
            return False
        self._told(f'{self.path}: {why}; set aside as {aside}')
        return True

    def _refuse(self, why: str) -> None:
        if why != self.problem:
            self.problem = why
            self._told(f'{self.path}: {why}')


def _is_damage(error: Exception) -> bool:
    """Tell whether the file is broken, not the disk full or the file locked."""
    name = str(error)
    words = ('malformed', 'not a database', 'no such table', 'codec')
    return any(word in name for word in words)


def _is_read_only(error: Exception) -> bool:
    return 'readonly' in str(error)
