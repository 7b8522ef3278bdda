# SPDX-License-Identifier: Apache-2.0
"""How good the SOC is on measured cycles, clean and perturbed, beside other ways to tell it.

`clean` starts true; `perturbed` starts 20 to 30 % wrong somewhere in the first third, with an
offset and a gain error of up to 1 % on the current, noise on everything, rows missing and fields
blank, by a seed. Scores leave the first 600 s out. A cycle with * made the cell file; --held-out
makes one without them.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.report import write_json
from bench.soc_cycles import Cycle, data_folder, paths, perturbed, read, without_temperature
from bench.soc_held_out import HeldOutError, cells_without
from bench.soc_rivals import RIVALS
from bench.soc_run import Guess, Score, run_ours, score
from dbms_estimation.filter_options import FilterOptions
from dbms_pack import load_cell
from dbms_pack.model import CellModel

SEEDS = 3
COMPARED = ('Mixed1', '_P05_s1', '_P25_s1', 'With_')  # parts of the paths for --compare
RESULTS = dict[str, Guess]
Scored = tuple[Cycle, dict[str, Score]]
Cells = dict[str, CellModel]  # instead of those shipped


def variants() -> dict[str, FilterOptions]:
    """Return what --compare leaves out of the project's filter, one thing at a time."""
    whole = FilterOptions()
    return {
        'dbms, one hypothesis': replace(whole, said_right=0.0, widest=np.inf),
        'dbms, resistance of the table': replace(whole, resistance_error=1e-6),
        'dbms, no OCV error': replace(whole, offset_share=1e-3, hysteresis_error=1e-3),
        'dbms, white errors': replace(whole, quick_time=1e-3),
    }


def cycles_of(
    wanted: Sequence[str], seeds: int, blank: bool, cells: Cells, held_out: Sequence[str] = ()
) -> dict[str, list[Cycle]]:
    """Return the cycles of each cell, clean and perturbed, whose path holds one of `wanted`.

    With `held_out` only those of these names, and of `cells`, which were made without them.
    """
    found: dict[str, list[Cycle]] = defaultdict(list)
    files = {path: kind for part in wanted for kind, path in paths(part)}
    for path, kind in files.items():
        if held_out:
            if kind.name not in held_out:
                continue
            kind = replace(kind, trained=False)
        cell = cells.get(kind.cell) or load_cell(kind.cell)
        clean = read(kind, path, cell)
        some = [clean, *(perturbed(clean, cell, seed) for seed in range(seeds))]
        found[kind.cell] += [without_temperature(c) for c in some] if blank else some
    return found


def run(
    cycles: dict[str, list[Cycle]],
    rivals: Sequence[str],
    options: dict,
    compare: bool,
    cells: Cells,
) -> list:
    """Run the project's filter and its rivals; return (cycle, estimates by name).

    The rivals take minutes: unless they are to be compared, they run with the first seed only.
    """
    results = []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for name, group in cycles.items():
            cell = cells.get(name) or load_cell(name)
            rows = max(len(cycle.truth) for cycle in group)
            task = bar.add_task(name, total=rows * len(options) + len(rivals) * len(group))
            ours = {
                label: run_ours(group, cell, chosen, lambda n, t=task: bar.advance(t, n))
                for label, chosen in options.items()
            }
            bar.update(task, total=len(rivals) * len(group), completed=0)
            for index, cycle in enumerate(group):
                guesses: RESULTS = {label: runs[index] for label, runs in ours.items()}
                for rival in rivals:
                    if rival == 'counting' or compare or cycle.seed < 1:
                        guesses[rival] = RIVALS[rival](cycle, cell)
                    bar.advance(task)
                results.append((cycle, guesses))
    return results


def table_of_runs(results: Sequence[Scored]) -> Table:
    """Return a row for each cycle."""
    table = Table(title='SOC error in %, without the first 600 s', box=None)
    for name in ('cell', 'degC', 'cycle', 'condition'):
        table.add_column(name, justify='right' if name == 'degC' else 'left')
    for name in ('RMSE', 'MAE', 'max', 'conv s', '2 sigma', 'EKF', '2 sigma', 'counting'):
        table.add_column(name, justify='right')
    for cycle, scores in results:
        s = scores['dbms']
        star = '*' if cycle.kind.trained else ''
        table.add_row(
            *(cycle.cell, f'{cycle.degrees}', f'{cycle.name}{star}', cycle.condition),
            *(f'{100 * s.rmse:.2f}', f'{100 * s.mae:.2f}', f'{100 * s.worst:.1f}'),
            *(f'{s.converged:.0f}', f'{s.coverage:.0%}'),
            *_peers(scores),
        )
    return table


def _peers(scores: dict[str, Score]) -> list[str]:
    ekf, count = scores.get('plain EKF'), scores['counting']
    of_ekf = [f'{100 * ekf.rmse:.2f}', f'{ekf.coverage:.0%}'] if ekf else ['', '']
    return [*of_ekf, f'{100 * count.rmse:.2f}']


def table_of_means(results: Sequence[Scored]) -> Table:
    """Return a row for each cell and temperature: means over the cycles."""
    groups = defaultdict(list)
    for cycle, scores in results:
        groups[cycle.cell, -cycle.degrees, cycle.condition].append(scores)
    table = Table(title='Means over the cycles', box=None)
    for name in ('cell', 'degC', 'condition', 'runs'):
        table.add_column(name, justify='right' if name in ('degC', 'runs') else 'left')
    for name in ('RMSE', 'MAE', 'max', 'never', '2 sigma', 'EKF', '2 sigma', 'counting'):
        table.add_column(name, justify='right')
    for (cell, degrees, condition), group in sorted(groups.items()):
        names = {name for scores in group for name in scores}
        mean = {name: _mean([s[name] for s in group if name in s]) for name in names}
        s = mean['dbms']
        never = sum(scores['dbms'].nearest > 0.03 for scores in group)
        table.add_row(
            *(cell, f'{-degrees}', condition, f'{len(group)}', f'{100 * s.rmse:.2f}'),
            *(f'{100 * s.mae:.2f}', f'{100 * s.worst:.1f}', f'{never}', f'{s.coverage:.0%}'),
            *_peers(mean),
        )
    return table


def _mean(scores: Sequence[Score]) -> Score:
    return Score(*np.mean([list(vars(s).values()) for s in scores], axis=0))


def table_of_filters(results: Sequence[Scored]) -> Table:
    """Return a row for each filter, with its mean RMSE and coverage by cell and temperature."""
    groups = defaultdict(list)
    for cycle, scores in results:
        groups[cycle.cell, -cycle.degrees].append((cycle.condition, scores))
    table = Table(title='RMSE in % clean / perturbed, rows within 2 sigma', box=None)
    table.add_column('filter')
    for cell, degrees in sorted(groups):
        table.add_column(f'{cell} {-degrees}', justify='right')
    for name in results[0][1]:
        cells = []
        for key in sorted(groups):
            rms = [
                100 * np.mean([s[name].rmse for kind, s in groups[key] if kind == condition])
                for condition in ('clean', 'perturbed')
            ]
            inside = np.mean([s[name].coverage for _, s in groups[key]])
            share = '' if np.isnan(inside) else f', {inside:.0%}'
            cells.append(f'{rms[0]:.2f} / {rms[1]:.2f}{share}')
        table.add_row(name, *cells)
    return table


def draw(results: list, folder: Path) -> None:
    """Draw the error of each run with the band of 2 sigma."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = defaultdict(int)
    for cycle, guesses in results:
        hours = (cycle.record.time - cycle.record.time[0]) / 3600
        figure, axes = pyplot.subplots(figsize=(9, 4), layout='constrained')
        for name, (soc, _) in guesses.items():
            axes.plot(hours, 100 * (soc - cycle.truth), label=name, linewidth=0.8)
        sigma = guesses['dbms'][1]
        axes.fill_between(hours, -200 * sigma, 200 * sigma, alpha=0.2, label='2 sigma of dbms')
        axes.set(xlabel='time [h]', ylabel='SOC error [%]', ylim=(-12, 12))
        axes.set_title(f'{cycle.name}, {cycle.degrees} degC, {cycle.condition}')
        axes.legend()
        axes.grid(alpha=0.3)
        label = f'{cycle.name}_{cycle.condition}'
        counts[label] += 1
        figure.savefig(folder / f'{label}_{counts[label]}.png', dpi=100)
        pyplot.close(figure)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='./dbms bench soc', description=__doc__)
    parser.add_argument('--only', default='', help='part of a path, e.g. 25degC or Mixed1')
    parser.add_argument(
        '--seeds', type=int, default=SEEDS, help='perturbed runs of each cycle (%(default)s)'
    )
    parser.add_argument('--compare', action='store_true', help='all filters, on fewer cycles')
    parser.add_argument('--no-ekf', action='store_true', help='leave the plain EKF out: faster')
    parser.add_argument('--blank', action='store_true', help='without the temperatures')
    parser.add_argument(
        '--held-out',
        metavar='CYCLES',
        help='identify the cells anew without these cycles, e.g. Mixed or UDDS,LA92, and score '
        'only them; half a minute more',
    )
    parser.add_argument('--plots', type=Path, help='folder for a plot of each run')
    parser.add_argument('--json', type=Path)
    return parser


def main() -> int:
    arguments = parser().parse_args()
    only = (arguments.only,)
    wanted = COMPARED if arguments.compare and not arguments.only else only
    held_out = [name for name in (arguments.held_out or '').split(',') if name]
    try:
        cells = cells_without(held_out)
    except HeldOutError as error:
        print(f'bench soc: --held-out {arguments.held_out}: {error}', file=sys.stderr)
        return 1
    cycles = cycles_of(wanted, arguments.seeds, arguments.blank, cells, held_out)
    if not cycles:
        print(f'no such measurements in {data_folder()}; set DBMS_DATA', file=sys.stderr)
        return 0 if not arguments.only else 1
    options = {'dbms': FilterOptions()} | (variants() if arguments.compare else {})
    rivals = [*RIVALS] if arguments.compare else ['counting', 'plain EKF']
    if arguments.no_ekf:
        rivals = [name for name in rivals if name == 'counting']
    results = run(cycles, rivals, options, arguments.compare, cells)
    scored = [
        (cycle, {name: score(cycle, guess) for name, guess in guesses.items()})
        for cycle, guesses in results
    ]
    console = Console(width=150)
    if arguments.compare:
        console.print(table_of_filters(scored))
    else:
        console.print(table_of_runs(scored))
        console.print(table_of_means(scored))
    if arguments.plots:
        draw(results, arguments.plots)
    if arguments.json:
        rows = [
            {'cell': c.cell, 'cycle': c.name, 'degrees': c.degrees, 'condition': c.condition}
            | {name: vars(s) for name, s in scores.items()}
            for c, scores in scored
        ]
        write_json(arguments.json, {'runs': rows})
    return 0


if __name__ == '__main__':
    sys.exit(main())
