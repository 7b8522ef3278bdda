# SPDX-License-Identifier: Apache-2.0
"""The node as a process of its own: killed while it writes, and what it says when it is back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy')

from dbms_msgs.msg import CellsState, ModuleCells, StringMeasurement  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402

from dbms_estimation.ecm import CellTables  # noqa: E402
from dbms_node import middleware, qos  # noqa: E402
from dbms_node.clocks import seconds_stamp, stamp_seconds, steady_timer  # noqa: E402
from dbms_node.runtime import make_executor  # noqa: E402
from dbms_pack import load_pack  # noqa: E402

DEADLINE = 30.0  # s for an event to come; only a failure takes that long
PACK = load_pack('robot_13s')
TABLES = CellTables(PACK.cell)
MAIN = 'import sys; from dbms_estimation.estimation_node import main; sys.exit(main())'
JOURNAL = b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7'  # in the header, https://sqlite.org/fileformat.html


class Driver:
    """Plays the driver of the pack, listens to the estimator, and starts and kills it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.soc = np.full(PACK.cells, 0.6)
        self.heard: dict[str, object] = {}
        self.process: subprocess.Popen | None = None
        self._begun = time.time()
        self._random = np.random.default_rng(1)
        self._context = rclpy.Context()
        middleware.init(context=self._context)
        self._executor = make_executor(self._context)
        self._node = rclpy.create_node('driver', context=self._context, namespace='/battery')
        (string,) = PACK.strings
        self._current = self._node.create_publisher(
            StringMeasurement, f'strings/{string.name}/measurement', qos.MEASUREMENT
        )
        self._scans = [
            self._node.create_publisher(ModuleCells, f'modules/{m.name}/cells', qos.MEASUREMENT)
            for m in PACK.modules
        ]
        self._node.create_subscription(CellsState, 'cells/state', self._hear, 10)
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnosed, 10)
        self._executor.add_node(self._node)
        steady_timer(self._node, 0.05, self._play)

    def _hear(self, message: CellsState) -> None:
        if stamp_seconds(message.header.stamp) >= self._begun:  # not of a node that is dead
            self.heard['cells/state'] = message

    def _diagnosed(self, message: DiagnosticArray) -> None:
        if stamp_seconds(message.header.stamp) >= self._begun:
            for status in message.status:
                self.heard[status.name.split(': ')[1]] = status

    def _play(self) -> None:
        """Publish what is measured of cells at rest."""
        now = seconds_stamp(time.time())
        message = StringMeasurement(current=0.0, string_voltage=float('nan'))
        message.header.stamp = now
        message.minus = message.plus = StringMeasurement.CONTACTOR_CLOSED
        self._current.publish(message)
        noise = self._random.normal(0.0, 0.0005, PACK.cells)
        voltages = TABLES.ocv(self.soc)[0] + noise
        for publisher, module in zip(self._scans, PACK.modules, strict=True):
            scan = ModuleCells(serial=0x1234)
            scan.header.stamp = now
            scan.voltages = voltages[module.cell_slice].tolist()
            scan.temperatures = [25.0] * module.temperatures
            publisher.publish(scan)

    def start(self) -> None:
        """Start the node; nothing heard of the one before counts any more."""
        settings = {'pack': PACK.name, 'rate': 20.0, 'state_file': self.file, 'state_period': 1.0}
        words = [word for k, v in settings.items() for word in ('-p', f'{k}:={v}')]
        ros = ['--ros-args', '-r', '__ns:=/battery', *words]
        self.heard.clear()
        self._begun = time.time()
        self.process = subprocess.Popen([sys.executable, '-c', MAIN, *ros])

    def kill_while_it_writes(self) -> None:
        """Kill the node with SIGKILL while a transaction of its state file is open."""
        assert self.process is not None
        end, fed = time.monotonic() + DEADLINE, 0.0
        while time.monotonic() < end:
            if self._writing():
                self.process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
                if self._writing():  # it stopped before the end of it
                    self.end()
                    return
                self.process.send_signal(signal.SIGCONT)
            elif time.monotonic() - fed > 0.05:
                self._executor.spin_once(timeout_sec=0.0)
                fed = time.monotonic()
        pytest.fail('the node never wrote its state')

    def _writing(self) -> bool:
        """Tell whether the journal holds what undoes a transaction; it is zeroed with its end."""
        with open(f'{self.file}-journal', 'rb') as journal:
            return journal.read(len(JOURNAL)) == JOURNAL

    def wait(self, condition) -> None:
        """Spin until `condition(heard)` holds; fail at the deadline."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.1)
            try:
                if condition(self.heard):
                    return
            except KeyError:  # not heard of yet
                continue
        pytest.fail(f'never came true; last heard: {self.heard}')

    def told(self, key: str) -> str:
        """Return what /diagnostics tells of the state."""
        return next(pair.value for pair in self.heard['state'].values if pair.key == key)

    def wait_saved(self) -> None:
        """Wait until the node says that it has saved its state."""
        self.wait(lambda heard: int(self.told('saves')) >= 1)

    def end(self) -> None:
        """Kill the node, in whatever state it is."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.end()
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)


@pytest.fixture
def driver(tmp_path):
    made = Driver(tmp_path / 'state.sqlite')
    made.start()
    yield made
    made.close()


@pytest.mark.slow
def test_killed_while_it_writes_it_comes_back_with_what_is_still_true(driver):
    driver.wait_saved()
    driver.kill_while_it_writes()
    driver.soc[9] = 0.95  # the third cell of the second module
    driver.start()
    driver.wait(lambda heard: 'another cell' in driver.told('events'))
    assert 'module m2 cell 3' in driver.told('events')
    assert driver.told('events').count('another cell') == 1
    assert driver.told('cells taken up') == str(PACK.cells - 1)
    assert driver.told('problem') == ''
    assert driver.heard['state'].level == DiagnosticStatus.WARN
    driver.wait(lambda heard: heard['cells/state'].soc == pytest.approx(driver.soc, abs=0.03))
    driver.end()

    damaged = b'\xa5' * 200
    driver.file.write_bytes(damaged + driver.file.read_bytes()[200:])
    driver.start()
    driver.wait(lambda heard: 'set aside' in driver.told('events'))
    assert driver.heard['state'].level == DiagnosticStatus.WARN
    driver.wait(lambda heard: heard['cells/state'].soc == pytest.approx(driver.soc, abs=0.05))
    aside = [p for p in driver.file.parent.iterdir() if p.read_bytes()[:200] == damaged]
    assert len(aside) == 1 and aside[0] != driver.file
    driver.wait_saved()  # in a new file
    assert driver.told('cells taken up') == '0' and driver.told('problem') == ''
