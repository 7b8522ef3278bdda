# SPDX-License-Identifier: Apache-2.0
"""The status node and the command over DDS."""

import array
import json
import os
import subprocess
import sys
import threading
import time

import pytest
import rclpy
from dbms_msgs.msg import (
    CellsState,
    Faults,
    Limits,
    ModuleCells,
    ProtectionState,
    StringMeasurement,
    StringState,
)
from rclpy.node import Node
from sensor_msgs.msg import BatteryState

from dbms_monitor.status_node import StatusNode
from dbms_node import qos
from dbms_node.clocks import steady_timer
from dbms_node.runtime import make_executor, spin


class FakeGraph(Node):
    """Says what a pack of one module would say."""

    def __init__(self) -> None:
        super().__init__('fake', namespace='/test_pack')
        self._all = [
            (self.create_publisher(type(message), topic, profile), message)
            for topic, message, profile in (
                (
                    'protection/state',
                    ProtectionState(
                        state_name='CONNECTED', pack='tiny',
                        strings=[StringState(name='a', state_name='CONNECTED')],
                    ),
                    qos.STATE,
                ),
                ('faults', Faults(), qos.STATE),
                ('limits', Limits(valid_for=5.0, charge_current=12.5), qos.STATE),
                ('battery_state', BatteryState(voltage=7.4, percentage=0.5), qos.MEASUREMENT),
                (
                    'cells/state',
                    CellsState(
                        modules=['m1'], module_cells=[2], soc=array.array('f', [0.5, 0.6]),
                        soc_sigma=array.array('f', [0.01, 0.01]),
                    ),
                    qos.MEASUREMENT,
                ),
                (
                    'modules/m1/cells',
                    ModuleCells(voltages=array.array('f', [3.7, float('nan')])),
                    qos.MEASUREMENT,
                ),
                ('strings/a/measurement', StringMeasurement(current=-2.0), qos.MEASUREMENT),
            )
        ]  # fmt: skip
        steady_timer(self, 0.05, self._say)

    def _say(self) -> None:
        for publisher, message in self._all:
            publisher.publish(message)


@pytest.fixture
def graph():
    rclpy.init()
    executor, stop = make_executor(), threading.Event()
    node = FakeGraph()
    executor.add_node(node)
    thread = threading.Thread(target=spin, args=(executor, stop))
    thread.start()
    yield
    stop.set()
    thread.join(10.0)
    node.destroy_node()
    rclpy.try_shutdown()


def test_the_node_finds_modules_and_strings_by_itself(graph):
    node = StatusNode(namespace='/test_pack')
    executor = make_executor()
    executor.add_node(node)
    deadline = time.monotonic() + 20.0
    while not node.snapshot.complete and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    assert node.snapshot.complete
    assert list(node.snapshot.modules) == ['m1']
    assert list(node.snapshot.strings) == ['a']
    node.destroy_node()
    executor.shutdown()


def run(*arguments):
    command = [sys.executable, '-m', 'dbms_monitor.status', *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)


def test_once_as_json(graph):
    result = run('--namespace', 'test_pack', '--once', '--json', '--timeout', '20')
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told['pack']['name'] == 'tiny'
    assert told['limits']['charge_current'] == 12.5
    cells = told['modules'][0]['cells']
    assert [cell['voltage'] for cell in cells] == [3.7, None]
    assert [cell['soc'] for cell in cells] == [0.5, 0.6]


def test_once_as_a_picture(graph, tmp_path):
    picture = tmp_path / 'status.svg'
    result = run('--namespace', 'test_pack', '--once', '--svg', str(picture), '--timeout', '20')
    assert result.returncode == 0, result.stderr
    assert 'tiny' in picture.read_text()


def test_no_graph_is_said_with_the_remedy():
    result = run('--namespace', 'nobody', '--once', '--timeout', '0.5')
    assert result.returncode == 2
    assert 'no graph was found in namespace /nobody within 0.5 s' in result.stderr
    assert './dbms up' in result.stderr
