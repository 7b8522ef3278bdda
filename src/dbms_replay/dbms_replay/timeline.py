# SPDX-License-Identifier: Apache-2.0
"""Recorded time as the cores want it: in s from the beginning, never back."""

from collections import Counter

SECOND = 1_000_000_000
STEP = 1 * SECOND  # ns, a step back by this much is a clock that was set
GAP = 60.0  # s in which nothing at all was recorded: what comes then is another story


class Timeline:
    """Turns log times in ns into times in s; counts what was wrong with them."""

    def __init__(self, problems: Counter[str]) -> None:
        self.now = 0.0  # s
        self.start: int | None = None  # ns, of the first message
        self.gap = False  # the last step was over a gap
        self._problems = problems
        self._offset = 0  # ns, taken out by clocks that were set
        self._newest = 0  # ns, on the clock of the recording

    def advance(self, log_time: int) -> float:
        """Take over a log time; return the time it stands for."""
        if self.start is None:
            self.start = self._newest = log_time
        step = log_time - self._newest
        self.gap = False
        if step < 0:
            if step <= -STEP:
                self._problems['clock resets'] += 1
                self._offset += step
                self._newest = log_time
            else:
                self._problems['messages out of order'] += 1
            return self.now
        self._newest = log_time
        now = (log_time - self.start - self._offset) * 1e-9
        self.gap = now - self.now > GAP
        self.now = now
        return now
