# SPDX-License-Identifier: Apache-2.0
"""Running nodes: one executor, clean ends, exceptions that are seen."""

import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterable

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node

from . import middleware

try:
    from rclpy.experimental import EventsExecutor
except ImportError:  # before Jazzy 7.1.4
    EventsExecutor = None

# With CPython's default of 5 ms a bus thread and the executor wait on each other for that long.
SWITCH_INTERVAL = 0.0005


class Stop:
    """Asks a run to end; may be set by signal handlers, by other threads and by callbacks.

    No threading.Event: its set() takes a lock, and a second signal that came inside the handler of
    the first would wait for that lock without end.
    """

    def __init__(self, *signals: int) -> None:
        """Begin; `signals` set it from now on. Only the main thread may name any."""
        self._is_set = False
        for number in signals:
            signal.signal(number, lambda *_: self.set())

    def set(self) -> None:
        """Ask for the end."""
        self._is_set = True

    def is_set(self) -> bool:
        """Tell whether the end was asked for."""
        return self._is_set


def make_executor(context: rclpy.Context | None = None) -> Executor:
    """Return the cheapest executor that this ROS 2 has."""
    if EventsExecutor is not None:
        return EventsExecutor(context=context)
    return SingleThreadedExecutor(context=context)


def spin(executor: Executor, stop: Stop | threading.Event) -> None:
    """Run `executor` until `stop` is set or its context ends.

    A loop over spin_once, because spin() of the EventsExecutor of rclpy 7.1.6 busy-loops.
    """
    while not stop.is_set() and executor.context.ok():
        executor.spin_once(timeout_sec=0.1)


def settle_memory() -> None:
    """Take what lives by now out of the garbage collector's sight.

    With all modules loaded a full collection takes tens of milliseconds, in which nothing reacts.
    To be called when everything that lasts has been made.
    """
    gc.collect()
    gc.freeze()


def run_nodes(nodes: Iterable[Node], executor: Executor, stop: Stop | threading.Event) -> None:
    """Spin `nodes` and close every one of them however it ends.

    A node with a method `close()` is closed by it, before it is destroyed: contactors are opened
    and bus threads joined there.
    """
    nodes = list(nodes)
    for node in nodes:
        executor.add_node(node)
    settle_memory()
    try:
        spin(executor, stop)
    finally:
        for node in reversed(nodes):
            close_node(node)
        executor.shutdown(timeout_sec=1.0)


def close_node(node: Node) -> None:
    """Close and destroy a node; a failure of one step does not keep the next from running."""
    for step in (getattr(node, 'close', None), node.destroy_node):
        if step is None:
            continue
        try:
            step()
        except Exception as error:  # the others still have to be closed
            node.get_logger().error(f'closing failed: {error!r}')


def run_node(factory: Callable[[], Node], args: list[str] | None = None) -> int:
    """Initialise ROS, run one node until SIGINT or SIGTERM, and return the exit code."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    stop = Stop(signal.SIGINT, signal.SIGTERM)
    middleware.init(args=args)
    try:
        run_nodes([factory()], make_executor(), stop)
    except Exception as error:
        print(f'{factory.__name__}: {error}', file=sys.stderr)
        if not isinstance(error, ValueError):
            raise
        return 1
    finally:
        rclpy.try_shutdown()
    return 0
