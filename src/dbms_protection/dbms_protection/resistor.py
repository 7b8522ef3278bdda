# SPDX-License-Identifier: Apache-2.0
"""How warm the precharge resistor of a string is, by what it has taken up."""

import math

from dbms_pack import Precharge

COOL = 0.01  # share of its energy below which it counts as cold


class PrechargeResistor:
    """Energy of the precharges of late in J; it cools with a time constant. Times in s.

    Without `energy` in the pack nothing is counted.
    """

    def __init__(self, precharge: Precharge, now: float) -> None:
        self._stands = precharge.energy
        self._cool_down = precharge.cool_down
        self.joules = 0.0
        # J, of the precharge that runs or ran last; half of all, as long as none was seen
        self._attempt = 0.5 * (precharge.energy or 0.0)
        self._at = now

    def restore(self, joules: float, age: float) -> None:
        """Take over what an earlier run left `age` s ago; an age that cannot be is none."""
        if math.isfinite(joules) and joules > 0.0:
            age = age if math.isfinite(age) and age > 0.0 else 0.0
            self.joules = max(self.joules, joules * math.exp(-age / self._cool_down))

    def begin(self) -> None:
        """Count a new precharge by itself."""
        self._attempt = 0.0

    def step(self, now: float, gap: float, current: float, closed: bool) -> None:
        """Go on: cool, and take up `gap` V times `current` A while precharge is `closed`."""
        elapsed, self._at = max(now - self._at, 0.0), now
        if self._stands is None:
            return
        self.joules *= math.exp(-elapsed / self._cool_down)
        taken = abs(gap * current) * elapsed if closed else 0.0
        if math.isfinite(taken):
            self.joules += taken
            self._attempt += taken

    @property
    def too_hot(self) -> bool:
        """Tell whether it has taken up more than it stands."""
        return self._stands is not None and self.joules > self._stands

    def wait(self) -> float:
        """Return the s until it stands another precharge like the last one."""
        if self._stands is None:
            return 0.0
        room = max(self._stands - self._attempt, COOL * self._stands)
        if self.joules <= room:
            return 0.0
        return self._cool_down * math.log(self.joules / room)

    def refusal(self) -> str:
        """Say why it must not be used now; '' if it may."""
        wait = self.wait()
        return f'the precharge resistor has to cool for {math.ceil(wait)} s' if wait else ''
