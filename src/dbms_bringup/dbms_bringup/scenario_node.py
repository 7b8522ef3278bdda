# SPDX-License-Identifier: Apache-2.0
"""The node of a scenario run: hears what the graph tells, sends commands, reads the truth."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dbms_msgs.msg import Faults, Limits, ModuleCells, ProtectionState, StringMeasurement
from dbms_msgs.srv import Command
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import BatteryState

from dbms_node import qos
from dbms_node.clocks import steady_now
from dbms_sim.feeds import ModelFeed
from dbms_sim.scenario_words import MODULE_STATUS, STRING_STATUS
from dbms_sim.world import World

from .commands import SERVICES
from .story import FaultSeen
from .verdicts import View

RATE_SPAN = 2.0  # s


class Rate:
    """How often something happens per s, over the last `RATE_SPAN`."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._whole = False  # a whole span was heard

    def add(self, now: float) -> float:
        """Take note of it at `now` in s; return the rate, NaN before it is known."""
        times = self._times
        times.append(now)
        while now - times[0] > RATE_SPAN:
            times.popleft()
            self._whole = True
        return (len(times) - 1) / (now - times[0]) if self._whole and now > times[0] else math.nan


class ScenarioNode(Node):
    """Keeps a view of the graph; calls `changed` in the executor's thread when it changes."""

    def __init__(self, view: View, changed: Callable[[], None], **kwargs: Any) -> None:
        super().__init__('dbms_scenario', **kwargs)
        self._view = view
        self._changed = changed
        self._commands = {
            name: self.create_client(Command, service) for name, service in SERVICES.items()
        }
        self._heard: set[str] = set()
        self._rates = {module.name: Rate() for module in view.pack.modules}
        view.measured = np.full(view.pack.cells, np.nan)
        self._subscribe()

    @property
    def ready(self) -> bool:
        """Tell whether every part of the pack was heard and protection takes commands."""
        pack = self._view.pack
        everyone = {module.name for module in pack.modules}
        everyone |= {string.name for string in pack.strings}
        services = all(client.service_is_ready() for client in self._commands.values())
        return self._heard == everyone and self._view.state == 'STANDBY' and services

    def command(self, kind: str, strings: Sequence[str] = ()) -> None:
        """Ask protection for something; the view shows its answer."""
        self._view.answer = self._view.answer_text = ''
        request = Command.Request(origin='scenario', reason='timeline', strings=list(strings))
        self._commands[kind].call_async(request).add_done_callback(self._on_answer)

    def _subscribe(self) -> None:
        subscribe = self.create_subscription
        subscribe(ProtectionState, 'protection/state', self._on_state, qos.STATE)
        subscribe(Faults, 'faults', self._on_faults, qos.STATE)
        subscribe(Limits, 'limits', self._on_limits, qos.STATE)
        subscribe(BatteryState, 'battery_state', self._on_battery, qos.DISPLAY)
        for string in self._view.pack.strings:
            subscribe(
                StringMeasurement,
                f'strings/{string.name}/measurement',
                lambda message, name=string.name: self._on_string(name, message),
                qos.MEASUREMENT,
            )
        for module in self._view.pack.modules:
            subscribe(
                ModuleCells,
                f'modules/{module.name}/cells',
                lambda message, module=module: self._on_cells(module, message),
                qos.MEASUREMENT,
            )

    def _on_answer(self, future: Future) -> None:
        if future.cancelled() or future.exception() is not None:
            return
        answer = future.result()
        self._view.answer_text = answer.message
        self._view.answer = 'accepted' if answer.success else 'refused'
        self._changed()

    def _on_state(self, message: ProtectionState) -> None:
        self._view.state = message.state_name
        self._view.strings = {one.name: (one.state_name, one.reason) for one in message.strings}
        self._changed()

    def _on_faults(self, message: Faults) -> None:
        self._view.faults = [
            FaultSeen(
                fault.name, fault.level, fault.string_name, fault.module, fault.cell, fault.sensor,
                fault.value, fault.limit, fault.unit, fault.active, fault.latched, fault.text,
            )
            for fault in message.faults
        ]  # fmt: skip
        self._changed()

    def _on_limits(self, message: Limits) -> None:
        self._view.limits = message.charge_current, message.discharge_current
        self._changed()

    def _on_battery(self, message: BatteryState) -> None:
        self._view.soc_estimate = message.percentage

    def _on_string(self, name: str, message: StringMeasurement) -> None:
        self._heard.add(name)
        self._view.insulation[name] = message.insulation_resistance
        self._view.measured_currents[name] = message.current
        self._view.string_voltages[name] = message.string_voltage
        self._view.status[name] = _bits(message, STRING_STATUS)
        self._changed()

    def _on_cells(self, module: Any, message: ModuleCells) -> None:
        self._heard.add(module.name)
        self._view.scan_rates[module.name] = self._rates[module.name].add(steady_now())
        self._view.measured[module.cell_slice] = message.voltages
        self._view.status[module.name] = _bits(message, MODULE_STATUS)
        self._changed()


def _bits(message: Any, names: Sequence[str]) -> frozenset[str]:
    status = message.status
    if not status:
        return frozenset()
    return frozenset(name for name in names if status & getattr(message, f'STATUS_{name}'))


def read_truth(world: World, view: View) -> None:
    """Copy what really is into the view; call it while the world stands still."""
    feed = world.feed
    assert isinstance(feed, ModelFeed)  # a scenario plays no recording
    plant = feed.plant
    view.voltages = plant.voltages.copy()
    view.temperatures = plant.temperature.copy()
    view.soc = float(plant.soc.mean())
    view.currents = feed.currents.copy()
    view.link_voltage = feed.link_voltage
    view.connected = {name: unit.main_closed for name, unit in world.units.items()}
