# SPDX-License-Identifier: Apache-2.0
"""Parameters, timers and the end of nodes, on a real executor."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from dbms_node import middleware
from dbms_node.clocks import steady_timer
from dbms_node.parameters import declare
from dbms_node.runtime import make_executor, run_nodes, spin

PROGRAM = """
import sys
from dbms_node.runtime import run_node
from rclpy.node import Node

class Talker(Node):
    def __init__(self):
        super().__init__('talker')
        if 'refuse' in sys.argv:
            raise ValueError('pack.yaml:3: cells: 99; 1 to 24 are allowed')
        print('ready', flush=True)

    def close(self):
        print('closed', flush=True)

sys.exit(run_node(Talker))
"""


NESTED = """
import os, signal, sys
from dbms_node.runtime import Stop

def again(frame, event, argument):
    # Wherever in its handler the first signal is, the next one comes.
    if left and event in ('call', 'return'):
        os.kill(os.getpid(), left.pop())

stop = Stop(signal.SIGINT, signal.SIGTERM)
left = [signal.SIGINT, signal.SIGTERM] * 5
sys.setprofile(again)
os.kill(os.getpid(), signal.SIGINT)
sys.setprofile(None)
print(stop.is_set(), len(left) < 9)
"""


@pytest.fixture
def context():
    middleware.init()
    yield
    rclpy.try_shutdown()


def test_a_steady_timer_fires_even_without_a_clock_topic(context):
    sim_time = Parameter('use_sim_time', value=True)
    node = Node('no_clock', parameter_overrides=[sim_time])
    fired = threading.Event()
    steady_timer(node, 0.01, fired.set)
    executor = make_executor()
    executor.add_node(node)
    stop = threading.Event()
    thread = threading.Thread(target=spin, args=(executor, stop))
    thread.start()
    assert fired.wait(10.0)
    stop.set()
    thread.join(10.0)
    assert not thread.is_alive()


def test_a_parameter_outside_of_its_range_is_refused_by_name(context):
    node = Node('range', parameter_overrides=[Parameter('rate', value=1e6)])
    with pytest.raises(Exception, match='rate'):
        declare(node, 'rate', 10.0, 'updates per second', minimum=0.1, maximum=100.0)


def test_one_node_that_fails_to_close_does_not_keep_the_others_open(context):
    closed = []

    class Closing(Node):
        def close(self) -> None:
            closed.append(self.get_name())
            raise RuntimeError('stuck')

    stop = threading.Event()
    stop.set()
    run_nodes([Closing('first'), Closing('second')], make_executor(), stop)
    assert closed == ['second', 'first']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_with_its_last_word(number):
    process = subprocess.Popen(
        [sys.executable, '-c', PROGRAM], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert process.stdout.readline() == 'ready\n'
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert output == 'closed\n'
    assert process.returncode == 0


def test_signals_that_come_inside_the_handlers_of_others_block_nothing():
    result = subprocess.run(
        [sys.executable, '-c', NESTED], capture_output=True, text=True, timeout=20
    )
    assert result.stdout == 'True True\n', result.stderr


def test_a_refused_configuration_is_one_line_and_not_a_traceback():
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM, 'refuse'], capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 1
    assert result.stderr == 'Talker: pack.yaml:3: cells: 99; 1 to 24 are allowed\n'
