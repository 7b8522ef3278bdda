# SPDX-License-Identifier: Apache-2.0
"""The status node and the command over DDS."""

import array
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
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
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from sensor_msgs.msg import BatteryState

from dbms_monitor.status_node import StatusNode
from dbms_node import middleware, qos
from dbms_node.clocks import steady_timer
from dbms_node.runtime import make_executor, spin

COMMAND = [sys.executable, '-m', 'dbms_monitor.status']


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
                (
                    '/diagnostics',
                    DiagnosticArray(status=[
                        DiagnosticStatus(name='/test_pack/fake: bus main', message='up')
                    ]),
                    qos.DIAGNOSTICS,
                ),
            )
        ]  # fmt: skip
        steady_timer(self, 0.05, self._say)

    def _say(self) -> None:
        for publisher, message in self._all:
            if hasattr(message, 'sequence'):
                message.sequence += 1
            publisher.publish(message)


@pytest.fixture
def graph():
    middleware.init()
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
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def test_once_as_json(graph):
    result = run('--namespace', 'test_pack', '--once', '--json', '--timeout', '20')
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told['pack']['name'] == 'tiny'
    assert not told['contested']
    assert told['limits']['charge_current'] == 12.5
    (module,) = told['modules']
    assert module['voltages'] == [3.7, None]
    assert module['soc'] == [0.5, 0.6]
    assert [report['name'] for report in told['reports']] == ['fake: bus main']


def test_json_goes_on_line_by_line_until_it_is_told_to_end(graph):
    with subprocess.Popen(
        [*COMMAND, '--namespace', 'test_pack', '--json', '--rate', '20'],
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        told = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        assert process.wait(20.0) == 0
    assert all(one['pack']['name'] == 'tiny' for one in told)


def test_a_reader_that_goes_away_is_no_error(graph):
    with subprocess.Popen(
        [*COMMAND, '--namespace', 'test_pack', '--json', '--rate', '50'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20.0) == 0
        assert process.stderr.read() == ''


def test_once_as_text_without_a_terminal_has_no_escapes(graph):
    result = run('--namespace', 'test_pack', '--once', '--timeout', '20')
    assert result.returncode == 0, result.stderr
    assert ' tiny  CONNECTED ' in result.stdout
    assert '\x1b' not in result.stdout


def in_a_terminal(keys, *arguments, **environment):
    """Run the live view in a pseudo terminal until it shows `tiny`, press keys, and let it end."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    size = struct.pack('HHHH', 30, 100, 0, 0)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    process = subprocess.Popen(
        [*COMMAND, '--namespace', 'test_pack', *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={**os.environ, 'TERM': 'xterm-256color', **environment},
    )  # fmt: skip
    shown, deadline = b'', time.monotonic() + 30.0
    while b'tiny' not in shown and time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            shown += os.read(ours, 65536)
    os.write(ours, keys)
    while process.poll() is None and time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            shown += os.read(ours, 65536)
    process.kill()
    code, after = process.wait(), termios.tcgetattr(theirs)
    os.close(ours)
    os.close(theirs)
    return code, shown.decode(), before == after


@pytest.mark.parametrize('keys', [b' bq', b'\x03'])
def test_the_live_view_ends_by_key_and_gives_the_terminal_back(graph, keys):
    code, shown, restored = in_a_terminal(keys)
    assert code == 0
    assert restored
    assert '\x1b[?1049h' in shown and '\x1b[?1049l' in shown  # a screen of its own, and back
    assert '\x1b[?25h' in shown  # the cursor


def test_no_colour_where_none_is_wanted(graph):
    _, shown, _ = in_a_terminal(b'q', NO_COLOR='1')
    assert 'CONNECTED' in shown
    assert '\x1b[38' not in shown and '\x1b[48' not in shown and ';48' not in shown


def test_a_dumb_terminal_gets_plain_text(graph):
    _, shown, _ = in_a_terminal(b'\x03', TERM='dumb')
    assert ' tiny  CONNECTED ' in shown
    assert '\x1b' not in shown


def test_once_as_a_picture(graph, tmp_path):
    picture = tmp_path / 'status.svg'
    result = run('--namespace', 'test_pack', '--once', '--svg', str(picture), '--timeout', '20')
    assert result.returncode == 0, result.stderr
    assert 'tiny' in picture.read_text()


def test_no_graph_is_said_with_the_remedy():
    result = run('--namespace', 'nobody', '--once', '--timeout', '0.5')
    assert result.returncode == 2
    assert 'no graph found in namespace /nobody within 0.5 s' in result.stderr
    assert './dbms up' in result.stderr


def test_a_graph_in_another_namespace_is_named(graph):
    result = run('--namespace', 'nobody', '--once', '--timeout', '5')
    assert result.returncode == 2
    assert 'There is a pack in /test_pack' in result.stderr


@pytest.mark.parametrize(
    'wrong', [['--namespace', 'a b'], ['--rate', '0'], ['--timeout', 'nan'], ['--svg', 'x.svg']]
)
def test_a_wrong_option_is_refused_in_words(wrong):
    result = run(*wrong)
    assert result.returncode == 2
    assert 'usage: ./dbms status' in result.stderr
    assert 'Traceback' not in result.stderr
