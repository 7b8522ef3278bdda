# SPDX-License-Identifier: Apache-2.0
"""./dbms status: a live terminal view of a running graph, of any process on this machine."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import rclpy
from rclpy.exceptions import InvalidNamespaceException
from rclpy.executors import Executor
from rclpy.validate_namespace import validate_namespace
from rich.console import Console, RenderableType
from rich.live import Live

from dbms_node import middleware
from dbms_node.clocks import steady_now
from dbms_node.runtime import Stop, make_executor

from . import picture
from .document import document
from .keys import Keys
from .status_node import StatusNode
from .view import render

NO_GRAPH = 2  # exit code
SETTLE = 3.0  # s, for the rest to be heard once anything was
WIDTH, HEIGHT = 100, 40  # where the output is no terminal
DRAWN, PRINTED = 4.0, 1.0  # Hz
PAGES = {' ': 1, 'n': 1, 'b': -1, 'p': -1}  # keys of a pack that does not fit


def main(arguments: Sequence[str] | None = None) -> int:
    """Show the view until it is told to end; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.svg and not options.once:
        parser.error('--svg writes one picture: it goes with --once')
    stop = Stop(signal.SIGINT, signal.SIGTERM)
    middleware.init(args=[])
    node = StatusNode(namespace=options.namespace)
    executor = make_executor()
    executor.add_node(node)
    try:
        if not _find(node, executor, options, stop):
            return 0 if stop.is_set() else _tell_missing(node, options)
        if options.once:
            _once(node, options)
        else:
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
    parser = argparse.ArgumentParser(
        prog='./dbms status',
        description='A live view of a running graph, of any process on this machine. '
        'Keys: q ends it; space and b turn the pages of a pack that does not fit.',
    )
    add = parser.add_argument
    add('--namespace', type=_namespace, default='/battery', help='of the pack, default battery')
    add('--once', action='store_true', help='show it once and end')
    add('--json', action='store_true', help='as JSON, one document per line')
    add('--svg', type=Path, metavar='FILE', help='with --once: write it as a picture')
    add(
        '--rate', type=_positive, metavar='HZ',
        help=f'of drawing, default {DRAWN:g}; of JSON and plain text, default {PRINTED:g}',
    )  # fmt: skip
    add('--timeout', type=_positive, default=10.0, metavar='S', help='to find a graph, default 10')
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return value


def _namespace(text: str) -> str:
    namespace = '/' + text.strip('/')
    try:
        validate_namespace(namespace)
    except InvalidNamespaceException as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return namespace


def _find(node: StatusNode, executor: Executor, options: argparse.Namespace, stop: Stop) -> bool:
    """Listen until everything that is there was heard; tell if anything was."""
    begin = steady_now()
    found: float | None = None
    said = options.once or options.json or not sys.stderr.isatty()
    while not stop.is_set():
        now = steady_now()
        if node.snapshot.complete:
            return True
        if found is None and node.snapshot.found:
            found = now
        if found is not None and now - found > SETTLE:
            return True
        if found is None and now - begin > options.timeout:
            return False
        if not said and now - begin > 1.0:
            said = True
            print(f'looking for a graph in {options.namespace} ...', file=sys.stderr)
        executor.spin_once(timeout_sec=0.1)
    return False


def _tell_missing(node: StatusNode, options: argparse.Namespace) -> int:
    scope = {
        name: os.environ[name]
        for name in ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY')
        if name in os.environ
    }
    others = [name for name in node.packs() if name != options.namespace]
    remedy = (
        f'There is a pack in {", ".join(others)}: name it with --namespace.'
        if others
        else 'Is it running? Start one with ./dbms up. If it runs in another namespace, name it '
        'with --namespace;\n  if in another ROS_DOMAIN_ID, set the same here.'
    )
    print(
        f'dbms status: no graph found in namespace {options.namespace} within '
        f'{options.timeout:g} s.\n  {remedy}\n'
        f'  Here: {", ".join(f"{k}={v}" for k, v in scope.items()) or "ROS_DOMAIN_ID=0"}',
        file=sys.stderr,
    )
    return NO_GRAPH


def _once(node: StatusNode, options: argparse.Namespace) -> None:
    told = document(node.snapshot, steady_now())
    if options.json:
        print(json.dumps(told, indent=2, allow_nan=False))
    elif options.svg:
        picture.save(render(told, WIDTH, HEIGHT), WIDTH, options.svg, './dbms status')
    else:
        console = _console()
        console.print(render(told, console.width, max(console.height, HEIGHT)))


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=WIDTH, height=HEIGHT)


def _follow(node: StatusNode, executor: Executor, options: argparse.Namespace, stop: Stop) -> None:
    """Show it again and again."""
    console = _console()

    def drawn(page: int = 0) -> RenderableType:
        told = document(node.snapshot, steady_now())
        return render(told, console.width, console.height, page)

    if options.json or not console.is_terminal or console.is_dumb_terminal:
        period = 1.0 / (options.rate or PRINTED)
        tell = (lambda: _print_line(node)) if options.json else lambda: console.print(drawn(), '')
        _repeat(executor, period, stop, tell)
        return
    page = 0
    with Live(console=console, screen=True, auto_refresh=False) as live, Keys() as keys:

        def draw() -> None:
            live.update(drawn(page), refresh=True)

        def obey() -> bool:
            nonlocal page
            pressed = keys.pressed()
            if 'q' in pressed:
                stop.set()
            page += sum(PAGES.get(key, 0) for key in pressed)
            return bool(pressed)

        _repeat(executor, 1.0 / (options.rate or DRAWN), stop, draw, obey)


def _print_line(node: StatusNode) -> None:
    print(json.dumps(document(node.snapshot, steady_now()), allow_nan=False), flush=True)


def _repeat(
    executor: Executor,
    period: float,
    stop: Stop,
    act: Callable[[], None],
    at_once: Callable[[], bool] = lambda: False,
) -> None:
    """Act once per period, and whenever `at_once` says so."""
    due = 0.0
    while not stop.is_set():
        now = steady_now()
        if at_once() or now >= due:
            act()
            due = now + period
        executor.spin_once(timeout_sec=min(0.1, max(0.0, due - steady_now())))


if __name__ == '__main__':
    sys.exit(main())
