# SPDX-License-Identifier: Apache-2.0
"""Missed and false trips: a fault campaign, and a day of normal missions, in simulated time.

    ./dbms bench safety                          # all of it, on one core
    ./dbms bench safety --jobs 4 --out DIR       # on four, with JSON and picture
    ./dbms bench safety --only missions --speed 4
    ./dbms bench safety --quick                  # a few of each, in seconds
    ./dbms bench safety --tables DIR [DIR ...]   # of earlier runs, for docs/safety-campaign.md

The cores of simulator, driver and protection in one process, with the frames of the wire between
them. Exits 1 when a fault was missed, named at the wrong place or acted upon late, or when the
guard said something of a pack in which nothing is wrong.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.report import write_json
from bench.safety_cases import Case, Result, cases, play
from bench.safety_missions import MISSIONS, Mission, Outcome, run
from bench.safety_table import markdown, read
from dbms_pack import Level, Pack, load_pack

PACKS = ('robot_13s', 'marine_2x16s')
QUICK_HOURS = 0.02  # of all missions together
QUICK_CASES = 25  # one of so many
T = TypeVar('T')


def picked(packs: Sequence[str], quick: bool) -> list[tuple[Pack, list[Case]]]:
    """Return the cases of each pack; with `quick` one of many, of every manner and action."""
    found = []
    for name in packs:
        pack = load_pack(name)
        every = list(cases(pack))
        found.append((pack, every[::QUICK_CASES] if quick else every))
    return found


def campaign(chosen: Sequence[tuple[Pack, list[Case]]], jobs: int) -> list[Result]:
    """Play all cases."""
    work = [(pack, case) for pack, few in chosen for case in few]
    calls = [(play, pair) for pair in work]
    done = dict(_spread(calls, jobs, 'cases'))
    return [done[index] for index in range(len(work))]


def missions(packs: Sequence[str], share: float, speed: float, jobs: int) -> list[Outcome]:
    """Play a share of all missions of some packs."""
    chosen = [mission for mission in MISSIONS if mission.pack in packs]
    calls = [(fly, (mission, share, speed)) for mission in chosen]
    done = dict(_spread(calls, jobs, 'missions'))
    return [done[index] for index in range(len(chosen))]


def fly(mission: Mission, share: float, speed: float) -> Outcome:
    """Play a mission to its end."""
    *_, outcome = run(mission, share, speed)
    assert isinstance(outcome, Outcome)
    return outcome


def _spread(
    calls: Sequence[tuple[Callable[..., Any], tuple[Any, ...]]], jobs: int, what: str
) -> Iterator[tuple[int, Any]]:
    """Yield index and result of each call, from as many processes as there are jobs."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=len(calls))
        if jobs == 1:
            for index, (call, arguments) in enumerate(calls):
                yield index, call(*arguments)
                progress.advance(task)
            return
        # No fork: the numerical libraries have threads.
        with ProcessPoolExecutor(jobs, get_context('spawn')) as pool:
            futures = {pool.submit(call, *args): i for i, (call, args) in enumerate(calls)}
            for future in as_completed(futures):
                yield futures[future], future.result()
                progress.advance(task)


# -- what is told -------------------------------------------------------------------------------


def case_table(results: Sequence[Result]) -> Table:
    """Return a row per trigger and level: how it went in all manners and packs."""
    table = Table(title='Fault campaign: every trigger, in every manner')
    for name in ('fault', 'level', 'action', 'cases', 'missed', 'misplaced', 'late', 'slowest, s',
                 'promised, s'):  # fmt: skip
        table.add_column(name, justify='left' if name in ('fault', 'level', 'action') else 'right')
    rows: dict[tuple[str, Level, str], list[Result]] = {}
    for result in results:
        rows.setdefault((result.case.fault, result.case.level, result.case.action), []).append(
            result
        )
    for (fault, level, action), few in rows.items():
        slowest = max(few, key=lambda one: -1.0 if math.isnan(one.acted) else one.acted)
        promised = max(one.case.promised for one in few)
        counts = [sum(one.verdict == word for one in few) for word in ('missed', 'place', 'late')]
        style = 'bold red' if any(counts) else ''
        table.add_row(
            fault, level.name, action, str(len(few)), *(str(n or '') for n in counts),
            f'{slowest.acted:.2f}', f'{promised:.2f}', style=style,
        )  # fmt: skip
    return table


def mission_table(outcomes: Sequence[Outcome]) -> Table:
    """Return a row per mission, and their sum."""
    table = Table(title='Normal missions, in which nothing is wrong')
    for name in ('mission', 'pack', 'hours', 'frames', 'true warnings', 'false warnings',
                 'false trips', 'opened'):  # fmt: skip
        table.add_column(name, justify='left' if name in ('mission', 'pack') else 'right')
    for one in outcomes:
        trips = sum(raised.level is Level.MSL for raised in one.false)
        table.add_row(
            one.mission.name, one.mission.pack, f'{one.hours:.2f}', str(one.frames),
            str(len(one.true)), str(len(one.false) - trips), str(trips), str(len(one.opened)),
            style='bold red' if one.false or one.opened else '',
        )  # fmt: skip
    hours, frames = sum(one.hours for one in outcomes), sum(one.frames for one in outcomes)
    table.add_row('all', '', f'{hours:.2f}', str(frames), style='bold')
    return table


def details(results: Sequence[Result], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a line for everything that is not as it should be."""
    for result in results:
        if not result.good:
            yield f'{result.case.pack} {result.case}: {result.problem}; raised: {result.told}'
    for one in outcomes:
        for raised in one.false[:10]:
            yield f'{one.mission.name}: false at {raised.time:.1f} s: {raised.text}'
        for text in one.opened[:10]:
            yield f'{one.mission.name}: opened: {text}'


def as_json(
    results: Sequence[Result], outcomes: Sequence[Outcome], speed: float, seconds: float
) -> dict[str, Any]:
    """Return all of it as plain data."""
    return {
        'benchmark': 'safety',
        'seconds': round(seconds, 1),
        'speed': speed,
        'cases': [
            {
                'pack': one.case.pack, 'fault': one.case.fault, 'level': one.case.level.name,
                'manner': one.case.manner, 'action': one.case.action,
                'promised': one.case.promised, 'detected': _number(one.detected),
                'acted': _number(one.acted), 'verdict': one.verdict, 'problem': one.problem,
            }
            for one in results
        ],
        'missions': [
            {
                'name': one.mission.name, 'pack': one.mission.pack, 'hours': one.hours,
                'frames': one.frames, 'opened': one.opened,
                'true': len(one.true), 'false': [f'{r.time:.2f} s {r.text}' for r in one.false],
            }
            for one in outcomes
        ],
    }  # fmt: skip


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


def draw(cases: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw the time to the action against what is promised; False without matplotlib.

    `cases` as in `as_json`.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7.0, 5.0), layout='constrained')
    axes = figure.add_subplot()
    shown = [one for one in cases if one['promised'] > 0.0 and one['acted'] is not None]
    for action, marker in (('warn', '.'), ('derate', 'v'), ('leave', 's'), ('open', 'o')):
        few = [one for one in shown if one['action'] == action]
        axes.plot(
            [one['promised'] for one in few], [max(one['acted'], 0.01) for one in few],
            marker, label=f'{action} ({len(few)})', alpha=0.6, markersize=6,
        )  # fmt: skip
    ends = [0.1, 100.0]
    axes.plot(ends, ends, color='0.5', linewidth=1, label='as promised')
    axes.set(xscale='log', yscale='log', xlabel='promised by ./dbms check --limits, s',
             ylabel='from the first bad sample to the end of the action, s')  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    return True


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.tables:
        return _show(arguments.tables, arguments.out)
    console = Console(width=110)  # the same in a terminal, a file and the guide
    begun = time.monotonic()
    packs = arguments.pack or PACKS
    results: list[Result] = []
    outcomes: list[Outcome] = []
    if arguments.only != 'missions':
        results = campaign(picked(packs, arguments.quick), arguments.jobs)
        console.print(case_table(results))
    if arguments.only != 'campaign':
        share = (
            QUICK_HOURS / sum(one.hours for one in MISSIONS)
            if arguments.quick
            else arguments.share
        )
        outcomes = missions(packs, share, arguments.speed, arguments.jobs)
        console.print(mission_table(outcomes))
    lines = list(details(results, outcomes))
    for line in lines:
        console.print(line, markup=False, highlight=False)
    bad = sum(not one.good for one in results)
    false = sum(len(one.false) + len(one.opened) for one in outcomes)
    console.print(
        f'{len(results)} cases, {bad} not as promised; '
        f'{sum(one.hours for one in outcomes):.2f} h of missions, {false} false; '
        f'{time.monotonic() - begun:.0f} s'
    )
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        result = as_json(results, outcomes, arguments.speed, time.monotonic() - begun)
        write_json(arguments.out / 'safety.json', result)
        (arguments.out / 'safety.md').write_text(markdown(result), encoding='utf-8')
        if results and not draw(result['cases'], arguments.out / 'safety.png'):
            console.print('no picture: it needs matplotlib (./dbms test installs it)')
    return 1 if lines else 0


def _show(directories: Sequence[Path], out: Path | None) -> int:
    """Print the tables of runs as Markdown, and draw their cases together."""
    try:
        result = read(directories)
    except (OSError, ValueError, KeyError) as problem:
        print(f'no result of this bench: {problem}', file=sys.stderr)
        return 2
    print(markdown(result), end='')
    if out is not None and result['cases']:
        out.mkdir(parents=True, exist_ok=True)
        draw(result['cases'], out / 'safety.png')
    return 0


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog='./dbms bench safety',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words.add_argument('--only', choices=('campaign', 'missions'))
    words.add_argument('--pack', action='append', choices=PACKS, help='this one alone')
    words.add_argument('--quick', action='store_true', help='a few cases and a minute of missions')
    words.add_argument('--share', type=_share, default=1.0, help='of each mission, up to 1')
    words.add_argument('--jobs', type=_jobs, default=1, metavar='N', help='processes, default 1')
    words.add_argument(
        '--speed', type=_speed, default=1.0, metavar='N',
        help='battery time of the missions goes so many times faster than the boards measure; '
        'debounces are shorter by as much',
    )  # fmt: skip
    words.add_argument(
        '--out', type=Path, metavar='DIR', help='for safety.json, safety.md and safety.png'
    )
    words.add_argument(
        '--tables', type=Path, nargs='+', metavar='DIR', help='print those of earlier runs'
    )
    return words


def _jobs(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f'{text}: 1 to 256')
    return int(text)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f'{text}: up to 1')
    return value


def _speed(text: str) -> float:
    value = float(text)
    if not 1.0 <= value <= 20.0:
        raise argparse.ArgumentTypeError(f'{text}: 1 to 20')
    return value


if __name__ == '__main__':
    sys.exit(main())
