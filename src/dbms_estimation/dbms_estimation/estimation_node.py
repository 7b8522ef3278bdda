# SPDX-License-Identifier: Apache-2.0
"""Node `estimation`: from module scans and string currents to cells/state and battery_state."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from dbms_msgs.msg import (
    CellsHealth,
    CellsState,
    EnergyEstimate,
    ModuleCells,
    PowerEstimate,
    StringMeasurement,
)
from dbms_msgs.srv import PlanEnergy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from sensor_msgs.msg import BatteryState

from dbms_node import qos
from dbms_node.clocks import stamp_seconds, steady_now, steady_timer
from dbms_node.parameters import declare
from dbms_node.replay_clock import ReplayClock
from dbms_node.runtime import run_node
from dbms_pack import load_pack

from .estimation import Estimation
from .keeper import NOWHERE, Keeper, place
from .messages import CellsStateWriter, HealthWriter, battery_state, plan_response
from .pack_estimator import PackEstimator

DIAGNOSTICS_PERIOD = 1.0  # s
POWER_PERIOD = 1.0  # s, for up to CELLS_PER_POWER cells; larger packs are told less often
CELLS_PER_POWER = 512
HEALTH_EVERY = 10  # messages of power and energy for one of health


class EstimationNode(Node):
    """Estimates the SOC of every cell and publishes it with the standard battery state.

    Scans are noted as they arrive; a steady timer advances the filter and publishes.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('estimation', **kwargs)
        name = declare(self, 'pack', '', 'Path of a pack file, or name of a shipped one.')
        rate = declare(self, 'rate', 10.0, 'Updates per s.', minimum=0.1, maximum=100.0)
        time_scale = declare(
            self,
            'time_scale',
            1.0,
            'Seconds of battery time per second; other than 1 in simulation only.',
            minimum=0.001,
            maximum=10000.0,
        )
        self._expected = declare(
            self,
            'expected_power',
            0.0,
            'Load in W that energy is told for; 0: the mean of the last half hour of discharge.',
            minimum=0.0,
            maximum=1e9,
        )
        reserve = declare(
            self,
            'reserve',
            0.1,
            'Part of the rated energy that no plan may count on.',
            minimum=0.0,
            maximum=0.9,
        )
        replay = declare(self, 'replay', False, 'Estimate a recording: time is that of /clock.')
        pack = self._pack = load_pack(name)
        self._time_scale = time_scale
        self._time: Callable[[], float | None] = steady_now
        if replay:
            self._time = ReplayClock(self.get_clock(), self._begin_anew).now
        self._state_path, self._state_period = self._keeping(nowhere=replay)
        self._begin()
        self._writer = CellsStateWriter(pack)
        self._cells = self.create_publisher(CellsState, 'cells/state', qos.MEASUREMENT)
        self._battery = self.create_publisher(BatteryState, 'battery_state', qos.MEASUREMENT)
        self._batteries = [
            self.create_publisher(BatteryState, f'strings/{s.name}/battery_state', qos.MEASUREMENT)
            for s in pack.strings
        ]
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', qos.DIAGNOSTICS)
        self._advertise_health(reserve)
        self._subscribe()
        steady_timer(self, 1.0 / rate, self._tick)
        steady_timer(self, DIAGNOSTICS_PERIOD, self._diagnose)

    def _begin(self) -> None:
        """Know nothing of the cells but what was kept of them."""
        self._estimator = PackEstimator(self._pack, time_scale=self._time_scale)
        self._estimation = Estimation(self._pack, self._estimator)
        self._keeper = Keeper(
            self._estimation, self._state_path, self._state_period, self.get_logger().warning
        )
        self._newest = Time()
        self._reported = 0

    def _begin_anew(self, now: float, reason: str) -> None:
        """Forget everything, because the time of a replay has jumped."""
        self._keeper.close()
        self._begin()
        self.get_logger().warning(f'{reason}: estimation begins anew')

    def _keeping(self, nowhere: bool) -> tuple[Path | None, float]:
        name = declare(
            self,
            'state_file',
            '',
            f"Where the state is kept over a restart; '': in the user's state folder; {NOWHERE}: "
            'nowhere.',
        )
        period = declare(
            self,
            'state_period',
            60.0,
            'Time in s between two savings of the state.',
            minimum=1.0,
            maximum=86400.0,
        )
        path = place(name, self.get_namespace(), self._pack.name, os.environ)
        return None if nowhere else path, period

    def close(self) -> None:
        """Keep the last state."""
        self._keeper.close()

    def _advertise_health(self, reserve: float) -> None:
        pack = self._pack
        series = min(string.cells for string in pack.strings)
        self._reserve = reserve * pack.capacity * series * pack.cell.voltage_nominal
        self._health_writer = HealthWriter(pack, self._reserve)
        self._reports = 0
        self._cells_health = self.create_publisher(CellsHealth, 'health', qos.STATE)
        self._power = self.create_publisher(PowerEstimate, 'power', qos.MEASUREMENT)
        self._energy = self.create_publisher(EnergyEstimate, 'energy', qos.MEASUREMENT)
        self.create_service(PlanEnergy, 'plan_energy', self._plan)
        # Power and energy in turns: no tick waits for both.
        period = POWER_PERIOD * max(1.0, pack.cells / CELLS_PER_POWER)
        self._power_next = True
        steady_timer(self, 0.5 * period, self._report)

    def _subscribe(self) -> None:
        for index, module in enumerate(self._pack.modules):
            self.create_subscription(
                ModuleCells,
                f'modules/{module.name}/cells',
                partial(self._on_scan, index),
                qos.MEASUREMENT,
            )
        for index, string in enumerate(self._pack.strings):
            self.create_subscription(
                StringMeasurement,
                f'strings/{string.name}/measurement',
                partial(self._on_measurement, index),
                qos.MEASUREMENT,
            )

    def _on_scan(self, index: int, message: ModuleCells) -> None:
        now = self._time()
        if now is None:
            return
        stamp = message.header.stamp
        used = self._estimation.on_scan(
            index,
            stamp_seconds(stamp),
            now,
            message.voltages,
            message.temperatures,
            message.serial,
        )
        if used:
            self._newest = stamp

    def _on_measurement(self, index: int, message: StringMeasurement) -> None:
        now = self._time()
        if now is None:
            return
        stamp = stamp_seconds(message.header.stamp)
        self._estimation.on_measurement(index, message, stamp, now)
        self._newest = message.header.stamp

    def _tick(self) -> None:
        now = self._time()
        if now is None:
            return
        view = self._estimation.tick(now)
        strings = view.strings()
        for publisher, values in zip(self._batteries, strings, strict=True):
            publisher.publish(battery_state(values, self._newest))
        self._battery.publish(battery_state(view.pack(strings), self._newest))
        self._cells.publish(self._writer.write(view, self._newest))

    def _report(self) -> None:
        estimation, writer = self._estimation, self._health_writer
        if self._power_next:
            self._power.publish(writer.power(estimation.power(), self._newest))
        else:
            self._energy.publish(writer.energy(estimation.energy(self._expected), self._newest))
            if self._reports % HEALTH_EVERY == 0:
                self._cells_health.publish(writer.health(estimation.health.told(), self._newest))
            self._reports += 1
        self._power_next = not self._power_next

    def _plan(
        self, request: PlanEnergy.Request, response: PlanEnergy.Response
    ) -> PlanEnergy.Response:
        answer = self._estimation.plan(request.power, request.energy, self._reserve)
        return plan_response(response, answer)

    def _diagnose(self) -> None:
        counters = self._estimator.counters
        fresh = self._estimator.fresh_modules(self._time() or 0.0)
        missing = [self._pack.modules[i].name for i in np.flatnonzero(~fresh)]
        refused = sum(counters.values())
        status = DiagnosticStatus(
            name=f'{self.get_fully_qualified_name()}: inputs', hardware_id=self._pack.name
        )
        status.level, status.message = DiagnosticStatus.OK, 'all inputs arrive'
        if missing:
            status.level, status.message = DiagnosticStatus.WARN, 'modules silent'
        elif refused > self._reported:
            status.level, status.message = DiagnosticStatus.WARN, 'inputs refused'
        guessed = [
            f'{string.name} {found.current:.2f} A +- {found.sigma:.2f} A'
            for string, found in zip(self._pack.strings, self._estimator.estimated, strict=True)
            if found is not None
        ]
        if guessed:
            status.level = DiagnosticStatus.WARN
            status.message = 'current sensor lost, current estimated from the cells'
        self._reported = refused
        status.values = [KeyValue(key=k, value=str(n)) for k, n in sorted(counters.items())]
        status.values.append(KeyValue(key='modules silent', value=' '.join(missing)))
        status.values.append(KeyValue(key='currents estimated', value=', '.join(guessed)))
        message = DiagnosticArray(status=[status, self._diagnose_state()])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _diagnose_state(self) -> DiagnosticStatus:
        memory, keeper, now = self._estimation.memory, self._keeper, steady_now()
        keeper.look(now)
        status = DiagnosticStatus(
            name=f'{self.get_fully_qualified_name()}: state', hardware_id=self._pack.name
        )
        store = keeper.store
        status.level, status.message = DiagnosticStatus.OK, 'state is kept'
        if store is None:
            status.message = 'state is not kept'
        if keeper.noteworthy(now):
            status.level, status.message = DiagnosticStatus.WARN, 'not what was there before'
        if keeper.problem:
            status.level, status.message = DiagnosticStatus.WARN, 'state cannot be kept'
        status.values = [
            KeyValue(key='file', value=str(store.path) if store else ''),
            KeyValue(key='saves', value=str(store.saves if store else 0)),
            KeyValue(key='cells taken up', value=str(int(memory.restored.sum()))),
            KeyValue(key='problem', value=keeper.problem),
            KeyValue(key='events', value=' / '.join(keeper.events)),
        ]
        return status


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to end."""
    return run_node(EstimationNode, args)
