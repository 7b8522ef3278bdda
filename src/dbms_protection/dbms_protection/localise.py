# SPDX-License-Identifier: Apache-2.0
"""Where a silent module is cut off: bus, clock, link or board, by who else is still heard."""

import numpy as np
import numpy.typing as npt

from dbms_pack import Pack

from .measurements import PERIODS_UNTIL_STALE

# Bits of dbms_msgs/ModuleCells.status that say something about the way to a board.
REBOOTED = 16
LINK_TROUBLE = 65536 | 131072  # scans lost, frames rejected
RECENT = 5.0  # s before the silence, in which such a bit tells of its reason
SLOW = 2  # intervals in a row that are longer than the timeout: that is its pace


class Localiser:
    """Remembers how each module was heard, and says what its silence is due to."""

    def __init__(self, pack: Pack, now: float) -> None:
        count = len(pack.modules)
        self._pack = pack
        self._timeout = pack.limits.module_lost.timeout
        self._heard = np.full(count, now)
        self._slow = [0] * count
        self._begun = [False] * count
        self._interval = [0.0] * count
        self._trouble = [(-np.inf, 0)] * count  # when a bit was seen last, and which
        buses = [module.bus for module in pack.modules]
        self._beside = [
            np.array([n for n, bus in enumerate(buses) if bus == own and n != index], dtype=int)
            for index, own in enumerate(buses)
        ]
        self._stale = PERIODS_UNTIL_STALE * np.array([module.period for module in pack.modules])
        # Strings whose sensor or contactor unit is on the bus of each module.
        self._units = [
            [
                n for n, string in enumerate(pack.strings)
                if bus in (string.current_sensor.bus, string.contactors.bus)
            ]
            for bus in buses
        ]  # fmt: skip

    def scan(self, index: int, status: int, now: float) -> None:
        """Take note of a scan of module `index`."""
        interval = float(now - self._heard[index])
        self._slow[index] = self._slow[index] + 1 if interval >= self._timeout else 0
        self._interval[index] = interval
        self._heard[index] = now
        if not self._begun[index]:  # its first scans tell that it started, not that it restarted
            self._begun[index] = not status & REBOOTED
            status &= ~REBOOTED
        if status & (REBOOTED | LINK_TROUBLE):
            self._trouble[index] = (now, status)

    def where(self, index: int, units_heard: npt.NDArray[np.bool_], now: float) -> str:
        """Say where module `index` is cut off; `units_heard` (strings,): heard just now."""
        module = self._pack.modules[index]
        beside = self._beside[index]
        silent = now - self._heard[beside] > self._stale[beside]
        units = units_heard[self._units[index]]
        if (beside.size or units.size) and silent.all() and not units.any():
            return f'bus {module.bus}: nothing on it is heard'
        if self._slow[index] >= SLOW:
            return f'its clock: scans come every {self._interval[index]:.1f} s'
        at, status = self._trouble[index]
        if self._heard[index] - at <= RECENT:
            if status & LINK_TROUBLE:
                return 'its link: frames of it were lost or refused before'
            return 'its board: it had just restarted'
        if beside.size and not silent.any() or units.any():
            return f'its board or its link: others on bus {module.bus} are heard'
        return 'its board, its link or the bus'
