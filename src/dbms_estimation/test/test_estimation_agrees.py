# SPDX-License-Identifier: Apache-2.0
"""A recording through `./dbms estimate` and through the node over DDS: the same numbers.

The messages hold 32-bit floats, so the recording holds what such a float can.
"""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from dbms_msgs.msg import ModuleCells, StringMeasurement  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from estimation_rig import CELL, LIMITS, Truth, pulses  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from dbms_estimation import estimation_node  # noqa: E402
from dbms_estimation.estimate_cli import main  # noqa: E402
from dbms_estimation.offline import estimate, one_cell_pack  # noqa: E402
from dbms_estimation.records import Record, read_record  # noqa: E402
from dbms_node import middleware, qos  # noqa: E402
from dbms_node.clocks import seconds_stamp  # noqa: E402
from dbms_node.runtime import close_node, make_executor  # noqa: E402

DEADLINE = 30.0  # s for an event to come; only a failure takes that long
START = 1.8e9  # s


def recording(rows: int = 90, start: float = START, soc: float = 0.6) -> Record:
    """Return a recording at 1 Hz with what goes wrong in recordings."""
    truth, table = Truth([soc]), np.empty((3, rows))
    for k in range(rows):
        truth.step(1.0, pulses(k + 5.0))
        table[:, k] = pulses(k + 5.0), truth.voltage[0], 25.0 + 0.1 * k
    current, voltage, temperature = table.astype(np.float32).astype(float)
    current[30:33] = np.nan
    voltage[40:44] = np.nan
    voltage[50:51] = 6.0
    temperature[60:] = np.nan
    return Record(start + np.arange(rows, dtype=float), current, voltage, temperature)


class NodeRun:
    """The node for the cell of a recording, fed row by row."""

    def __init__(self, monkeypatch, record: Record, state_file: str) -> None:
        pack = replace(one_cell_pack(record, CELL), limits=LIMITS)
        monkeypatch.setattr(estimation_node, 'load_pack', lambda name: pack)
        self.context = rclpy.Context()
        middleware.init(context=self.context)
        self.executor = make_executor(self.context)
        self.node = estimation_node.EstimationNode(
            context=self.context,
            namespace='/battery',
            parameter_overrides=[
                Parameter('rate', value=100.0), Parameter('state_file', value=state_file)
            ],
        )  # fmt: skip
        self.peer = rclpy.create_node('driver', context=self.context, namespace='/battery')
        self.scans = self.peer.create_publisher(ModuleCells, 'modules/cell/cells', qos.MEASUREMENT)
        self.currents = self.peer.create_publisher(
            StringMeasurement, 'strings/cell/measurement', qos.MEASUREMENT
        )
        self.states: list[DiagnosticStatus] = []
        self.peer.create_subscription(DiagnosticArray, '/diagnostics', self._hear, qos.DIAGNOSTICS)
        for node in (self.node, self.peer):
            self.executor.add_node(node)
        for publisher in (self.scans, self.currents):
            self.until(lambda p=publisher: p.get_subscription_count() > 0)

    def _hear(self, message: DiagnosticArray) -> None:
        self.states += [s for s in message.status if s.name.endswith(': state')]

    def until(self, condition) -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, 'never came true'
            self.executor.spin_once(timeout_sec=0.1)

    def row(self, stamp: float, current: float, voltage: float, temperature: float) -> None:
        """Publish a row and wait until the filter has taken it."""
        message = StringMeasurement(current=current, string_voltage=math.nan)
        message.header.stamp = seconds_stamp(stamp)
        self.currents.publish(message)
        self.until(lambda: self.node._estimation.readings[0].stamp == stamp)
        scan = ModuleCells(voltages=[voltage], temperatures=[temperature], serial=7)
        scan.header.stamp = seconds_stamp(stamp)
        self.scans.publish(scan)
        estimator = self.node._estimator
        self.until(lambda: estimator.stamps[0] == stamp and not estimator.news[0])

    def soc(self) -> tuple[float, float, float, float]:
        cells = self.node._estimator.filter
        if not cells.started[0]:
            return (math.nan,) * 4
        return cells.soc[0], cells.sigma[0], cells.bias[0], cells.expected[0]

    def close(self) -> None:
        self.executor.shutdown(timeout_sec=1.0)
        for node in (self.node, self.peer):
            close_node(node)
        rclpy.try_shutdown(context=self.context)


def test_node_and_command_give_the_same_numbers(monkeypatch, tmp_path):
    record = recording()
    run = NodeRun(monkeypatch, record, 'none')
    try:
        found = []
        for row in zip(*(column.tolist() for column in vars(record).values()), strict=True):
            run.row(*row)
            found.append(run.soc())
    finally:
        run.close()
    result = estimate(record, CELL)
    columns = np.array(found).T
    told = (result.soc, result.soc_std, result.current_bias, result.voltage)
    for node, offline in zip(columns, told, strict=True):
        assert np.allclose(node, offline, rtol=0, atol=1e-9, equal_nan=True)
    assert np.isfinite(columns[:, 1:]).all()
    # And what the command writes is that, to the digits of the file.
    path = tmp_path / 'in.csv'
    rows = np.column_stack(list(vars(record).values())).tolist()
    lines = [','.join('' if math.isnan(x) else repr(x) for x in row) for row in rows]
    path.write_text('\n'.join(['time_s,current_A,voltage_V,temperature_degC', *lines]))
    assert np.array_equal(read_record(path).voltage, record.voltage, equal_nan=True)
    monkeypatch.setattr('dbms_estimation.estimate_cli.load_cell', lambda name: CELL)
    assert main([str(path), '--cell', 'it', '-o', str(tmp_path / 'out.csv')]) == 0
    written = np.genfromtxt(tmp_path / 'out.csv', delimiter=',', names=True)
    assert np.allclose(written['soc'], columns[0], rtol=0, atol=1e-9)


def test_the_node_goes_on_where_it_stopped_and_says_so(monkeypatch, tmp_path):
    file = str(tmp_path / 'state.sqlite')
    first = recording(12)
    run = NodeRun(monkeypatch, first, file)
    for row in zip(*(column.tolist() for column in vars(first).values()), strict=True):
        run.row(*row)
    before = run.soc()
    run.close()
    run = NodeRun(monkeypatch, first, file)
    try:
        run.row(START + 30.0, first.current[11], first.voltage[11], 25.0)
        run.until(lambda: run.states and run.states[-1].message == 'state is kept')
        run.until(lambda: {v.key: v.value for v in run.states[-1].values}['cells taken up'] == '1')
        assert run.soc()[0] == pytest.approx(before[0], abs=1e-9)
        assert before[1] < run.soc()[1] < before[1] + 0.02
    finally:
        run.close()


def test_a_cell_that_is_another_one_is_said_in_diagnostics(monkeypatch, tmp_path):
    file = str(tmp_path / 'state.sqlite')
    for serial_voltage in (3.65, 4.1):
        record = recording(3)
        run = NodeRun(monkeypatch, record, file)
        try:
            for k in range(3):
                stamp = START + k + (3600.0 if serial_voltage > 4 else 0.0)
                run.row(stamp, 0.0, float(np.float32(serial_voltage)), 25.0)
            if serial_voltage > 4:
                run.until(lambda r=run: any(s.level == DiagnosticStatus.WARN for s in r.states))
                values = {v.key: v.value for v in run.states[-1].values}
                assert 'another SOC than before the stop' in values['events']
                assert run.soc()[0] > 0.9
        finally:
            run.close()
