# SPDX-License-Identifier: Apache-2.0
"""`./dbms record`: writes what a running graph says, until it is told to end."""

import argparse
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from dbms_pack import Pack, PackError, load_pack

from .bag_writer import BagWriter
from .bags import BagError, recover
from .carried import carried
from .recorder import Bounds, Recorder

_UNITS = {'': 1, 'k': 1024, 'm': 1024**2, 'g': 1024**3}
_SECONDS = {'': 1.0, 's': 1.0, 'min': 60.0, 'h': 3600.0, 'd': 86400.0}


def main(argv: Sequence[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM, or for a duration; 0: done, 1: nothing was recorded."""
    value = _parser().parse_args(argv)
    if value.recover:
        return _recover(value.directory)
    if value.qos:
        return _tell_qos(value)
    directory = value.directory or Path(time.strftime('dbms_%Y-%m-%d_%H-%M-%S'))
    bounds = Bounds(
        value.max_size, value.max_time, value.file_size, value.file_time, value.before, value.after
    )
    custom = {'dbms_time_scale': f'{value.time_scale:g}'}
    try:
        pack = load_pack(value.pack) if value.pack else None
        if pack is not None:
            custom |= carried(pack)
        writer = BagWriter(directory, custom)
    except PackError as error:
        print(f'dbms record: {error}', file=sys.stderr)
        return 2
    except OSError as error:
        print(f'dbms record: {error.filename}: {error.strerror}', file=sys.stderr)
        return 1
    if value.domain is not None:
        os.environ['ROS_DOMAIN_ID'] = str(value.domain)
    return _record(writer, bounds, value.namespace, value.duration, pack)


def _record(
    writer: BagWriter,
    bounds: Bounds,
    namespaces: list[str],
    duration: float | None,
    pack: Pack | None,
) -> int:
    import rclpy  # only now: --help needs no ROS

    from dbms_node import middleware
    from dbms_node.clocks import steady_now
    from dbms_node.runtime import Stop, make_executor, run_nodes

    from .battery_topics import battery_topics
    from .record_node import RecordNode

    stop = Stop(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    middleware.init(args=[])
    try:
        place = namespaces[0] if namespaces else 'battery'
        expected = battery_topics(pack, place) if pack is not None else None
        node = RecordNode(Recorder(writer, bounds, steady_now()), namespaces, expected)
        if duration is not None:
            timer = threading.Timer(duration, stop.set)
            timer.daemon = True
            timer.start()
        print(f'recording into {writer.directory}; Ctrl-C ends', flush=True)
        run_nodes([node], make_executor(), stop)
    finally:
        rclpy.try_shutdown()
    print(
        f'{writer.directory}: {node.messages} messages of {len(node.topics)} topics, '
        f'{writer.size / 1e6:.1f} MB in {len(writer.closed)} files'
    )
    if not node.messages:
        print('  is ./dbms up running, with the same --namespace and ROS_DOMAIN_ID?',
              file=sys.stderr)  # fmt: skip
    return 0 if node.messages else 1


def _recover(directory: Path | None) -> int:
    if directory is None or not directory.is_dir():
        print('dbms record: --recover needs the directory of a recording', file=sys.stderr)
        return 2
    try:
        problems = recover(directory)
    except BagError as error:
        print(f'dbms record: {error}', file=sys.stderr)
        return 1
    told = ', '.join(f'{count} {what}' for what, count in problems.items()) or 'nothing was wrong'
    print(f'{directory}: written anew ({told}); as it was: {directory}.torn')
    return 0


def _tell_qos(value: argparse.Namespace) -> int:
    from .battery_topics import overrides

    try:
        pack = load_pack(value.pack or '')
    except PackError as error:
        print(f'dbms record: --qos needs --pack: {error}', file=sys.stderr)
        return 2
    print(overrides(pack, (value.namespace or ['battery'])[0]), end='')
    return 0


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog='./dbms record',
        description='Record every topic of the batteries that run here, as a bag of rosbag2 '
        '(MCAP). Old files are forgotten within the bounds; those around a fault stay.',
    )
    add = words.add_argument
    add('directory', nargs='?', type=Path, metavar='DIR', help='default: dbms_<date>_<time>')
    add('--namespace', action='append', default=[], help='of a pack; default: every pack')
    add('--pack', metavar='FILE', help='of the first namespace: listens before it starts')
    add('--duration', type=seconds, metavar='S', help='end after this time')
    add('--max-size', type=size, default='2G', metavar='N', help='of all files (default 2G)')
    add('--max-time', type=seconds, default='0', metavar='S', help='older files go; 0: none')
    add('--file-size', type=size, default='64M', metavar='N', help='per file (default 64M)')
    add('--file-time', type=seconds, default='60', metavar='S', help='per file (default 60)')
    add('--before', type=seconds, default='120', metavar='S', help='kept before a fault')
    add('--after', type=seconds, default='60', metavar='S', help='kept after a fault')
    add('--domain', type=int, metavar='N', help='ROS_DOMAIN_ID')
    add(
        '--time-scale', type=float, default=1.0, help='battery seconds per second, of a simulation'
    )
    add('--qos', action='store_true', help='only print QoS overrides for `ros2 bag` (--pack)')
    add('--recover', action='store_true', help='repair DIR after its recorder was killed')
    return words


def size(text: str) -> int:
    """Read a size: 500k, 64M, 2G; ArgumentTypeError if it is none."""
    match = re.fullmatch(r'(\d+)([kmg]?)b?', text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r}: write a size as 500k, 64M or 2G')
    return int(match[1]) * _UNITS[match[2]]


def seconds(text: str) -> float:
    """Read a time: 90, 90s, 10min, 24h, 7d; ArgumentTypeError if it is none."""
    match = re.fullmatch(r'(\d+(?:\.\d+)?) ?(s|min|h|d|)', text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f'{text!r}: write a time as 90, 10min, 24h or 7d')
    return float(match[1]) * _SECONDS[match[2]]


if __name__ == '__main__':
    sys.exit(main())
