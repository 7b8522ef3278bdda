# SPDX-License-Identifier: Apache-2.0
"""One bootstrap at a time per home."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BootstrapError
from .progress import Progress


@contextmanager
def exclusive(path: Path, progress: Progress) -> Iterator[int]:
    """Hold the lock; wait, saying so, while another process holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise BootstrapError(
            f'{path}: cannot be written ({error.strerror})',
            'run as the owner of this directory, or set DBMS_HOME to one that can be written',
        ) from error
    try:
        _acquire(descriptor, progress)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f'{os.getpid()}\n'.encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)  # closing releases it, unless a child still holds it


def _acquire(descriptor: int, progress: Progress) -> None:
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                holder = os.pread(descriptor, 32, 0).decode(errors='replace').strip()
                by = f' (process {holder})' if holder else ''
                progress.note(f'waiting for another ./dbms that is setting up{by} ...')
                told = True
            time.sleep(0.2)
