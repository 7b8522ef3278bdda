# SPDX-License-Identifier: Apache-2.0
"""What the nodes would have published during a replay, as a bag."""

from pathlib import Path
from typing import Any

from builtin_interfaces.msg import Time
from dbms_msgs.msg import Faults

from dbms_estimation.battery_state import BatteryView
from dbms_estimation.messages import CellsStateWriter, HealthWriter, battery_state
from dbms_pack import Pack
from dbms_protection import conversions

from .cdr import serialize
from .schemas import installed
from .segment import Segment, Topic
from .session import Session
from .timeline import Timeline

# As the nodes have them by default.
VALID_FOR = 1.5  # s, of limits
POWER_PERIOD = 1.0  # s, between messages of power and energy
HEALTH_EVERY = 10  # of those for one of health
RESERVE = 0.1  # of the rated energy


class OutputWriter:
    """Writes one MCAP file with the outputs of estimation and protection in recorded time."""

    def __init__(
        self, path: Path, namespace: str, session: Session, timeline: Timeline, time_scale: float
    ) -> None:
        path.unlink(missing_ok=True)
        custom = {'dbms_pack': session.pack.name, 'dbms_time_scale': f'{time_scale:g}'}
        self._segment = Segment(path, custom=custom)
        self._namespace = namespace
        self._session, self._timeline = session, timeline
        self._writer = CellsStateWriter(session.pack)
        self._health = HealthWriter(session.pack, _reserve(session.pack))
        self._reports = 0
        self._report_due = 0.0
        self._numbers: dict[str, int] = {}
        self._sequence = 0
        self._limits: object = None

    def close(self) -> None:
        """End the file."""
        self._segment.close()

    def watch(self, now: float, view: BatteryView) -> None:
        """Write what the estimation node says at a tick, and limits if they are new."""
        stamp = self._stamp(now)
        strings = view.strings()
        for values in strings:
            self._put(
                f'strings/{values.location}/battery_state', battery_state(values, stamp), now
            )
        self._put('battery_state', battery_state(view.pack(strings), stamp), now)
        self._put('cells/state', self._writer.write(view, stamp), now)
        if now >= self._report_due:
            self._report(stamp, now)
        self._put_limits(now)

    def _report(self, stamp: Time, now: float) -> None:
        estimation, writer = self._session.estimation, self._health
        self._put('power', writer.power(estimation.power(), stamp), now)
        self._put('energy', writer.energy(estimation.energy(0.0), stamp), now)
        if self._reports % HEALTH_EVERY == 0:
            self._put('health', writer.health(estimation.health.told(), stamp), now)
        self._reports += 1
        self._report_due = now + POWER_PERIOD

    def told(self, now: float) -> None:
        """Write what the protection node says after a change."""
        guard, stamp = self._session.guard, self._stamp(now)
        faults = guard.book.listing()
        message = conversions.state_message(guard, faults)
        message.header.stamp = stamp
        message.sequence = self._next()
        self._put('protection/state', message, now)
        told = Faults(sequence=self._sequence)
        told.header.stamp = stamp
        told.faults = conversions.fault_messages(faults, guard.now, self._nanoseconds(now))
        self._put('faults', told, now)
        self._put_limits(now)

    def _put_limits(self, now: float) -> None:
        limits = self._session.guard.limits
        if limits == self._limits:
            return
        self._limits = limits
        message = conversions.limits_message(limits, self._stamp(now), self._next(), VALID_FOR)
        self._put('limits', message, now)

    def _put(self, name: str, message: Any, now: float) -> None:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._numbers) + 1
            package, kind = type(message).__module__.split('.')[:2]
            schema = installed(f'{package}/{kind}/{type(message).__name__}')
            self._segment.add_topic(number, Topic(f'{self._namespace}/{name}', schema))
        time = self._nanoseconds(now)
        self._segment.write(number, time, time, serialize(message))

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _nanoseconds(self, now: float) -> int:
        return (self._timeline.start or 0) + round(now * 1e9)

    def _stamp(self, now: float) -> Time:
        sec, nanosec = divmod(self._nanoseconds(now), 1_000_000_000)
        return Time(sec=sec, nanosec=nanosec)


def _reserve(pack: Pack) -> float:
    """Return the energy in Wh that no plan may count on."""
    series = min(string.cells for string in pack.strings)
    return RESERVE * pack.capacity * series * pack.cell.voltage_nominal
