# SPDX-License-Identifier: Apache-2.0
"""Time that only moves forward, made of the times that callers hand in."""

import math


class Timebase:
    """Adds up the non-negative steps of the times handed in.

    A step back is left out and time goes on from there at its pace: it can neither lengthen a
    debounce nor a timeout by more than itself. A leap forward counts in full, because it ends
    waiting early, which is the careful side. Times that are not finite are left out.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._last: float | None = None

    def advance(self, now: float) -> float:
        """Take over the caller's time in s and return the time of this base in s."""
        if not math.isfinite(now):
            return self.now
        if self._last is not None and now > self._last:
            self.now += now - self._last
        self._last = now
        return self.now
