# SPDX-License-Identifier: Apache-2.0
"""Floods of messages and commands do not let the memory of the guard grow."""

import gc
import math
import sys
import tracemalloc

import pytest
from dbms_msgs.msg import ModuleCells, StringMeasurement
from dbms_msgs.srv import Command
from test_protection_node import world_of  # noqa: F401

ROUND = 150  # messages of each kind
GROWTH = 60  # bytes per message that nobody would notice in a day, and no message fits in


def flood(world, sequence):
    """Send good, bad and foreign messages and commands straight into the node."""
    node, module = world.node, world.pack.modules[0]
    for number in range(sequence, sequence + ROUND):
        volts = [math.nan, 3.7, math.inf, 5.0][number % 4]
        scan = ModuleCells(sequence=number % 7 if number % 2 else number)
        scan.header.frame_id = ['', module.name, 'somebody'][number % 3]
        scan.voltages = [volts] * (module.cells + number % 2)
        scan.temperatures = [volts] * module.temperatures
        node._on_cells(0, module.name, scan)
        measured = StringMeasurement(sequence=number, current=volts, string_voltage=volts)
        node._on_string(0, world.pack.strings[0].name, measured)
        request = Command.Request(origin=f'flood {number}', reason='x' * 50, strings=['?'])
        node._desk._on_command('connect', request, Command.Response())
        node._tick()
        for _ in range(5):  # what it has published is heard, by this process too
            world.executor.spin_once(timeout_sec=0.0)
    world.listener.states.clear()


@pytest.mark.parametrize('kept', [False, True])
def test_a_flood_is_forgotten(world_of, tmp_path, kept):  # noqa: F811
    file = str(tmp_path / 'events.sqlite') if kept else 'none'
    world = world_of(event_file=file).activate()
    for number in range(3):  # what is made once has been made
        flood(world, number * ROUND)
    settle(world)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        flood(world, 3 * ROUND)
        settle(world)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 3 * ROUND * GROWTH, f'{grown} bytes after {3 * ROUND} messages'
    assert world.node.is_active


def settle(world):
    """Wait until nothing waits for the threads beside the guard."""
    node = world.node
    boxes = (node._outbox, node._keeping)
    world.until(lambda: not any(box._work for box in boxes), 'nothing waits')
    world.until(lambda: not node._desk._answers.waiting, 'no answer waits')
    for _ in range(200):
        world.executor.spin_once(timeout_sec=0.0)
    node._desk._look()
    world.listener.states.clear()
    sys._clear_type_cache()  # CPython keeps names that rclpy looked up there, up to 4096
    gc.collect()
