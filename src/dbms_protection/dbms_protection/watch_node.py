# SPDX-License-Identifier: Apache-2.0
"""The part of the protection node that watches the node itself, and tells its watchers."""

import os
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from dbms_node import qos, realtime
from dbms_node.clocks import steady_now
from dbms_node.hardware_watchdog import HardwareWatchdog
from dbms_node.outbox import Outbox
from dbms_node.parameters import declare
from dbms_node.systemd import Systemd
from dbms_pack import Level

from .event_log import EventLog
from .guard import Guard
from .news import write
from .supervision import (
    CYCLE_LATE,
    LOG_LOST,
    CycleWatch,
    Outcome,
    SelfTest,
    log_check,
    summary,
    tell,
)
from .wear import Wear

LEVELS = {
    Outcome.PASSED: DiagnosticStatus.OK,
    Outcome.WAITING: DiagnosticStatus.WARN,
    Outcome.FAILED: DiagnosticStatus.ERROR,
}
Row = tuple[str, bytes, str, dict[str, object]]  # part, level, text, values


class Watch:
    """Self-test, punctuality, /diagnostics, systemd and a hardware watchdog of one node."""

    def __init__(self, node: Node, outbox: Outbox) -> None:
        self._node, self._outbox = node, outbox
        self._systemd = Systemd(os.environ)
        self._hardware: HardwareWatchdog | None = None
        self._log: EventLog | None = None
        self._wear: Wear | None = None
        self._cycles: CycleWatch | None = None
        self._test: SelfTest | None = None
        self._tells_late = True
        declare(node, 'event_log_required', False, 'do not start without an event log that '
                'can be written')  # fmt: skip
        declare(node, 'realtime_priority', 0, 'SCHED_FIFO priority of the guard; 0: as others',
                minimum=0, maximum=99)  # fmt: skip
        declare(node, 'lock_memory', False, 'keep all memory of the process in RAM (mlockall)')
        declare(node, 'watchdog_device', '', 'hardware watchdog to own, e.g. /dev/watchdog; '
                "'': none")  # fmt: skip
        declare(node, 'watchdog_timeout', 10, 's until the hardware watchdog resets the machine',
                minimum=1, maximum=600)  # fmt: skip
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS)

    def _say(self, text: str) -> None:
        self._outbox.put(partial(write, self._node.get_logger(), [(Level.MOL, text)]))

    # -- life ---------------------------------------------------------------------------------

    def configure(
        self, guard: Guard, log: EventLog | None, wear: Wear | None, period: float, played: bool
    ) -> None:
        """Test what can be tested now; ValueError if that forbids a start.

        `played`: the pack is simulated or recorded; then late cycles are counted, and no fault.
        """

        def value(name: str) -> Any:
            return self._node.get_parameter(name).value

        problem = '' if log is None or log.writable() else log.problem or 'was damaged'
        check = log_check(str(log.path) if log else '', problem, log is not None)
        if value('event_log_required') and (log is None or problem):
            raise ValueError(f'event_log_required is set: {check.line}')
        self._test = SelfTest('complete', check)
        lease = min(string.contactors.lease for string in guard.pack.strings)
        self._cycles = CycleWatch(period, lease / 2.0)
        self._log, self._wear = log, wear
        self._tells_late = not played
        if value('realtime_priority'):
            self._warn(realtime.use_fifo(value('realtime_priority')))
        if value('lock_memory'):
            self._warn(realtime.lock_memory())
        if value('watchdog_device') and self._hardware is None:
            self._hardware = HardwareWatchdog(
                value('watchdog_device'), value('watchdog_timeout'), self._say
            )
        self._tell_news(guard, True)

    def _warn(self, text: str) -> None:
        if text:
            self._say(text)

    def activated(self) -> None:
        """Begin to guard."""
        if self._test is not None and self._cycles is not None:
            self._test.begin(steady_now())
            self._cycles.pause()
        self._systemd.tell('READY=1')

    def release(self) -> None:
        """Forget the guard; nobody has to be reset for what ends by order."""
        self._test = self._cycles = self._log = self._wear = None
        hardware, self._hardware = self._hardware, None
        if hardware is not None:
            hardware.close()

    def close(self) -> None:
        """Say that the node ends."""
        self.release()
        self._systemd.close()

    # -- cycles -------------------------------------------------------------------------------

    def cycle(self, guard: Guard, commands: bool) -> None:
        """Look at what the node itself does, at the begin of every cycle.

        `commands`: it drives the contactors, and does not only look on.
        """
        now = steady_now()
        if self._cycles is None:
            return
        self._cycles.begin(now)
        late = self._cycles.trouble(now) if self._tells_late else ''
        tell(guard, CYCLE_LATE, late)
        tell(guard, LOG_LOST, self._log.problem if self._log is not None else '')
        self._tell_news(guard, commands)

    def alive(self) -> None:
        """Tell who watches from outside that the work was done."""
        now = steady_now()
        self._systemd.beat(now)
        if self._hardware is not None:
            self._hardware.beat(now)

    def _tell_news(self, guard: Guard, commands: bool) -> None:
        if self._test is None:
            return
        for check in self._test.update(guard, steady_now(), commands):
            level = Level.MSL if check.outcome is Outcome.FAILED else None
            self._outbox.put(partial(write, self._node.get_logger(), [(level, check.line)]))

    # -- out ----------------------------------------------------------------------------------

    def report(self, pair: tuple[bool, str] | None) -> None:
        """Publish /diagnostics; `pair`: whether a guard of a pair does its part, and which."""
        name = self._node.get_fully_qualified_name()
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [
            DiagnosticStatus(
                level=level, name=f'{name}: {part}', message=text,
                values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
            )
            for part, level, text, values in (*self._rows(), *_pair_row(pair))
        ]  # fmt: skip
        self._outbox.put(partial(self._publisher.publish, message))

    def _rows(self) -> list[Row]:
        test, cycles, log = self._test, self._cycles, self._log
        if test is None or cycles is None:
            return [('self-test', DiagnosticStatus.WARN, 'protection is not configured', {})]
        checks = list(test.checks.values())
        late = cycles.trouble(steady_now())
        rows: list[Row] = [
            ('self-test', LEVELS[test.outcome], summary(checks),
             {check.name: f'{check.outcome.name.lower()}: {check.text}' for check in checks}),
            ('cycle', DiagnosticStatus.WARN if late else DiagnosticStatus.OK,
             late or 'in time',
             {'period': f'{cycles.period:g} s', 'cycles': cycles.cycles,
              'late by a period': cycles.overruns, 'longest gap': f'{cycles.worst:.3f} s',
              'reports dropped': self._outbox.dropped}),
        ]  # fmt: skip
        if log is not None:
            level = DiagnosticStatus.ERROR if log.problem else DiagnosticStatus.OK
            rows.append(('event log', level, log.problem or 'kept', {'file': log.path}))
        if self._wear is not None:
            worn = self._wear.all_worn()
            level = DiagnosticStatus.WARN if worn else DiagnosticStatus.OK
            rows.append(('contactors', level, worn or 'not worn', dict(self._wear.told())))
        return rows


def _pair_row(pair: tuple[bool, str] | None) -> list[Row]:
    if pair is None:
        return []
    level = DiagnosticStatus.OK if pair[0] else DiagnosticStatus.WARN
    return [('second guard', level, pair[1], {})]
