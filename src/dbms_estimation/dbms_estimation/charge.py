# SPDX-License-Identifier: Apache-2.0
"""The charge that flowed through a string, for any stamp of the last seconds.

Current and cell scans arrive at different rates and times. The current of a string is integrated
by the stamps of its samples; a scan then asks for the charge at its own stamp.
"""

from typing import NamedTuple

import numpy as np

from dbms_pack.model import FloatArray

SAMPLES = 1024  # at least half of these are kept: 10 s at 50 Hz
BRIDGED = 30.0  # s of missing samples over which a straight line is still the best guess
STEPPED = 1.0  # s: a sample this much older than the last one is no straggler but a clock step


class Charge(NamedTuple):
    """Readings at some stamps; each of the shape of the stamps."""

    charge: FloatArray  # As since the beginning
    blind: FloatArray  # s since the beginning in which the current was not known
    current: FloatArray  # A at the stamp; NaN: not known


class StringCharge:
    """Integrates the current of one string by the trapezoidal rule."""

    def __init__(self, period: float, still: float = 0.0) -> None:
        """Take the period of the current sensor in s.

        `still` is for recordings, A: between two samples that differ by less than this, however
        far apart, the current was that of both.
        """
        self._still = still
        self.hold = max(5 * period, 0.05)  # s, for which a sample stands for what follows
        self._history = np.empty((4, SAMPLES))  # rows: stamp, charge, blind, current
        self._count = 0  # columns in use
        self._last = (0.0, 0.0, 0.0, 0.0)

    def add(self, stamp: float, current: float) -> bool:
        """Add a sample (s, A, finite); return whether it was used.

        A sample that is not newer than the last one is ignored, unless the clock was set back:
        then the count goes on from the new stamp.
        """
        last_stamp, charge, blind, last_current = self._last
        dt = stamp - last_stamp
        if self._count and dt < -STEPPED:
            self._count = 0
        elif self._count and dt <= 0:
            return False
        elif self._count:
            known = dt <= self.hold or abs(current - last_current) < self._still
            if known or dt <= BRIDGED:
                charge += 0.5 * (current + last_current) * dt
            if not known:
                blind += dt
        if self._count == SAMPLES:
            self._count = SAMPLES // 2
            self._history[:, : self._count] = self._history[:, self._count :].copy()
        self._last = (stamp, charge, blind, current)
        self._history[:, self._count] = self._last
        self._count += 1
        return True

    def silence(self, stamp: float) -> float:
        """Return for how many s before `stamp` there has been no sample."""
        return stamp - self._last[0] if self._count else np.inf

    def at(self, stamps: FloatArray) -> Charge | None:
        """Return charge, blind time and current at `stamps`; None before the first sample."""
        if not self._count:
            return None
        last, charge, blind, current = self._last
        if (stamps >= last).all():  # nothing to look up, as most often
            ahead = stamps - last
            known = ahead <= self.hold
            held = np.minimum(ahead, self.hold)
            beyond = np.where(known, 0.0, ahead)
            return Charge(
                charge + held * current, blind + beyond, np.where(known, current, np.nan)
            )
        return self._looked_up(stamps)

    def _looked_up(self, stamps: FloatArray) -> Charge:
        times, charges, blinds, currents = self._history[:, : self._count]
        ahead = np.maximum(stamps - times[-1], 0.0)
        behind = np.maximum(times[0] - stamps, 0.0)
        held = np.minimum(ahead, self.hold)
        charge = np.interp(stamps, times, charges) + held * currents[-1]
        beyond = np.where(ahead > self.hold, ahead, 0.0)
        blind = np.interp(stamps, times, blinds) + beyond - behind
        current = np.interp(stamps, times, currents)
        index = np.minimum(np.searchsorted(times, stamps), len(times) - 1)
        gap = times[index] - times[index - 1]  # negative at the first sample: no gap
        known = (ahead <= self.hold) & (behind <= self.hold)
        # At a sample the current is known, whatever was before it.
        known &= (ahead > 0) | (gap <= self.hold) | (times[index] == stamps)
        return Charge(charge, blind, np.where(known, current, np.nan))
