# SPDX-License-Identifier: Apache-2.0
"""./dbms status: a live terminal view of a running graph, of any process on this machine."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence

import rclpy
from rclpy.executors import Executor
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.live import Live

from dbms_node.clocks import steady_now
from dbms_node.runtime import make_executor

from .document import document
from .status_node import StatusNode
from .view import render

NO_GRAPH = 2  # exit code
SETTLE = 3.0  # s, for the rest to be heard once anything was
PLAIN_WIDTH = 100  # columns where the output is no terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Show the view until it is told to end; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.svg and not options.once:
        _parser().error('--svg writes one picture: it goes with --once')
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = StatusNode(namespace='/' + options.namespace.strip('/'))
    executor = make_executor()
    executor.add_node(node)
    try:
        if not _find(node, executor, options.timeout, stop):
            return 0 if stop.is_set() else _tell_missing(options)
        if options.once:
            return _once(node, options)
        _follow(node, executor, options, stop)
        return 0
    except BrokenPipeError:  # whoever read our lines has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        node.destroy_node()
        executor.shutdown(timeout_sec=1.0)
        rclpy.try_shutdown()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='dbms status', description=__doc__)
    parser.add_argument('--namespace', default='battery', help='of the pack, default battery')
    parser.add_argument('--once', action='store_true', help='show it once and end')
    parser.add_argument('--json', action='store_true', help='as JSON, one document per line')
    parser.add_argument('--svg', metavar='FILE', help='with --once: write it as a picture')
    parser.add_argument(
        '--rate', type=_positive, default=4.0, metavar='HZ', help='of drawing, default 4; JSON 1'
    )
    parser.add_argument(
        '--timeout', type=_positive, default=10.0, metavar='S', help='to find a graph, default 10'
    )
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


def _find(node: StatusNode, executor: Executor, timeout: float, stop: threading.Event) -> bool:
    """Listen until everything that is there was heard; tell if anything was."""
    begin = steady_now()
    heard: float | None = None
    while not stop.is_set():
        now = steady_now()
        if node.snapshot.complete:
            return True
        if heard is None and node.snapshot.found:
            heard = now
        if heard is not None and now - heard > SETTLE:
            return True
        if heard is None and now - begin > timeout:
            return False
        executor.spin_once(timeout_sec=0.1)
    return False


def _tell_missing(options: argparse.Namespace) -> int:
    scope = os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    print(
        f'dbms status: no graph was found in namespace /{options.namespace.strip("/")} within '
        f'{options.timeout:g} s (ROS_DOMAIN_ID {os.environ.get("ROS_DOMAIN_ID", "0")}, '
        f'discovery {scope}).\n'
        '  Is one running? Start one with ./dbms up, or name another with --namespace.',
        file=sys.stderr,
    )
    return NO_GRAPH


def _once(node: StatusNode, options: argparse.Namespace) -> int:
    told = document(node.snapshot, steady_now())
    if options.json:
        print(json.dumps(told, indent=2, allow_nan=False))
        return 0
    if options.svg:
        console = Console(record=True, width=PLAIN_WIDTH, height=40, file=open(os.devnull, 'w'))
        console.print(render(told, PLAIN_WIDTH, 40))
        console.save_svg(options.svg, title='./dbms status')
        return 0
    console = _console()
    console.print(render(told, console.width, max(console.height, 40)))
    return 0


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def _follow(
    node: StatusNode, executor: Executor, options: argparse.Namespace, stop: threading.Event
) -> None:
    """Show it again and again."""
    if options.json:
        _repeat(executor, 1.0, stop, lambda: _print_line(node))
        return
    console = _console()
    if not console.is_terminal or console.is_dumb_terminal:
        draw = lambda: console.print(_picture(node, console), '')  # noqa: E731
        _repeat(executor, 1.0, stop, draw)
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        period = 1.0 / options.rate
        _repeat(executor, period, stop, lambda: live.update(_picture(node, console), refresh=True))


def _picture(node: StatusNode, console: Console):  # type: ignore[no-untyped-def]
    return render(document(node.snapshot, steady_now()), console.width, console.height)


def _print_line(node: StatusNode) -> None:
    print(json.dumps(document(node.snapshot, steady_now()), allow_nan=False), flush=True)


def _repeat(executor: Executor, period: float, stop: threading.Event, draw) -> None:  # type: ignore[no-untyped-def]
    due = 0.0
    while not stop.is_set():
        now = steady_now()
        if now >= due:
            draw()
            due = now + period
        executor.spin_once(timeout_sec=min(0.1, max(0.0, due - steady_now())))


if __name__ == '__main__':
    sys.exit(main())
