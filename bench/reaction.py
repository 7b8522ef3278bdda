# SPDX-License-Identifier: Apache-2.0
"""Reaction time: from the bus frame that holds a bad value to the bus frame that opens.

The real driver and protection nodes, a process each, and beside them in the same run the bare
transport floor (bench/floor.py) under the same frames. A bad cell has no debounce in the pack of
the benchmark; an over-current has that of the shipped packs, at their rate of 50 readings per s.
Rounds alternate between them, so that a drifting machine meets all.
"""

import argparse
import logging
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import can
import rclpy
from ament_index_python.packages import get_package_prefix
from dbms_msgs.msg import ProtectionState, StringState
from dbms_msgs.srv import Command
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.pack import write_pack
from bench.report import percentiles, write_json
from bench.traffic import Place, Traffic
from dbms_node import middleware
from dbms_node.qos import STATE
from dbms_node.runtime import SWITCH_INTERVAL, make_executor, settle_memory, spin
from dbms_pack import Level, Pack, load_pack

NAMESPACE = 'bench_reaction'
ROUNDS = 4
WARM_UP = 20  # trips that are not counted
TRIP_TIMEOUT = 10.0  # s, a trip that takes longer ends the benchmark as failed
BUDGET_MS = 10.0
BUDGET_RATIO = 2.0
CURRENT_BUDGET_MS = 50.0  # with its debounce
CURRENT_SHARE = 4  # one trip by the current for so many by a cell


class Trips:
    """Makes one place after the other bad and takes the time until its string opens."""

    def __init__(self, pack: Pack, port: int, channel: str) -> None:
        logging.getLogger('can.interfaces.socketcand').setLevel(logging.ERROR)
        self._bus = can.Bus(
            interface='socketcand', channel=channel, host='127.0.0.1', port=port, tcp_tune=True
        )
        self.pack = pack
        self.traffic = Traffic(pack, self._bus, self._opened)
        self.seconds: dict[str, list[float]] = {'cell': [], 'current': []}
        self._waiting: dict[int, Place] = {}  # string -> what of it is bad
        self._next: dict[int, float] = {}  # string -> when its next trip is due
        self._since: dict[int, float] = {}
        self._random = random.Random(1)
        self.traffic.start()

    def _opened(self, string: int, now: float) -> None:
        place = self._waiting.pop(string, None)
        if place is None:
            return
        sent = self.traffic.sent_bad(place)
        if sent is not None:
            self.seconds[place[0]].append(now - sent)

    @property
    def pending(self) -> int:
        """How many trips have begun and not ended."""
        return len(self._waiting)

    def check(self) -> None:
        """Raise TimeoutError if a string that should open does not."""
        late = time.monotonic() - TRIP_TIMEOUT
        for string in list(self._waiting):
            if self._since[string] < late:
                raise TimeoutError(f'string {string} did not open within {TRIP_TIMEOUT} s')

    def trip(self, string: int, kind: str) -> None:
        """Make the current or a random module of this closed string bad, after the last trip."""
        now = time.monotonic()
        if string in self._waiting:
            return
        due = self._next.setdefault(string, now + self._random.uniform(0.05, 0.15))
        if now < due:
            return
        del self._next[string]
        per_string = len(self.pack.modules) // len(self.pack.strings)
        module = string * per_string + self._random.randrange(per_string)
        self._since[string] = now
        self._waiting[string] = place = (kind, module if kind == 'cell' else string)
        self.traffic.make_bad(place)

    def close(self) -> None:
        self.traffic.stop()
        self._bus.shutdown()


class Operator:
    """Resets and connects a string again after each trip, as fast as protection allows."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._node = rclpy.create_node('bench_operator', namespace=NAMESPACE)
        self._reset = self._node.create_client(Command, 'reset_faults')
        self._connect = self._node.create_client(Command, 'connect')
        self._node.create_subscription(ProtectionState, 'protection/state', self._on_state, STATE)
        self._states: list[StringState] = []
        self._asked: dict[int, float] = {}
        self._stop = threading.Event()
        executor = make_executor()
        executor.add_node(self._node)
        self._thread = threading.Thread(target=spin, args=(executor, self._stop), daemon=True)
        self._thread.start()

    def _on_state(self, message: ProtectionState) -> None:
        self._states = list(message.strings)

    def closed(self, string: int) -> bool:
        return bool(self._states) and self._states[string].state == StringState.CONNECTED

    def drive(self, string: int) -> None:
        """Bring the string one step nearer to being connected."""
        now = time.monotonic()
        if not self._states or now - self._asked.get(string, 0.0) < 0.1:
            return
        self._asked[string] = now
        request = Command.Request(
            origin='bench', reason='next trip', strings=[self._pack.strings[string].name]
        )
        state = self._states[string].state
        if state == StringState.FAULTED:
            self._reset.call_async(request)
        elif state == StringState.OPEN:
            self._connect.call_async(request)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(2.0)
        self._node.destroy_node()


def run_round(
    trips: Trips,
    kind: str,
    count: int,
    ready: Callable[[int], bool],
    progress: Callable[[], None],
) -> None:
    """Take `count` more times of a kind with frames flowing only during the round."""
    seconds = trips.seconds[kind]
    goal = len(seconds) + count
    deadline = time.monotonic() + 30 + count * 2.0
    trips.traffic.run(True)
    pause = threading.Event()
    while len(seconds) < goal:
        if time.monotonic() > deadline:
            raise TimeoutError(f'{goal - len(seconds)} of {count} trips did not happen')
        trips.check()
        for string in range(len(trips.pack.strings)):
            # None is left over: it would be waiting until the next round.
            if ready(string) and len(seconds) + trips.pending < goal:
                trips.trip(string, kind)
        progress()
        pause.wait(0.002)
    trips.traffic.run(False)


def start(stack: ExitStack, log: Path, *command: str) -> subprocess.Popen:
    """Start a process that ends with the benchmark and says what it has to say into `log`."""
    with log.open('w') as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def end() -> None:
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)
    return process


def executable(package: str, name: str) -> str:
    """Return the path of an installed node."""
    return str(Path(get_package_prefix(package)) / 'lib' / package / name)


def start_hub(stack: ExitStack) -> int:
    """Start the hub that plays the bus and return its port."""
    command = [executable('dbms_sim', 'can_hub'), '--port', '0']
    hub = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stack.callback(hub.wait)
    stack.callback(hub.terminate)
    assert hub.stdout is not None
    return int(hub.stdout.readline().rpartition(':')[2])


def start_real(stack: ExitStack, pack_file: Path, port: int) -> None:
    """Start driver and protection as they run in service."""
    ros = ['--ros-args', '-r', f'__ns:=/{NAMESPACE}', '-p', f'pack:={pack_file}']
    bus = ['-p', 'bus_interface:=socketcand', '-p', f'bus_port:={port}']
    log = pack_file.with_name
    start(stack, log('driver.log'), executable('dbms_drivers', 'driver'), *ros, *bus)
    guard = executable('dbms_protection', 'protection')
    kept = ['-p', f'event_file:={log("events.sqlite")}']  # not that of a real pack
    start(stack, log('protection.log'), guard, *ros, *kept, '-p', 'autostart:=true')


def start_floor(stack: ExitStack, pack_file: Path, port: int) -> None:
    """Start the bare transport."""
    ros = ['--ros-args', '-r', f'__ns:=/{NAMESPACE}_floor']
    for role in ('driver', 'guard'):
        command = [sys.executable, '-m', 'bench.floor', role, str(pack_file), str(port), *ros]
        start(stack, pack_file.with_name(f'floor_{role}.log'), *command)


def print_logs(folder: Path) -> None:
    """Print the end of what the processes said: called when the benchmark fails."""
    for log in sorted(folder.glob('*.log')):
        lines = log.read_text().splitlines()[-15:]
        print(f'--- {log.name}', *lines, sep='\n', file=sys.stderr)


def measure(arguments: argparse.Namespace) -> dict:
    """Run all rounds and return the result."""
    console = Console(stderr=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.push(lambda kind, *_: print_logs(folder) if kind else None)
        pack_file = folder / 'reaction.yaml'
        write_pack(
            pack_file, arguments.strings, arguments.modules // arguments.strings, arguments.cells
        )
        pack = load_pack(pack_file)
        port = start_hub(stack)
        start_real(stack, pack_file, port)
        start_floor(stack, pack_file, port)
        real = Trips(pack, port, f'{pack.name}_main')
        stack.callback(real.close)
        floor = Trips(pack, port, 'floor')
        stack.callback(floor.close)
        operator = Operator(pack)
        stack.callback(operator.close)
        progress = stack.enter_context(Progress(console=console))
        share = -(-arguments.trips // ROUNDS)
        few = max(1, share // CURRENT_SHARE)
        task = progress.add_task('trips', total=ROUNDS * (2 * share + few))

        def show() -> None:
            done = sum(len(one) for trips in (real, floor) for one in trips.seconds.values())
            progress.update(task, completed=done)

        def real_ready(string: int) -> bool:
            if not operator.closed(string):
                operator.drive(string)
                return False
            return real.traffic.closed[string]

        def floor_ready(string: int) -> bool:
            floor.traffic.closed[string] = True  # the floor has no state that would close it
            return True

        rounds = (
            (real, 'cell', share, real_ready),
            (floor, 'cell', share, floor_ready),
            (real, 'current', few, real_ready),
        )
        for trips, kind, _, ready in rounds:  # discovery, caches
            run_round(trips, kind, WARM_UP, ready, show)
            trips.seconds[kind].clear()
        settle_memory()
        for _ in range(ROUNDS):
            for one in rounds:
                run_round(*one, show)
    return {
        'benchmark': 'reaction',
        'modules': arguments.modules,
        'cells_per_module': arguments.cells,
        'rate_hz': 1 / pack.modules[0].period,
        'debounce_ms': pack.limits.overcurrent_discharge[Level.MSL].debounce * 1e3,
        'dbms': percentiles(real.seconds['cell']),
        'floor': percentiles(floor.seconds['cell']),
        'current': percentiles(real.seconds['current']),
    }


def print_table(result: dict) -> bool:
    """Print the result and return whether it is within its budgets."""
    table = Table(title='Reaction: bad frame on the bus -> opening frame on the bus')
    for column in ('', 'trips', 'p50, ms', 'p99, ms', 'max, ms'):
        table.add_column(column, justify='right' if column else 'left')
    columns = ('p50_ms', 'p99_ms', 'max_ms')

    def add(key: str, name: str) -> None:
        row = result[key]
        count = str(row.get('count', ''))
        table.add_row(name, count, *(f'{row[column]:.2f}' for column in columns))

    result['ratio'] = ratio = {n: result['dbms'][n] / result['floor'][n] for n in columns}
    add('dbms', 'a bad cell, without debounce')
    add('floor', 'bare transport floor')
    add('ratio', 'ratio')
    add('current', f'over-current, debounce {result["debounce_ms"]:g} ms')
    console = Console()
    console.print(table)
    good = result['dbms']['p99_ms'] <= BUDGET_MS and ratio['p99_ms'] <= BUDGET_RATIO
    soon = result['current']['p99_ms'] <= CURRENT_BUDGET_MS
    console.print(
        f'{result["modules"]} modules x {result["cells_per_module"]} cells at '
        f'{result["rate_hz"]:g} Hz; aim: p99 <= {BUDGET_MS:g} ms and <= {BUDGET_RATIO:g} x floor: '
        f'{"met" if good else "missed"}; over-current <= {CURRENT_BUDGET_MS:g} ms: '
        f'{"met" if soon else "missed"}'
    )
    return good and soon


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog='dbms bench reaction', description=__doc__)
    parser.add_argument('--trips', type=int, default=1000, help='by a cell, default 1000')
    parser.add_argument('--modules', type=int, default=32)
    parser.add_argument('--cells', type=int, default=16, help='per module')
    parser.add_argument('--strings', type=int, default=4, help='the modules are spread over them')
    parser.add_argument('--json', metavar='FILE', help='write the result there too')
    arguments = parser.parse_args(argv)
    if arguments.modules % arguments.strings:
        parser.error('--modules must be a multiple of --strings')
    sys.setswitchinterval(SWITCH_INTERVAL)
    middleware.init()
    try:
        result = measure(arguments)
    finally:
        rclpy.try_shutdown()
    print_table(result)
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
