# SPDX-License-Identifier: Apache-2.0
"""How long a replay takes beside the time only to read and to deserialize the recording.

    ./dbms bench replay                  # an hour of 16 modules x 16 cells at 10 Hz
    ./dbms bench replay --minutes 5 --json result.json

The recording is made here, by the recorder's own writer. The readers are rosbags and, where it is
installed, mcap-ros2-support; they read every message of it in the same run. Times are of the
processor, best of --repeats, because others use the machine too. Exits 1 above --aim, the most
times of the faster reader.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from dbms_msgs.msg import ModuleCells, StringMeasurement
from rich.console import Console
from rich.table import Table

from bench.pack import write_pack
from bench.report import write_json
from dbms_pack import Pack, load_pack
from dbms_replay.bag_writer import BagWriter
from dbms_replay.bags import Bag
from dbms_replay.cdr import serialize
from dbms_replay.decoding import Decoders
from dbms_replay.replay import Replay
from dbms_replay.schemas import installed
from dbms_replay.segment import Topic

EPOCH = 1_700_000_000  # s
PERIOD = 0.1  # s


def main(arguments: list[str] | None = None) -> int:
    value = _parser().parse_args(arguments)
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'bench_replay.yaml'
        write_pack(file, 1, value.modules, value.cells)
        pack = load_pack(file)
        bag = Path(folder) / 'bag'
        messages = make_bag(bag, pack, round(value.minutes * 60 / PERIOD))
        size = sum(one.stat().st_size for one in bag.iterdir())
        ways: dict[str, Callable[[], object]] = {'rosbags': lambda: _rosbags(bag)}
        try:
            import mcap_ros2.reader  # noqa: F401

            ways['mcap-ros2-support'] = lambda: _mcap_ros2(bag)
        except ModuleNotFoundError:
            print('mcap-ros2-support is not installed: not measured', file=sys.stderr)
        ways['read and unpack'] = lambda: _unpack(bag)
        ways['replay'] = lambda: Replay(Bag(bag), pack).run()
        seconds = {name: _best(way, value.repeats) for name, way in ways.items()}
        memory = _growth(bag, pack)
    floor = min(seconds[name] for name in ways if name not in ('replay', 'read and unpack'))
    ratio = seconds['replay'] / floor
    _print(seconds, floor, messages, size, value.minutes, memory)
    if value.json:
        write_json(value.json, {
            'minutes': value.minutes, 'messages': messages, 'bytes': size, 'seconds': seconds,
            'ratio': ratio, 'growth_bytes': memory,
        })  # fmt: skip
    return 0 if ratio <= value.aim else 1


def make_bag(directory: Path, pack: Pack, scans: int) -> int:
    """Write a recording of a pack that drives; return how many messages are in it."""
    writer = BagWriter(directory, {'dbms_pack': pack.name})
    cells = [
        writer.add_topic(Topic(f'/battery/modules/{m.name}/cells', installed(_name(ModuleCells))))
        for m in pack.modules
    ]
    name = pack.strings[0].name
    string = writer.add_topic(
        Topic(f'/battery/strings/{name}/measurement', installed(_name(StringMeasurement)))
    )
    noise = np.random.default_rng(1).normal(0.0, 0.001, (64, pack.cells)).astype(np.float32)
    for scan in range(scans):
        now = (EPOCH * 1_000_000_000) + round(scan * PERIOD * 1e9)
        current = -2.0 * np.sin(scan * PERIOD / 60.0)
        voltages = (3.7 + 0.02 * current + noise[scan % 64]).astype(np.float32)
        for index, module in enumerate(pack.modules):
            message = ModuleCells(
                sequence=scan,
                voltages=array('f', voltages[module.cell_slice].tobytes()),
                temperatures=array('f', [25.0] * module.temperatures),
            )
            writer.write(cells[index], now, _stamped(message, module.name, now))
        measured = StringMeasurement(
            sequence=scan, current=current, string_voltage=float(voltages.sum()),
            link_voltage=float(voltages.sum()), insulation_resistance=1e6,
        )  # fmt: skip
        writer.write(string, now, _stamped(measured, name, now))
    writer.close()
    return scans * (len(cells) + 1)


def _name(kind: type) -> str:
    return f'dbms_msgs/msg/{kind.__name__}'


def _stamped(message: ModuleCells | StringMeasurement, place: str, now: int) -> bytes:
    header = message.header
    header.stamp.sec, header.stamp.nanosec = divmod(now, 1_000_000_000)
    header.frame_id = place
    return serialize(message)


def _rosbags(bag: Path) -> None:
    from rosbags.highlevel import AnyReader

    with AnyReader([bag]) as reader:
        for connection, _, data in reader.messages():
            reader.deserialize(data, connection.msgtype)


def _mcap_ros2(bag: Path) -> None:
    from mcap_ros2.reader import read_ros2_messages

    for file in sorted(bag.glob('*.mcap')):
        for _ in read_ros2_messages(str(file)):
            pass


def _unpack(bag: Path) -> None:
    read = Bag(bag)
    decoders = Decoders(read.problems)
    known = {}
    for topic, _, data in read.messages():
        if topic not in known:
            known[topic] = decoders.of(topic)
        known[topic](data)


def _best(work: Callable[[], object], repeats: int) -> float:
    def once() -> Iterator[float]:
        for _ in range(repeats):
            start = time.process_time()
            work()
            yield time.process_time() - start

    return min(once())


def _growth(bag: Path, pack: Pack) -> int:
    """Return by how much the memory in use at most grew from a tenth of a replay to its end."""
    marks: list[int] = []

    def look(share: float) -> None:
        if not marks and share > 0.1:
            marks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    Replay(Bag(bag), pack).run(progress=look)
    if not marks:
        return 0
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - marks[0])


def _print(
    seconds: dict[str, float], floor: float, messages: int, size: int, minutes: float, memory: int
) -> None:
    table = Table(title=f'{minutes:g} min, {messages} messages, {size / 1e6:.1f} MB')
    for column in ('', 's', 'us per message', 'times real time', 'of the faster reader'):
        table.add_column(column, justify='left' if not column else 'right')
    for name, spent in seconds.items():
        table.add_row(
            name, f'{spent:.2f}', f'{spent / messages * 1e6:.1f}', f'{minutes * 60 / spent:.0f}',
            f'{spent / floor:.2f}',
        )  # fmt: skip
    Console().print(table)
    print(f'memory grew by {memory / 1e6:.1f} MB from a tenth of the replay to its end')


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog='./dbms bench replay', description=__doc__)
    words.add_argument('--minutes', type=_positive, default=60.0)
    words.add_argument('--modules', type=int, default=16)
    words.add_argument('--cells', type=int, default=16)
    words.add_argument('--repeats', type=int, default=1)
    words.add_argument('--aim', type=_positive, default=2.0, metavar='N')
    words.add_argument('--json', metavar='FILE')
    return words


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text}: a positive number')
    return value


if __name__ == '__main__':
    sys.exit(main())
