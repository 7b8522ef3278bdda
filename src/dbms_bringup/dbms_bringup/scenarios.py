# SPDX-License-Identifier: Apache-2.0
"""./dbms scenario: runs scenarios, each in a process of its own, and tells how each ended."""

import argparse
import fnmatch
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dbms_pack import PackError, paths
from dbms_sim.scenario import Scenario, load_scenario

from .output import log_directory
from .ports import domain_is_free

# Domains above 101 may collide with the ports of outgoing connections on Linux.
FIRST_DOMAIN, LAST_DOMAIN = 20, 100
MARGIN = 90.0  # s beyond the duration, for start, end and picture
ATTEMPTS = 3  # where the machine did not give a run its time, see scenario_run


@dataclass(frozen=True)
class Result:
    """How a scenario ended."""

    scenario: Scenario
    passed: bool
    seconds: float  # wall
    verdicts: Sequence[Mapping[str, Any]]
    problem: str = ''  # why nothing was judged
    note: str = ''  # what else is to be known
    starved: float = 0.0  # s of half a second that the machine gave it no time, if too much


def main(arguments: Sequence[str] | None = None) -> int:
    """Run scenarios; 0: all as expected, 1: not, 2: a file or an argument is wrong."""
    value = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    names = [*value.files] or paths.names('scenarios')
    if value.only:
        names = [name for name in names if fnmatch.fnmatch(Path(name).stem, value.only)]
    scenarios, problems = [], []
    for name in names:
        try:
            scenarios.append(load_scenario(name))
        except PackError as error:
            problems += [str(problem) for problem in error.problems]
    if problems or not scenarios:
        print('\n'.join(problems) or 'dbms scenario: no scenario of that name', file=sys.stderr)
        return 2
    if value.control:
        scenarios = [one for one in scenarios if one.has_faults]
    if value.check:
        print(f'{len(scenarios)} scenarios are right')
        return 0
    return _run_all(scenarios, value)


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(
        prog='./dbms scenario',
        description='Run scenarios on the whole graph with a simulated pack, and say whether what '
        'was expected happened. Without names: all of config/scenarios.',
    )
    add = words.add_argument
    add('files', nargs='*', metavar='FILE', help='scenario file, or name of a shipped one')
    add('--jobs', type=int, default=1, metavar='N', help='how many at the same time (default: 1)')
    add('--out', type=Path, metavar='DIR', help='where recordings and pictures go')
    add('--only', metavar='PATTERN', help="those whose name fits, as 'contactor_*'")
    add('--domain', type=int, metavar='N', help='first ROS_DOMAIN_ID; the others follow it')
    add('--no-pictures', action='store_true', help='recordings only')
    add(
        '--control',
        action='store_true',
        help='leave the faults out: a scenario that ends as expected all the same is a bad one',
    )
    add('--check', action='store_true', help='read the files, run nothing')
    return words


def _run_all(scenarios: Sequence[Scenario], value: argparse.Namespace) -> int:
    pictures = not value.no_pictures
    if pictures and importlib.util.find_spec('matplotlib') is None:
        print('no pictures: they need matplotlib (./dbms test installs it)', file=sys.stderr)
        pictures = False
    out = value.out or log_directory(os.environ) / 'scenarios'
    domains = Domains(FIRST_DOMAIN + os.getpid() * 7 if value.domain is None else value.domain)
    started = time.monotonic()
    results: list[Result] = []
    # Runs wait most of their time: pictures are drawn beside them, one at a time.
    with ThreadPoolExecutor(1) as painter, ThreadPoolExecutor(max(1, value.jobs)) as pool:
        # The longest first: the last ones to end shall not keep a core idle.
        order = sorted(scenarios, key=lambda one: -one.duration / one.time_scale)
        futures = [
            pool.submit(_judged, scenario, out / scenario.name, domains, value.control)
            for scenario in order
        ]
        for future in as_completed(futures):
            result = future.result()
            results.append(result)
            if pictures and not result.problem:
                painter.submit(_draw, out / result.scenario.name)
            print('\n'.join(lines(result)), flush=True)
    wall = time.monotonic() - started
    failed = sorted(result.scenario.name for result in results if not result.passed)
    print(f'\n{len(results) - len(failed)} of {len(results)} as expected in {wall:.0f} s; {out}')
    if failed:
        print(f'failed: {", ".join(failed)}')
    _write_summary(out, results, wall)
    return 1 if failed else 0


class Domains:
    """ROS domains from `first` on that nobody on this host is in."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._taken: set[int] = set()
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[int]:
        """Return a domain for a while."""
        with self._lock:
            span = LAST_DOMAIN - FIRST_DOMAIN
            wanted = [FIRST_DOMAIN + (self._next - FIRST_DOMAIN + i) % span for i in range(span)]
            left = [one for one in wanted if one not in self._taken]
            domain = next((one for one in left if domain_is_free(one)), left[0])
            self._next = domain + 1
            self._taken.add(domain)
        try:
            yield domain
        finally:
            with self._lock:
                self._taken.discard(domain)


def _judged(scenario: Scenario, directory: Path, domains: Domains, control: bool) -> Result:
    """Run a scenario, and again if it failed while the machine stood still for it."""
    note = ''
    for attempt in range(ATTEMPTS):
        with domains.one() as domain:
            result = run_one(scenario, directory, domain, control)
        if result.passed or not result.starved or attempt + 1 == ATTEMPTS:
            break
        note = (
            f'run again: of half a second the machine gave it no time for {result.starved:.2f} s'
        )
    return replace(result, note=note)


def run_one(scenario: Scenario, directory: Path, domain: int, control: bool = False) -> Result:
    """Run a scenario in a process of its own; its output goes into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / 'verdicts.json'
    file.unlink(missing_ok=True)
    environ = {
        **os.environ,
        'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'ROS_LOG_DIR': str(directory.absolute() / 'ros'),
    }
    command = [
        sys.executable, '-m', 'dbms_bringup.scenario_run', str(scenario.path.absolute()),
        str(directory.absolute()), *(['--control'] if control else []),
    ]  # fmt: skip
    started = time.monotonic()
    problem = ''
    with (directory / 'log.txt').open('wb') as log:
        try:
            limit = scenario.duration / scenario.time_scale + MARGIN
            done = subprocess.run(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                timeout=limit, check=False,
            )  # fmt: skip
            if done.returncode not in (0, 1) or not file.exists():
                problem = f'ended with {done.returncode}'
        except subprocess.TimeoutExpired:
            problem = f'not over after {limit:.0f} s'
    seconds = time.monotonic() - started
    log_file = directory / 'log.txt'
    if problem:
        return Result(scenario, False, seconds, (), f'{problem}; see {log_file}')
    content = json.loads(file.read_text('utf-8'))
    problem = '' if content['began'] else f'not begun: {content["problem"]}; see {log_file}'
    passed = content['passed']
    if control and not problem:
        problem = 'it ends as expected without its faults: they are not seen' if passed else ''
        passed = not passed
    starved = content['starved']
    return Result(scenario, passed, seconds, content['verdicts'], problem, starved=starved)


def _draw(directory: Path) -> None:
    drawing = [sys.executable, '-m', 'dbms_bringup.scenario_plot', str(directory.absolute())]
    with (directory / 'log.txt').open('ab') as log:
        subprocess.run(drawing, stdout=log, stderr=log, check=False)


def lines(result: Result) -> list[str]:
    """Tell a result to a person: a line for the scenario and one for each verdict."""
    word = 'pass' if result.passed else 'FAIL'
    scenario = result.scenario
    told = [f'{word}  {scenario.name} ({result.seconds:.1f} s): {scenario.purpose}']
    if result.note:
        told.append(f'      {result.note}')
    if result.problem:
        return [*told, f'      {result.problem}']
    for one in result.verdicts:
        mark = '    ' if one['passed'] else 'FAIL'
        told.append(
            f'  {mark} {one["time"]:9.2f} s  {one["expected"]}: {one["happened"]}'
            + ('' if one['passed'] else f'  [{scenario.path}:{one["line"]}]')
        )
    return told


def _write_summary(out: Path, results: Sequence[Result], wall: float) -> None:
    content = {
        'seconds': round(wall, 1),
        'scenarios': [
            {
                'name': result.scenario.name,
                'purpose': result.scenario.purpose,
                'passed': result.passed,
                'seconds': round(result.seconds, 1),
                'problem': result.problem,
                'note': result.note,
                'verdicts': list(result.verdicts),
            }
            for result in sorted(results, key=lambda one: one.scenario.name)
        ],
    }
    (out / 'summary.json').write_text(json.dumps(content, indent=2) + '\n', 'utf-8')
