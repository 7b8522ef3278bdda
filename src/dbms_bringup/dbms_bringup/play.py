# SPDX-License-Identifier: Apache-2.0
"""`./dbms play`: says a recording again, with /clock; with --nodes to the nodes of today."""

import argparse
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbms_replay.bags import Bag
from dbms_replay.record_cli import seconds
from dbms_replay.replay import Replay

from .replaying import PlayOptions, player, replay_graph

if TYPE_CHECKING:
    from dbms_node import middleware
    from dbms_node.runtime import Stop


def main(arguments: Sequence[str] | None = None) -> int:
    """Play; 0: to its end or interrupted, 2: it cannot be played."""
    value = _parser().parse_args(arguments)
    if value.domain is not None:
        os.environ['ROS_DOMAIN_ID'] = str(value.domain)
    try:
        return _play(value)
    except ValueError as error:  # of the bag, the pack or the graph, in words
        print(f'dbms play: {error}', file=sys.stderr)
        return 2


def _play(value: argparse.Namespace) -> int:
    fastest = 5 if value.nodes else 100
    if not 0.01 <= value.rate <= fastest:
        where = ' with --nodes' if value.nodes else ''
        raise ValueError(f'--rate {value.rate:g}: allowed{where} are 0.01 to {fastest}')
    bag = Bag(value.bag)
    options = PlayOptions(
        bag=str(value.bag), battery=value.battery or '', rate=value.rate, start=value.start,
        loop=value.loop, paused=value.paused,
        time_scale=float(bag.custom.get('dbms_time_scale', '1')),
    )  # fmt: skip
    specs, namespace = [player(options)], value.namespace or ''
    if value.nodes:
        replay = Replay(bag, value.pack, value.battery)
        specs = replay_graph(options, str(replay.pack.path.absolute()))
        namespace = value.namespace or 'replay'
        from .neighbours import refuse_second

        refuse_second(namespace)
        print(f'pack {replay.pack.name}, estimation and protection of now in /{namespace}')
    import rclpy

    from dbms_node.runtime import Stop, make_executor, run_nodes

    from .one_process import make_nodes

    stop = Stop(signal.SIGINT, signal.SIGTERM)
    middleware.init(args=[])
    try:
        nodes = make_nodes(specs, namespace)
        play: Any = nodes[-1]
        play.ended = stop.set
        with _keys(play, stop):
            run_nodes(nodes, make_executor(), stop)
        print(f'{value.bag}: {play.messages} messages played')
    finally:
        rclpy.try_shutdown()
    return 0


@contextmanager
def _keys(play: Any, stop: 'Stop') -> Iterator[None]:
    """Let the space bar hold and go on, where there is a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield
        return
    print('space: hold and go on; Ctrl-C ends')
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    thread = threading.Thread(target=_listen, args=(play, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _listen(play: Any, stop: 'Stop') -> None:
    while not stop.is_set():
        if select.select([sys.stdin], [], [], 0.2)[0] and sys.stdin.read(1) == ' ':
            play.playback.paused = not play.playback.paused
            at = (play.playback.time - play.playback.begun) * 1e-9
            print(f'{"held" if play.playback.paused else "on"} at {at:.1f} s')


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog='./dbms play',
        description='Say a recording again on its topics, with /clock. With --nodes only what '
        'boards and sensors said, to the estimation and the protection of now.',
    )
    add = words.add_argument
    add('bag', type=Path, metavar='BAG', help='directory of a bag, or an .mcap file')
    add('--rate', type=float, default=1.0, metavar='N', help='times as fast; with --nodes up to 5')
    add('--start', type=seconds, default=0.0, metavar='T', help='leave out what is before')
    add('--loop', action='store_true', help='begin again at the end')
    add('--paused', action='store_true', help='hold at the beginning')
    add('--nodes', action='store_true', help='with estimation and protection, on its time')
    add('--pack', metavar='FILE', help='with --nodes: pack file or name; default: as recorded')
    add('--battery', metavar='NAMESPACE', help='of the recorded battery, if there are several')
    add('--namespace', help='where to say it (default: as recorded; with --nodes: replay)')
    add('--domain', type=int, metavar='N', help='ROS_DOMAIN_ID')
    return words


if __name__ == '__main__':
    sys.exit(main())
