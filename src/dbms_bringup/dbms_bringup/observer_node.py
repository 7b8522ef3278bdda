# SPDX-License-Identifier: Apache-2.0
"""The node behind ./dbms up: follows a graph, connects it once, ends it in order."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dbms_msgs.msg import Faults, Limits, ModuleCells, ProtectionState, StringMeasurement
from dbms_msgs.srv import Command
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import BatteryState

from dbms_node import qos
from dbms_node.clocks import stamp_seconds, steady_now
from dbms_pack import Pack

from .story import FaultSeen, Moment, Story

ANSWER_WITHIN = 3.0  # s, a request without an answer is made again after that
ATTEMPTS = 3  # to connect at the start, each taken up by protection
ORIGIN = 'dbms up'
REASONS = {'connect': 'the run begins', 'disconnect': 'the run ends'}


class ObserverNode(Node):
    """Hands what the graph tells to a story. Its callbacks run in the executor's thread."""

    def __init__(
        self,
        pack: Pack,
        story: Story,
        *,
        connect: bool,
        played: bool,
        finished: Callable[[str], None],
        time_scale: float = 1.0,
        position: Callable[[], float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__('dbms_up', **kwargs)
        self._story = story
        self._played = played
        self._finished: Callable[[str], None] | None = finished
        self._scale = time_scale
        self._position_now = position
        self._told_position: tuple[float, float] | None = None  # s, and when it was told
        self._start = steady_now()
        self._asked: tuple[str, float] | None = None  # command without an answer yet, since
        self._connect = connect
        self._attempts = 0
        self._leave = False
        self._refusal = ''
        self.recording = ''  # running, frozen, ended; '' if none is played
        self._commands = {name: self.create_client(Command, name) for name in REASONS}
        self._subscribe(pack)

    @property
    def now(self) -> Moment:
        """The time of this moment, of wall and battery."""
        wall = steady_now()
        battery = math.nan
        if self._position_now is not None:
            battery = self._position_now()
        elif self._told_position is not None:
            position, at = self._told_position
            moves = self.recording in ('', 'running')
            battery = position + (wall - at) * self._scale * moves
        return Moment(wall - self._start, battery)

    def disconnect(self) -> None:
        """Ask protection to open, announced; call it in the executor's thread."""
        self._connect, self._leave = False, True
        self._asked = None
        self._ask('disconnect')

    def _subscribe(self, pack: Pack) -> None:
        subscribe = self.create_subscription
        subscribe(ProtectionState, 'protection/state', self._on_state, qos.STATE)
        subscribe(Faults, 'faults', self._on_faults, qos.STATE)
        subscribe(Limits, 'limits', self._on_limits, qos.STATE)
        subscribe(BatteryState, 'battery_state', self._on_battery, qos.DISPLAY)
        subscribe(DiagnosticArray, '/diagnostics', self._on_diagnostics, qos.DIAGNOSTICS)
        for string in pack.strings:
            subscribe(
                StringMeasurement,
                f'strings/{string.name}/measurement',
                lambda message, name=string.name: self._on_string(name, message),
                qos.MEASUREMENT,
            )
        for module in pack.modules:
            subscribe(
                ModuleCells,
                f'modules/{module.name}/cells',
                lambda message, name=module.name: self._on_cells(name, message),
                qos.MEASUREMENT,
            )

    def _on_state(self, message: ProtectionState) -> None:
        strings = [(one.name, one.state_name, one.reason) for one in message.strings]
        self._story.on_state(self.now, message.state_name, strings)
        if self._story.connections or self._attempts >= ATTEMPTS:
            self._connect = False
        if self._connect and message.state == ProtectionState.STANDBY:
            self._ask('connect')  # refused as long as data are missing: the next state asks again
        elif self._leave and self._story.connected:
            self._ask('disconnect')
        if self._played and self._story.opened_on_fault:
            self._finish('contactors have opened on a fault')

    def _ask(self, name: str) -> None:
        now = steady_now()
        if self._asked is not None and now - self._asked[1] < ANSWER_WITHIN:
            return
        client = self._commands[name]
        if not client.service_is_ready():
            return
        self._asked = (name, now)
        future = client.call_async(Command.Request(origin=ORIGIN, reason=REASONS[name]))
        future.add_done_callback(lambda done: self._on_answer(name, done))

    def _on_answer(self, name: str, future: Future) -> None:
        if future.cancelled() or future.exception() is not None:
            self._asked = None
            return
        answer = future.result()
        if answer.success:
            self._attempts += name == 'connect'
            return  # and not asked again before it had time to follow
        self._asked = None
        if not answer.success and answer.message != self._refusal:
            self._refusal = answer.message
            self._story.note(self.now, f'{name} refused: {answer.message}')

    def _on_faults(self, message: Faults) -> None:
        self._story.on_faults(self.now, [
            FaultSeen(
                fault.name, fault.level, fault.string_name, fault.module, fault.cell, fault.sensor,
                fault.value, fault.limit, fault.unit, fault.active, fault.latched, fault.text,
            )
            for fault in message.faults
        ])  # fmt: skip

    def _on_limits(self, message: Limits) -> None:
        self._story.on_limits(
            self.now,
            message.charge_current,
            message.discharge_current,
            message.charge_limited_by,
            message.discharge_limited_by,
        )

    def _on_battery(self, message: BatteryState) -> None:
        self._story.on_soc(message.percentage)

    def _on_string(self, name: str, message: StringMeasurement) -> None:
        stamp = stamp_seconds(message.header.stamp)
        self._story.on_string(name, stamp, message.current, message.string_voltage)
        contacts = (message.minus, message.precharge, message.plus)
        self._story.on_contactors(
            self.now,
            name,
            all(one == StringMeasurement.CONTACTOR_OPEN for one in contacts),
            bool(message.status & StringMeasurement.STATUS_LEASE_EXPIRED),
        )

    def _on_cells(self, name: str, message: ModuleCells) -> None:
        self._story.on_cells(self.now, name, np.asarray(message.voltages, dtype=np.float32))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        namespace = self.get_namespace().rstrip('/')
        for status in message.status:
            if status.name == f'{namespace}/sim: simulation':
                values = {pair.key: pair.value for pair in status.values}
                self.recording = values.get('recording', '')
                self._told_position = float(values.get('position', 'nan')), steady_now()
            elif status.name.startswith(f'{namespace}/driver: bus '):
                self._story.on_bus(self.now, status.name.rpartition(' ')[2], status.message)
            elif status.name.startswith(f'{namespace}/estimation: '):
                self._on_estimation(status)
        if self.recording == 'ended':
            self._finish('the recording has ended')

    def _on_estimation(self, status: DiagnosticStatus) -> None:
        values = {pair.key: pair.value for pair in status.values}
        what, text = status.name.rpartition(' ')[2], ''
        if what == 'state' and status.level != DiagnosticStatus.OK:
            problem = values.get('problem', '')
            detail = f'{values.get("file")}: {problem}' if problem else values.get('events', '')
            text = f'{status.message}: {detail}'
        elif what == 'inputs' and values.get('currents estimated'):
            text = status.message
        self._story.on_estimation(self.now, what, text)

    def _finish(self, why: str) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(why)
