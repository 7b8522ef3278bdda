# SPDX-License-Identifier: Apache-2.0
"""How good capacity, resistance and power are, beside naive ways to tell them.

Measured: cells cycled to the end of their life, in $DBMS_DATA or ../shared/data beside the
repository; left out, saying so, where they are not there. Simulated: cells of the shipped files
that differ and fade, with a current sensor that is 1 % of 1C and 0.3 % off and an OCV that is not
quite that of the file. Packs of such cells are discharged to see what comes of the energy that was
foretold. Everything is drawn by seeds.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.report import write_json
from bench.soh_energy import Foretold, foretell
from bench.soh_measured import CapacityScore, capacity_score, measured
from bench.soh_simulated import Fading, Limit, Ohms, fading, limits, ohms

ROOT = Path(__file__).resolve().parents[1]
CELLS = ('lg_hg2', 'ncr18650pf', 'a123_m1a', 'lfp_280ah')
DEGREES = (25.0, 0.0)
COLD = -10.0  # degC, for power alone
SEEDS = 3  # of packs that are discharged
PARTS = ('measured', 'resistance', 'power', 'energy', 'fading')


def percent(value: float, digits: int = 2) -> str:
    """Return a share in percent, '-' for NaN."""
    return f'{100 * value:.{digits}f}' if np.isfinite(value) else '-'


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table with a row of text each."""
    made = Table(title=title)
    for number, column in enumerate(columns):
        made.add_column(column, justify='right' if number else 'left')
    for row in rows:
        made.add_row(*row)
    return made


def of_measured(scores: Sequence[CapacityScore], each: bool) -> Table:
    """Return the table of measured cells: each, or the means of their groups."""
    groups = dict.fromkeys((s.group, s.cell) if each else (s.group, '') for s in scores)
    rows = []
    for group, cell in groups:
        those = [s for s in scores if s.group == group and cell in ('', s.cell)]
        means = [
            float(np.mean([getattr(s, name) for s in those]))
            for name in ('rmse', 'coverage', 'alone', 'full', 'squares')
        ]
        worst = max(s.worst for s in those)
        rows.append(
            [cell or f'{group}, {len(those)} cells', percent(means[0]), percent(worst, 1),
             percent(means[1], 0), *map(percent, means[2:])]
        )  # fmt: skip
    columns = ('measured', 'RMSE %', 'worst %', 'in 2 sigma %', 'window alone', 'last full', 'OLS')
    return table('Capacity, percent of the rated one, down to 60 %', columns, rows)


def of_fading(results: Sequence[Fading]) -> Table:
    """Return the table of simulated cells that fade."""
    columns = ('simulated', 'RMSE %', 'worst %', 'in 2 sigma %', 'faded %', 'windows',
               'last window', 'OLS')  # fmt: skip
    rows = [
        [r.cell, percent(r.rmse), percent(r.worst, 1), percent(r.coverage, 0), percent(r.faded, 1),
         f'{r.pairs:.0f}', percent(r.last), percent(r.squares)]
        for r in results
    ]  # fmt: skip
    return table('Capacity after a month, two months of partial cycles', columns, rows)


def of_ohms(results: Sequence[Ohms]) -> Table:
    """Return the table of resistances."""
    columns = ('cell, degC', 'samples late', 'RMSE %', 'worst %', 'in 2 sigma %', 'mean dV/dI')
    rows = [
        [f'{r.cell}, {r.degrees:g}', str(r.late), percent(r.rmse), percent(r.worst, 1),
         percent(r.coverage, 0), percent(r.naive, 1)]
        for r in results
    ]  # fmt: skip
    return table('Resistance after ten minutes at 10 Hz', columns, rows)


def of_limits(results: Sequence[Limit]) -> Table:
    """Return the table of voltage limits: passed / missed in mV for each horizon."""
    horizons = list(dict.fromkeys(r.horizon for r in results))
    rows = []
    for cell, degrees in dict.fromkeys((r.cell, r.degrees) for r in results):
        own = {r.horizon: r for r in results if (r.cell, r.degrees) == (cell, degrees)}
        told = [f'{1e3 * max(own[h].passed, 0):.1f} / {1e3 * own[h].missed:.1f}' for h in horizons]
        rows.append([f'{cell}, {degrees:g}', *told])
    title = 'Foretold currents up to 5C let flow: voltage limit passed / missed at most, mV'
    return table(title, ('cell, degC', *(f'{h:g} s' for h in horizons)), rows)


def of_energy(results: Sequence[Foretold]) -> Table:
    """Return the table of energies: told less real, in percent of the rated one."""
    rows = []
    for key in dict.fromkeys((r.cell, r.degrees, r.learnt) for r in results):
        own = [r for r in results if (r.cell, r.degrees, r.learnt) == key]
        off = np.array([r.expected - r.left for r in own])
        low = np.array([r.left - r.low for r in own])
        late = np.array([r.time_told - r.time for r in own]) / 60
        rows.append(
            [f'{key[0]}, {key[1]:g}', 'learnt' if key[2] else 'new', percent(off.mean(), 1),
             percent(float(np.sqrt(np.square(off).mean())), 1), percent(low.mean(), 1),
             percent(float((low >= 0).mean()), 0), f'{np.sqrt(np.square(late).mean()):.1f}']
        )  # fmt: skip
    columns = ('cell, degC', 'capacity', 'mean %', 'RMSE %', 'low below by %', 'low kept %',
               'time RMSE, min')  # fmt: skip
    return table('Energy left, told less real, percent of the rated one', columns, rows)


def main() -> int:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(prog='./dbms bench soh', description=__doc__)
    parser.add_argument('--only', choices=PARTS)
    parser.add_argument('--each', action='store_true', help='a row for each measured cell')
    parser.add_argument('--json', metavar='FILE')
    arguments = parser.parse_args()
    console, result = Console(width=120), {}

    def wanted(part: str) -> bool:
        return arguments.only in (None, part)

    def show(part: str, made: Table, rows: Sequence[object]) -> None:
        console.print(made)
        result[part] = [vars(row) for row in rows]

    if wanted('measured'):
        folder = Path(os.environ.get('DBMS_DATA', ROOT.parent / 'shared' / 'data')) / 'ageing'
        scores = [capacity_score(windows) for windows in measured(folder)]
        if scores:
            show('measured', of_measured(scores, arguments.each), scores)
        else:
            print(f'no measurements of ageing in {folder}; set DBMS_DATA', file=sys.stderr)
    if wanted('resistance'):
        found = [ohms(c, d, late) for c in CELLS for d in DEGREES for late in (0, 1)]
        show('resistance', of_ohms(found), found)
    if wanted('power'):
        met = [limit for c in CELLS for d in (*DEGREES, COLD) for limit in limits(c, d)]
        show('power', of_limits(met), met)
    if wanted('energy'):
        left = [
            answer
            for c in ('lg_hg2', 'a123_m1a') for d in DEGREES for learnt in (False, True)
            for seed in range(SEEDS) for answer in foretell(c, d, learnt, seed)
        ]  # fmt: skip
        show('energy', of_energy(left), left)
    if wanted('fading'):
        faded = [fading(c) for c in CELLS]
        show('fading', of_fading(faded), faded)
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
