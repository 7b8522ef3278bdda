# SPDX-License-Identifier: Apache-2.0
"""When something periodic is due."""

import math


class Schedule:
    """A period on a fixed grid. Times in s on a steady clock.

    Deadlines that were missed in a stall are left out, never made up for in a burst: what was
    not measured then cannot be measured now.
    """

    def __init__(self, period: float, phase: float = 0.0) -> None:
        self._period = period
        self._phase = phase
        self._next: float | None = None

    def set_period(self, period: float) -> None:
        """Go on at another period, from the next deadline on at the latest."""
        if self._next is not None and period < self._period:
            self._next -= self._period - period
        self._period = period

    def due(self, now: float) -> bool:
        """Return whether the period is over, and start the next if so."""
        if self._next is None:
            self._next = now + self._phase
        if now < self._next:
            return False
        # The sum of periods would drift by rounding, and a stall leaves deadlines behind.
        late = math.floor((now - self._next) / self._period + 1e-9)
        self._next += (late + 1) * self._period
        return True
