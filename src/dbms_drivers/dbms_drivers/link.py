# SPDX-License-Identifier: Apache-2.0
"""Health of what is behind a bus: silence, and two boards on one address. Times in s, steady."""

import math
from enum import Enum

from dbms_drivers.e2e import PERIODS_TO_RESYNC


class SerialWatch:
    """Notices that two boards answer on one address, by the serial number of their scans.

    While two serial numbers are heard within a few periods none of their scans may be used: which
    board is the module of the pack file cannot be known. A serial number is trusted once two scans
    in a row carried it; it is replaced when the board of the old one has fallen silent.
    """

    def __init__(self, period: float) -> None:
        self._memory = 2 * PERIODS_TO_RESYNC * period
        self._last: int | None = None
        self._heard: dict[int, float] = {}
        self.trusted: int | None = None

    def check(self, serial: int, now: float) -> bool:
        """Return whether a scan with this serial number may be used."""
        self.note(serial, now)
        previous, self._last = self._last, serial
        if len(self._heard) > 1:
            return False
        if serial != self.trusted:
            if serial != previous:
                return False
            self.trusted = serial
        return True

    def note(self, serial: int, now: float) -> None:
        """Take note of a serial number that was heard, without a scan to use."""
        self._heard[serial] = now
        for other, heard in list(self._heard.items()):
            if now - heard > self._memory:
                del self._heard[other]

    def contested(self, now: float) -> tuple[int, ...]:
        """Return the serial numbers that were heard on the address, if more than one."""
        recent = [serial for serial, heard in self._heard.items() if now - heard <= self._memory]
        return tuple(sorted(recent)) if len(recent) > 1 else ()


class Silence(Enum):
    """Who does not speak: tells a lost board from a lost bus."""

    NONE = 'speaking'
    NEVER_HEARD = 'never heard'
    SOURCE = 'silent'
    BUS = 'silent, as is its whole bus'
    BUS_DOWN = 'bus is down'


def classify(
    last_heard: float, bus_last_heard: float, bus_up: bool, timeout: float, now: float
) -> Silence:
    """Return why a source is silent; `last_heard` is -inf for "never"."""
    if now - last_heard <= timeout:
        return Silence.NONE
    if not bus_up:
        return Silence.BUS_DOWN
    if now - bus_last_heard > timeout:
        return Silence.BUS
    return Silence.NEVER_HEARD if math.isinf(last_heard) else Silence.SOURCE


def silence_timeout(period: float) -> float:
    """Return after how many s without a value a source of this period counts as silent."""
    return max(PERIODS_TO_RESYNC * period, 0.25)
