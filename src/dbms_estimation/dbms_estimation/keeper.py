# SPDX-License-Identifier: Apache-2.0
"""When the state of the estimator is written, and where; the writing has a thread of its own."""

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from .estimation import Estimation
from .memory import LISTED, Memory, Snapshot
from .store import Store

NOWHERE = 'none'  # as the name of a state file: nothing is kept
RESTED = 600.0  # s of battery time without current, after which the voltage has told the SOC
SHOWN = 600.0  # s for which an event is a warning in reports
LAST_SAVE = 5.0  # s that the end waits for the disk


def place(name: str, namespace: str, pack: str, environment: Mapping[str, str]) -> Path | None:
    """Return the path of the state file; None if nothing is to be kept.

    Left empty, it is in $XDG_STATE_HOME, or ~/.local/state, one for each namespace and pack.
    """
    if name == NOWHERE:
        return None
    if name:
        return Path(name).expanduser()
    base = environment.get('XDG_STATE_HOME', '')
    if not os.path.isabs(base):  # as the XDG specification wants it
        home = environment.get('HOME', '')
        base = os.path.join(home or os.path.expanduser('~'), '.local', 'state')
    whole = f'{namespace.strip("/")}-{pack}'
    safe = ''.join(c if c.isalnum() or c in '-_.' else '_' for c in whole)
    return Path(base) / 'dbms' / f'{safe}.sqlite'


class Keeper:
    """Takes up what was kept of a pack, and keeps it: periodically, after a rest, at the end.

    `told` is given lines for a log, from any thread.
    """

    def __init__(
        self,
        estimation: Estimation,
        path: Path | None,
        period: float,
        told: Callable[[str], None],
    ) -> None:
        """Take the period in s."""
        self._estimation = estimation
        self._told = told
        self._period = period
        self._saved_at: float | None = None
        self._told_at = float('-inf')
        self._was_resting = False
        self._work: Snapshot | None = None
        self._news = threading.Condition()
        self._closed = path is None
        # Of the store, for /diagnostics; it also speaks from the thread that writes.
        self._said: deque[str] = deque(maxlen=LISTED)
        self._unshown = False
        self.store = None if path is None else Store(path, self._say)
        if self.store is None:
            return
        estimation.memory = Memory(estimation.estimator, self.store.load())
        self._thread = threading.Thread(target=self._write, name='state', daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str:
        """Why nothing is saved now; empty: it is."""
        return self.store.problem if self.store is not None else ''

    @property
    def events(self) -> list[str]:
        """Return the newest of what was worth telling of the file and of the cells."""
        return [*self._said, *self._estimation.memory.last_events]

    def _say(self, line: str) -> None:
        self._told(line)
        self._said.append(line)
        self._unshown = True

    def look(self, now: float) -> None:
        """Tell what happened and save if it is time; `now` is steady time in s."""
        events, self._estimation.memory.events = self._estimation.memory.events, []
        for event in events:
            self._told(event)
            self._told_at = now
        if self._unshown:
            self._unshown, self._told_at = False, now
        if self.store is None or not self._estimation.estimator.filter.started.any():
            return
        resting = bool(np.all(self._estimation.estimator.rest >= RESTED))
        if self._saved_at is None:  # what was there before is not yet to be replaced
            self._saved_at = now
        due = now - self._saved_at >= self._period or (resting and not self._was_resting)
        self._was_resting = resting
        if due:
            self._saved_at = now
            self.save()

    def noteworthy(self, now: float) -> bool:
        """Tell whether something has just been found to be other than before."""
        return now - self._told_at <= SHOWN

    def save(self) -> None:
        """Have the state saved as it is now; where a save waits still, this one replaces it."""
        snapshot = self._estimation.memory.snapshot(self._estimation.serials)
        with self._news:
            self._work = snapshot
            self._news.notify()

    def close(self) -> None:
        """Save for the last time and close the file."""
        if self._closed or self.store is None:
            return
        if self._estimation.estimator.filter.started.any():
            self.save()
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join(LAST_SAVE)
        if self._thread.is_alive():
            self._told(f'{self.store.path}: the disk takes too long, the last state is not saved')
        else:
            self.store.close()

    def _write(self) -> None:
        assert self.store is not None
        while True:
            with self._news:
                while self._work is None and not self._closed:
                    self._news.wait()
                work, self._work = self._work, None
            if work is None:
                return
            try:
                self.store.save(work.records())
            except Exception as error:  # the next state is another one
                self._told(f'{self.store.path}: not saved: {error!r}')
