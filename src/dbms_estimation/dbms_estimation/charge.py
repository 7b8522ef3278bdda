# SPDX-License-Identifier: Apache-2.0
"""The charge that flowed through a string, for any stamp of the last seconds.

Current and cell scans arrive at different rates and times. The current of a string is integrated
by the stamps of its samples; a scan then asks for the charge at its own stamp.
"""

from typing import NamedTuple

import numpy as np

from dbms_pack.model import FloatArray

KEPT = 3.0  # s of samples that are kept: scans older than this are of no use
BRIDGED = 2.0  # s of missing samples over which a straight line is still the best guess
STEPPED = 1.0  # s: a sample this much older than the last one is no straggler but a clock step


class Charge(NamedTuple):
    """Readings at some stamps; each of the shape of the stamps."""

    charge: FloatArray  # As since the beginning
    blind: FloatArray  # s since the beginning in which the current was not known
    current: FloatArray  # A at the stamp; NaN: not known


class StringCharge:
    """Integrates the current of one string by the trapezoidal rule."""

    def __init__(self, period: float) -> None:
        """Take the period of the current sensor in s."""
        self.hold = max(5 * period, 0.05)  # s, for which a sample stands for what follows
        self.samples = 0
        self.stragglers = 0
        self.clock_steps = 0
        self._times: list[float] = []
        self._charges: list[float] = []
        self._blinds: list[float] = []
        self._currents: list[float] = []

    def add(self, stamp: float, current: float) -> bool:
        """Add a sample (s, A, finite); return whether it was used.

        A sample that is not newer than the last one is ignored, unless the clock was set back:
        then the count goes on from the new stamp.
        """
        if not self._times:
            self._append(stamp, 0.0, 0.0, current)
            return True
        dt = stamp - self._times[-1]
        charge, blind = self._charges[-1], self._blinds[-1]
        if dt < -STEPPED:
            self.clock_steps += 1
            for values in (self._times, self._charges, self._blinds, self._currents):
                values.clear()
        elif dt <= 0:
            self.stragglers += 1
            return False
        else:
            if dt <= max(BRIDGED, self.hold):
                charge += 0.5 * (current + self._currents[-1]) * dt
            if dt > self.hold:
                blind += dt
        self._append(stamp, charge, blind, current)
        return True

    def at(self, stamps: FloatArray) -> Charge | None:
        """Return charge, blind time and current at `stamps`; None before the first sample."""
        if not self._times:
            return None
        times = np.array(self._times)
        ahead = np.maximum(stamps - times[-1], 0.0)
        behind = np.maximum(times[0] - stamps, 0.0)
        held = np.minimum(ahead, self.hold)
        charge = np.interp(stamps, times, self._charges) + held * self._currents[-1]
        beyond = np.where(ahead > self.hold, ahead, 0.0)
        blind = np.interp(stamps, times, self._blinds) + beyond - behind
        current = np.interp(stamps, times, self._currents)
        index = np.minimum(np.searchsorted(times, stamps), len(times) - 1)
        gap = times[index] - times[index - 1]  # negative at the first sample: no gap
        known = (ahead <= self.hold) & (behind <= self.hold)
        known &= (ahead > 0) | (gap <= self.hold)
        return Charge(charge, blind, np.where(known, current, np.nan))

    def _append(self, stamp: float, charge: float, blind: float, current: float) -> None:
        self.samples += 1
        self._times.append(stamp)
        self._charges.append(charge)
        self._blinds.append(blind)
        self._currents.append(current)
        if len(self._times) > 32 and self._times[len(self._times) // 2] < stamp - KEPT:
            half = len(self._times) // 2
            for values in (self._times, self._charges, self._blinds, self._currents):
                del values[:half]
