# SPDX-License-Identifier: Apache-2.0
"""The newest message of every topic of a pack, each with the time it was heard.

Knows neither ROS nor a clock: messages are any objects with the fields of the real ones, times
are s on a steady clock.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

SETBACKS, WITHIN = 3, 5.0  # a restart sets a sequence back once, two senders all the time; s
GONE = 3.0  # s, what was not heard for so long did not belong to a pack that is new now


@dataclass(frozen=True)
class Heard:
    """A message, when it was heard, and how often its kind is heard."""

    message: Any
    at: float
    gap: float = 0.0  # s since the one before; 0: there was none
    interval: float = 0.0  # s, shorter one of the last two gaps: one silence makes no slow sender

    def age(self, now: float) -> float:
        """Return how long ago that was, in s."""
        return now - self.at


def heard(message: Any, now: float, before: Heard | None) -> Heard:
    """Return `message` as heard now, after `before`."""
    gap = 0.0 if before is None else now - before.at
    return Heard(message, now, gap, 0.0 if before is None else min(gap, before.gap))


@dataclass
class Snapshot:
    """What is known of one pack."""

    namespace: str
    state: Heard | None = None
    faults: Heard | None = None
    limits: Heard | None = None
    battery: Heard | None = None
    estimate: Heard | None = None  # cells/state
    health: Heard | None = None
    power: Heard | None = None
    energy: Heard | None = None
    modules: dict[str, Heard | None] = field(default_factory=dict)
    strings: dict[str, Heard | None] = field(default_factory=dict)
    reports: dict[str, Heard] = field(default_factory=dict)  # /diagnostics, by name
    setbacks: deque[float] = field(default_factory=lambda: deque(maxlen=SETBACKS))
    reporters: set[str] = field(default_factory=set)  # names of nodes that report

    def put(self, topic: str, message: Any, now: float) -> None:
        """Take a message of one of the single topics, named as the fields above."""
        if topic == 'state' and self.state is not None:
            before = self.state.message
            if message.sequence <= before.sequence:
                self.setbacks.append(now)
            if message.pack_digest != before.pack_digest:
                self._forget(now)
        setattr(self, topic, heard(message, now, getattr(self, topic)))

    def put_module(self, name: str, message: Any, now: float) -> None:
        """Take a scan."""
        self.modules[name] = heard(message, now, self.modules.get(name))

    def put_string(self, name: str, message: Any, now: float) -> None:
        """Take a measurement of a string."""
        self.strings[name] = heard(message, now, self.strings.get(name))

    def put_diagnostics(self, message: Any, now: float) -> None:
        """Take those reports that are about this pack: their names begin with its namespace."""
        root = f'/{self.namespace}/' if self.namespace else '/'
        for status in message.status:
            if status.name.startswith(root):
                name = status.name.removeprefix(root)
                self.reports[name] = heard(status, now, self.reports.get(name))

    def contested(self, now: float) -> bool:
        """Tell whether more than one protection speaks: their sequences take turns."""
        return len(self.setbacks) == SETBACKS and now - self.setbacks[0] <= WITHIN

    @property
    def found(self) -> bool:
        """Tell whether anything of this pack was heard."""
        return any(one is not None for one in self._all())

    @property
    def complete(self) -> bool:
        """Tell whether every topic and every reporter that is there was heard once."""
        told = {name.partition(':')[0] for name in self.reports}
        there = bool(self.modules or self.strings)
        return there and self.reporters <= told and all(one is not None for one in self._all())

    def newest(self) -> float | None:
        """Return when anything of this pack was heard last."""
        return max((one.at for one in (*self._all(), *self.reports.values()) if one), default=None)

    def _all(self) -> Iterable[Heard | None]:
        single = (self.state, self.faults, self.limits, self.battery, self.estimate)
        return (*single, *self.modules.values(), *self.strings.values())

    def _forget(self, now: float) -> None:
        """Another pack runs in this namespace: leave out what only the old one had."""
        for known in (self.modules, self.strings, self.reports):
            for name in [n for n, one in known.items() if one and one.age(now) > GONE]:
                del known[name]
        for field_name in ('estimate', 'health', 'power', 'energy'):
            known_one = getattr(self, field_name)
            if known_one is not None and known_one.age(now) > GONE:
                setattr(self, field_name, None)
