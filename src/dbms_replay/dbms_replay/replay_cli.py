# SPDX-License-Identifier: Apache-2.0
"""`./dbms replay`: a recording through the estimation and the protection of now."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dbms_pack import PackError

from . import expect
from .bags import Bag, BagError
from .outcome import Outcome
from .record_cli import seconds
from .replay import Replay

SHOWN = 40  # events that are printed without --all-events


def main(argv: Sequence[str] | None = None) -> int:
    """Replay a bag; 0: done and as expected, 1: not as expected, 2: it could not be read."""
    value = _parser().parse_args(argv)
    try:
        if value.plot:
            from .plots import draw  # now: before the work, not after it
        expected = expect.load(value.expect) if value.expect else None
        bag = Bag(value.bag)
        replay = Replay(bag, value.pack, value.namespace, value.time_scale)
        outcome, differs = _run(replay, value)
    except (BagError, PackError, expect.ExpectError) as error:
        print(f'dbms replay: {error}', file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f'dbms replay: --plot needs {error.name}, which is not installed', file=sys.stderr)
        return 2
    _tell(replay, outcome, value.all_events)
    if value.plot:
        print(f'  picture       {draw(outcome, value.plot, value.bag.stem)}')
    if value.write_expect:
        value.write_expect.write_text(expect.proposal(outcome), 'utf-8')
        print(f'  expectations  {value.write_expect}')
    if expected is not None:
        differs |= _judge(expected, outcome, value.expect)
    return 1 if differs else 0


def _run(replay: Replay, value: argparse.Namespace) -> tuple[Outcome, bool]:
    """Replay, write what was asked for, compare with what was said before."""
    from .against import compare, said

    with tempfile.TemporaryDirectory() as folder, _progress(value.bag.name) as progress:
        target = value.output
        if target is None and value.against is not None:
            target = Path(folder) / 'outputs.mcap'
        if target is not None and target.exists() and target.samefile(value.bag):
            raise BagError(f'{target}: the outputs would overwrite what is replayed')
        outcome = replay.run(value.until, progress, target)
        if value.output is not None:
            outcome.notes.append(f'outputs are in {value.output}')
        if value.against is None:
            return outcome, False
        comparison = compare(said(target), said(value.against))
    word = 'differs' if comparison.differs else 'does not differ'
    print(f'against {value.against}: it {word}')
    for line in comparison.lines:
        print(f'  {line}')
    return outcome, comparison.differs


@contextmanager
def _progress(name: str) -> Iterator[Callable[[float], None] | None]:
    """Show a bar while the block runs, where there is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn('{task.description}'), BarColumn(), TextColumn('{task.percentage:>3.0f} %'),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _tell(replay: Replay, outcome: Outcome, all_events: bool) -> None:
    used = sum(outcome.messages.values())
    print(
        f'{replay.bag.path}: {outcome.duration:.1f} s, {used} messages, '
        f'pack {replay.pack.name} in {replay.namespace or "/"}'
    )
    events = outcome.events
    if not all_events:
        events = [e for e in events if e.kind == 'state' or e.level == 'MSL']
    for event in events if all_events else events[:SHOWN]:
        text = f': {event.text}' if event.text and event.kind != 'over' else ''
        print(f'{event.time:11.3f} s  {event}{text}')
    hidden = len(outcome.events) - (len(events) if all_events else min(len(events), SHOWN))
    if hidden:
        print(f'  and {hidden} more events: --all-events')
    series = outcome.series
    if series.time.size:
        for name, label in (('soc', 'SOC'), ('soc_min', 'weakest cell')):
            known = series[name][np.isfinite(series[name])]
            told = f'{known[0]:.1%} to {known[-1]:.1%}' if known.size else 'not known'
            print(f'  {label:<14}{told}')
        for name, label in (('charge_limit', 'charge'), ('discharge_limit', 'discharge')):
            limits = series[name]
            print(f'  {label:<14}limit {limits.min():.1f} to {limits.max():.1f} A, '
                  f'{limits[-1]:.1f} A at the end')  # fmt: skip
    for what, count in sorted((+outcome.problems).items()):
        print(f'  input         {count} {what}')
    for note in outcome.notes:
        print(f'  note          {note}')


def _judge(expected: expect.Expectations, outcome: Outcome, path: Path) -> bool:
    differences = expect.compare(expected, outcome)
    count = len(expected.events) + len(expected.numbers)
    if not differences:
        print(f'{path}: all {count} expectations are met')
        return False
    print(f'{path}: not as expected, {len(differences)} differences')
    for difference in differences:
        print('  ' + str(difference).replace('\n', '\n  '))
    return True


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog='./dbms replay',
        description='Replay a recording through estimation and protection, in recorded time: the '
        'same result every time, as fast as the machine can.',
        epilog='Exit code 0: done and as expected; 1: not as expected; 2: it could not be read.',
    )
    add = words.add_argument
    add('bag', type=Path, metavar='BAG', help='directory of a bag, or an .mcap file')
    add('--pack', metavar='FILE', help='pack file or name; default: the one it was recorded with')
    add('--namespace', help='of the battery, where there is more than one in it')
    add('--until', type=seconds, default=float('inf'), metavar='T', help='end at this time')
    add('--time-scale', type=float, metavar='N', help='of a simulation; default: as recorded')
    add('-o', '--output', type=Path, metavar='OUT.mcap', help='write what the nodes would say')
    add('--expect', type=Path, metavar='FILE', help='compare events and numbers with this file')
    add('--write-expect', type=Path, metavar='FILE', help='write what came as expectations')
    add('--against', type=Path, metavar='BAG', help='compare with the outputs in another bag')
    add('--plot', type=Path, metavar='DIR', help='draw voltages, SOC, limits and events')
    add('--all-events', action='store_true', help='print warnings and ends of faults too')
    return words


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    sys.exit(main())
