# SPDX-License-Identifier: Apache-2.0
"""Counters of what came from a bus and what was done with it."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from dbms_drivers.e2e import REPEATED, STARTING


@dataclass(slots=True)
class Statistics:
    """How many frames of one source were used, and how many not, by kind."""

    accepted: int = 0  # passed all checks of a single frame
    dlc: int = 0  # not 8 bytes
    crc: int = 0
    repeated: int = 0  # same counter as before
    unconfirmed: int = 0  # counter that cannot follow the last one
    starting: int = 0  # first after a start or a silence, kept back until a second confirmed it
    implausible: int = 0  # reserved bits set or value that cannot be
    conflict: int = 0  # two different frames for one place in a scan
    lost: int = 0  # frames, or scans of a module, missing by their counter
    incomplete: int = 0  # scans that did not arrive whole
    duplicate: int = 0  # scans refused because two boards answer on one address
    scans: int = 0  # complete scans handed on

    def refuse(self, reason: int) -> None:
        """Count a frame that `CounterCheck` refused for `reason`."""
        if reason == REPEATED:
            self.repeated += 1
        elif reason == STARTING:
            self.starting += 1
        else:
            self.unconfirmed += 1

    @property
    def rejected(self) -> int:
        """Frames that were refused because something was wrong with them."""
        return (
            self.dlc
            + self.crc
            + self.repeated
            + self.unconfirmed
            + self.implausible
            + self.conflict
            + self.duplicate
        )


@dataclass(slots=True)
class BusStatistics:
    """Frames of a bus that belong to no source of the pack."""

    unknown: int = 0  # id of no board of this pack
    foreign: int = 0  # id that only a controller sends: another controller is on the bus
    extended: int = 0  # 29-bit id
    remote: int = 0
    fd: int = 0  # CAN FD frame
    error: int = 0  # error frame: the adapter reports trouble on the wire
    late: int = 0  # frames that had waited while this process stood still


def as_dict(statistics: Statistics | BusStatistics) -> dict[str, int]:
    """Return the counters by name."""
    return {item.name: getattr(statistics, item.name) for item in fields(statistics)}


def total(many: Iterable[Statistics]) -> Statistics:
    """Return the sums over several sources."""
    result = Statistics()
    for one in many:
        for name, value in as_dict(one).items():
            setattr(result, name, getattr(result, name) + value)
    return result
