# SPDX-License-Identifier: Apache-2.0
"""The node over DDS: what goes in, what comes out, and what it does not fall over."""

import math
import time

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from dbms_msgs.msg import (  # noqa: E402
    CellsHealth,
    CellsState,
    EnergyEstimate,
    ModuleCells,
    PowerEstimate,
    StringMeasurement,
)
from dbms_msgs.srv import PlanEnergy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from estimation_rig import make_pack, ocv  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import BatteryState  # noqa: E402

from dbms_estimation import battery_state, estimation_node  # noqa: E402
from dbms_node import middleware, qos  # noqa: E402
from dbms_node.clocks import seconds_stamp, stamp_seconds, steady_timer  # noqa: E402
from dbms_node.runtime import make_executor  # noqa: E402

DEADLINE = 20.0  # s for an event to come; only a failure takes that long


class Graph:
    """The node under test, and a node that plays the driver and listens to everything."""

    def __init__(self, monkeypatch, pack) -> None:
        monkeypatch.setattr(estimation_node, 'load_pack', lambda name: pack)
        self.pack = pack
        self.context = rclpy.Context()
        middleware.init(context=self.context)
        self.executor = make_executor(self.context)
        self.node = estimation_node.EstimationNode(
            context=self.context,
            namespace='/battery',
            parameter_overrides=[
                Parameter('rate', value=20.0),
                Parameter('state_file', value='none'),
            ],
        )
        self.peer = rclpy.create_node('driver', context=self.context, namespace='/battery')
        self.scans = [
            self.peer.create_publisher(ModuleCells, f'modules/{m.name}/cells', qos.MEASUREMENT)
            for m in pack.modules
        ]
        self.measurements = [
            self.peer.create_publisher(
                StringMeasurement, f'strings/{s.name}/measurement', qos.MEASUREMENT
            )
            for s in pack.strings
        ]
        self.heard: dict[str, object] = {}
        self.listen(CellsState, 'cells/state')
        self.listen(BatteryState, 'battery_state')
        for string in pack.strings:
            self.listen(BatteryState, f'strings/{string.name}/battery_state')
        self.listen(DiagnosticArray, '/diagnostics')
        self.listen(CellsHealth, 'health', qos.STATE)
        self.listen(PowerEstimate, 'power')
        self.listen(EnergyEstimate, 'energy')
        self.current, self.soc, self.silent, self.spoil = 0.0, 0.5, set(), None
        self.status = 0  # of every current sensor
        for node in (self.node, self.peer):
            self.executor.add_node(node)
        steady_timer(self.peer, 0.05, self.play)

    def listen(self, kind, topic: str, profile=qos.MEASUREMENT) -> None:
        def keep(message) -> None:
            self.heard[topic] = message

        self.peer.create_subscription(kind, topic, keep, profile)

    def play(self) -> None:
        """Publish one measurement of each string and one scan of each module."""
        now = time.time()
        for publisher in self.measurements:
            message = StringMeasurement(current=self.current, string_voltage=math.nan)
            message.header.stamp = seconds_stamp(now)
            message.status = self.status
            message.minus = message.plus = StringMeasurement.CONTACTOR_CLOSED
            publisher.publish(message)
        for publisher, module in zip(self.scans, self.pack.modules, strict=True):
            if module.name in self.silent:
                continue
            message = ModuleCells(serial=0x1234)
            message.header.stamp = seconds_stamp(now)
            message.voltages = [float(ocv(self.soc))] * module.cells
            message.temperatures = [25.0] * module.temperatures
            if self.spoil:
                self.spoil(message)
            publisher.publish(message)

    def wait(self, condition) -> None:
        """Spin until `condition(heard)` holds; fail at the deadline."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.1)
            try:
                if condition(self.heard):
                    return
            except KeyError:
                continue
        pytest.fail(f'never came true; last heard: {self.heard}')

    def close(self) -> None:
        self.executor.shutdown(timeout_sec=1.0)
        for node in (self.node, self.peer):
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def graph(monkeypatch):
    made = Graph(monkeypatch, make_pack(strings=2, modules=2, current_period=0.05))
    yield made
    made.close()


def test_state_of_every_cell_in_pack_order(graph):
    graph.wait(lambda heard: np.isfinite(heard['cells/state'].soc).all())
    message = graph.heard['cells/state']
    assert list(message.modules) == ['s1m1', 's1m2', 's2m1', 's2m2']
    assert list(message.module_cells) == [4, 4, 4, 4]
    assert np.asarray(message.soc) == pytest.approx(0.5, abs=0.02)
    assert np.asarray(message.soc_coulomb) == pytest.approx(0.5, abs=0.02)
    assert (np.asarray(message.soc_sigma) > 0).all()
    for unknown in (message.soh, message.soh_sigma, message.resistance):
        assert len(unknown) == 16 and np.isnan(unknown).all()
    assert abs(stamp_seconds(message.header.stamp) - time.time()) < DEADLINE


def test_battery_state_keeps_the_conventions(graph):
    graph.current = -3.0
    graph.wait(lambda heard: heard['battery_state'].current == -6.0)
    graph.wait(lambda heard: np.isfinite(heard['battery_state'].percentage))
    pack, string = graph.heard['battery_state'], graph.heard['strings/s1/battery_state']
    assert pack.power_supply_status == BatteryState.POWER_SUPPLY_STATUS_DISCHARGING
    assert pack.power_supply_technology == BatteryState.POWER_SUPPLY_TECHNOLOGY_LION
    assert pack.power_supply_health == BatteryState.POWER_SUPPLY_HEALTH_GOOD
    assert 0.0 < pack.percentage < 1.0
    assert pack.present
    assert pack.voltage == pytest.approx(8 * ocv(0.5), rel=1e-3)
    assert len(pack.cell_voltage) == 16 and len(string.cell_voltage) == 8
    assert math.isnan(pack.capacity) and pack.design_capacity == 6.0
    assert string.serial_number == '1234-1234'
    graph.current = 3.0
    charging = BatteryState.POWER_SUPPLY_STATUS_CHARGING
    graph.wait(lambda heard: heard['battery_state'].power_supply_status == charging)
    assert graph.heard['battery_state'].current > 0


def test_power_and_energy_arrive_and_are_those_of_cells_half_full(graph):
    graph.current = -3.0
    graph.wait(lambda heard: np.isfinite(heard['power'].discharge_current).all())
    power = graph.heard['power']
    assert list(power.horizons) == [2.0, 10.0, 30.0, 600.0]
    for current in (power.charge_current, power.discharge_current):
        assert len(current) == 4 and (np.diff(current) <= 0).all() and current[-1] > 0
    assert power.discharge_power[0] == pytest.approx(power.discharge_current[0] * 28, rel=0.1)
    assert len(power.cell_discharge_current) == 4 * 16
    graph.wait(lambda heard: np.isfinite(heard['energy'].time_to_empty))
    energy = graph.heard['energy']
    assert energy.power == pytest.approx(-6.0 * 8 * ocv(0.5), rel=0.05)
    assert 0 < energy.energy_low < energy.energy < 0.6 * 6.0 * 8 * 3.6
    assert energy.reserve == pytest.approx(0.1 * 6.0 * 8 * 3.6)
    assert energy.energy_to_return_low == pytest.approx(energy.energy_low - energy.reserve)
    assert 0 < energy.time_to_empty_low < energy.time_to_empty
    assert math.isnan(energy.time_to_full) and energy.energy_to_full > 0


def test_nothing_is_told_of_ageing_before_something_was_learnt(graph):
    graph.wait(lambda heard: len(heard['health'].windows) == 16)
    health = graph.heard['health']
    assert list(health.windows) == list(health.edges) == [0] * 16
    for unknown in (health.soh_cells, health.soh_sigma, health.resistance_ratio):
        assert len(unknown) == 16 and np.isnan(unknown).all()
    assert math.isnan(health.capacity) and math.isnan(health.soh)


def test_a_mission_can_be_planned_with_what_is_left(graph):
    client = graph.peer.create_client(PlanEnergy, 'plan_energy')

    def ask(power: float, energy: float):
        future = client.call_async(PlanEnergy.Request(power=power, energy=energy))
        graph.wait(lambda heard: future.done())
        return future.result()

    graph.wait(lambda heard: client.service_is_ready())
    graph.wait(lambda heard: np.isfinite(heard['energy'].energy_low))
    answer = ask(40.0, 5.0)
    assert answer.known and answer.sufficient and answer.message == ''
    assert answer.available_low < answer.available and answer.left_low > 0
    too_much = ask(40.0, answer.available)
    assert too_much.known and not too_much.sufficient and 'missing' in too_much.message
    for power in (0.0, -5.0, math.nan):
        assert not ask(power, 1.0).known
    graph.silent = {'s1m1'}
    graph.wait(lambda heard: np.isnan(heard['cells/state'].soc[:4]).all())
    graph.wait(lambda heard: np.isnan(heard['energy'].energy))
    assert not ask(40.0, 5.0).sufficient


def test_a_module_missing_from_the_start_is_nan_and_the_rest_goes_on(graph):
    graph.silent = {'s2m2'}
    graph.wait(lambda heard: np.isfinite(heard['cells/state'].soc[:12]).all())
    assert np.isnan(graph.heard['cells/state'].soc[12:]).all()
    graph.wait(lambda heard: heard['battery_state'].percentage == pytest.approx(0.5, abs=0.02))
    assert math.isnan(graph.heard['strings/s2/battery_state'].percentage)
    graph.silent = set()
    graph.wait(lambda heard: np.isfinite(heard['cells/state'].soc).all())


def test_a_module_that_falls_silent_becomes_nan(graph):
    graph.wait(lambda heard: np.isfinite(heard['cells/state'].soc).all())
    graph.silent = {'s1m1'}
    graph.wait(lambda heard: np.isnan(heard['cells/state'].soc[:4]).all())
    assert np.isfinite(graph.heard['cells/state'].soc[4:]).all()
    assert np.isnan(graph.heard['battery_state'].cell_voltage[:4]).all()


def test_scans_of_wrong_length_are_refused_and_told(graph):
    def every(message: ModuleCells) -> None:
        message.voltages = [3.7] * 5

    graph.wait(lambda heard: np.isfinite(heard['cells/state'].soc).all())
    graph.spoil = every
    graph.wait(lambda heard: 'scans of wrong length' in told(heard))
    assert told(graph.heard)['scans of wrong length'] != '0'
    assert graph.heard['/diagnostics'].status[0].level == DiagnosticStatus.WARN
    graph.spoil = None
    graph.wait(lambda heard: np.isfinite(heard['cells/state'].soc).all())


def told(heard) -> dict[str, str]:
    return {pair.key: pair.value for pair in heard['/diagnostics'].status[0].values}


def test_a_faulty_or_old_current_is_not_used(graph):
    node = graph.node
    now = time.time()
    for fault in (
        {'status': StringMeasurement.STATUS_SENSOR_FAULT},
        {'status': StringMeasurement.STATUS_OVER_RANGE},
        {'current_age': 5.0},
        {'current_age': math.nan},
    ):
        message = StringMeasurement(current=7.0, **fault)
        message.header.stamp = seconds_stamp(now)
        node._on_measurement(0, message)
        assert math.isnan(node._estimation.readings[0].current)
    assert node._estimator.counters['currents not measured'] == 4


def test_a_lost_current_sensor_is_told_and_stood_in_for_by_the_cells(graph):
    def loaded(message: ModuleCells) -> None:
        message.voltages = [float(ocv(0.5)) - 0.024 * 3.0] * len(message.voltages)

    graph.wait(lambda heard: np.isfinite(heard['cells/state'].soc).all())
    graph.spoil, graph.current = loaded, -3.0
    graph.wait(lambda heard: heard['battery_state'].current == pytest.approx(-6.0))
    graph.status = StringMeasurement.STATUS_SENSOR_FAULT
    graph.wait(lambda heard: 'estimated' in heard['/diagnostics'].status[0].message)
    graph.wait(lambda heard: math.isnan(heard['battery_state'].current))
    assert graph.heard['/diagnostics'].status[0].level == DiagnosticStatus.WARN
    for one in told(graph.heard)['currents estimated'].split(', '):
        _, current, _, _, sigma, _ = one.split()
        assert float(current) == pytest.approx(-3.0, abs=1.0) and float(sigma) > 0
    # The SOC goes on; the count of a charge that nobody measured does not.
    assert graph.heard['cells/state'].soc == pytest.approx([0.5] * 16, abs=0.03)
    assert np.isnan(graph.heard['cells/state'].soc_coulomb).all()
    graph.status = 0
    graph.wait(lambda heard: heard['battery_state'].current == pytest.approx(-6.0))
    graph.wait(lambda heard: 'estimated' not in heard['/diagnostics'].status[0].message)
    assert told(graph.heard)['currents estimated'] == ''


def test_numbers_are_those_of_the_message():
    for kind, prefix in (
        (battery_state.SupplyStatus, 'POWER_SUPPLY_STATUS_'),
        (battery_state.Health, 'POWER_SUPPLY_HEALTH_'),
        (battery_state.Technology, 'POWER_SUPPLY_TECHNOLOGY_'),
    ):
        for member in kind:
            assert getattr(BatteryState, prefix + member.name) == member
    assert StringMeasurement.CONTACTOR_OPEN == battery_state.CONTACTOR_OPEN


def test_the_node_refuses_a_pack_that_is_not_there():
    context = rclpy.Context()
    middleware.init(context=context)
    try:
        with pytest.raises(ValueError):
            estimation_node.EstimationNode(
                context=context, parameter_overrides=[Parameter('pack', value='no_such_pack')]
            )
    finally:
        rclpy.try_shutdown(context=context)
