# SPDX-License-Identifier: Apache-2.0
"""The newest message of every topic of a pack, each with the time it was heard.

Knows neither ROS nor a clock: messages are any objects with the fields of the real ones, times
are s on a steady clock.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Heard:
    """A message and when it was heard."""

    message: Any
    at: float

    def age(self, now: float) -> float:
        """Return how long ago that was, in s."""
        return now - self.at


@dataclass
class Snapshot:
    """What is known of one pack."""

    namespace: str
    state: Heard | None = None
    faults: Heard | None = None
    limits: Heard | None = None
    battery: Heard | None = None
    estimate: Heard | None = None  # cells/state
    modules: dict[str, Heard | None] = field(default_factory=dict)
    strings: dict[str, Heard | None] = field(default_factory=dict)
    reports: dict[str, Heard] = field(default_factory=dict)  # /diagnostics, by name

    def put(self, topic: str, message: Any, now: float) -> None:
        """Take a message of one of the single topics, named as the fields above."""
        setattr(self, topic, Heard(message, now))

    def put_module(self, name: str, message: Any, now: float) -> None:
        """Take a scan."""
        self.modules[name] = Heard(message, now)

    def put_string(self, name: str, message: Any, now: float) -> None:
        """Take a measurement of a string."""
        self.strings[name] = Heard(message, now)

    def put_diagnostics(self, message: Any, now: float) -> None:
        """Take those reports that are about this pack: their names begin with its namespace."""
        for status in message.status:
            if status.name.startswith(f'/{self.namespace}/'):
                self.reports[status.name.removeprefix(f'/{self.namespace}/')] = Heard(status, now)

    @property
    def found(self) -> bool:
        """Tell whether anything of this pack was heard."""
        single = (self.state, self.faults, self.limits, self.battery, self.estimate)
        heard = (*single, *self.modules.values(), *self.strings.values())
        return any(one is not None for one in heard)

    @property
    def complete(self) -> bool:
        """Tell whether every topic that is there was heard once."""
        single = (self.state, self.faults, self.limits, self.battery, self.estimate)
        several = (*self.modules.values(), *self.strings.values())
        return bool(several) and all(one is not None for one in (*single, *several))
