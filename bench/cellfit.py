# SPDX-License-Identifier: Apache-2.0
"""How far the cell model's voltage is from measured drive cycles.

    ./dbms bench cellfit                            # LG 18650HG2, all cycles and pulses
    ./dbms bench cellfit --cell my_cell.yaml --only UDDS --json result.json

The model gets current, charge and temperature as they were measured, so that the electrical part
is judged alone; it starts full and relaxed. Data: $DBMS_DATA, or ../shared/data beside the
repository. Exits 1 when an aim is missed, 2 when there is no data.
"""

import argparse
import gzip
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from bench.report import write_json
from dbms_estimation.ecm import CellTables
from dbms_pack import CellModel, load_cell
from dbms_sim.cell_physics import Cells

FloatArray = npt.NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
CYCLES = ('UDDS', 'LA92', 'Mixed', 'HPPC')  # pulses too: all there is at 40 and -20 degC
COLUMNS = ('Time [s]', 'Voltage [V]', 'Current [A]', 'Temperature [degC]', 'Capacity [Ah]')
AIMED = ('UDDS', 'LA92')
RESET = 0.5  # Ah that no row charges
SLOW = 300.0  # s, of the low pass that leaves what misleads a filter
LEFT_OUT = 600.0  # s, in which a filter settles
LOWEST = 0.05  # SOC
LONGEST = 10.0  # s that a row counts at most
EMPTY = 0.1  # SOC below which an error is told apart
AIMS = {25.0: 15.0, 0.0: 30.0, -10.0: 30.0}  # mV by degC, above EMPTY, for UDDS and LA92


@dataclass(frozen=True)
class Cycle:
    """A measured drive cycle; arrays are (samples,). Positive current charges."""

    name: str
    ambient: float  # degC, as its directory says
    time: FloatArray  # s
    voltage: FloatArray  # V
    current: FloatArray  # A
    temperature: FloatArray  # degC
    charge: FloatArray  # Ah, of the tester's counter, 0 when full


@dataclass(frozen=True)
class Fit:
    """What the model made of a cycle; errors are model less measured."""

    cycle: Cycle
    soc: FloatArray
    error: FloatArray  # V
    slope: FloatArray  # V per unit of SOC, of the OCV

    @property
    def rms(self) -> float:
        """Error in mV, root mean square over the whole cycle."""
        return 1e3 * float(np.sqrt(np.mean(self.error**2)))

    @property
    def rms_above(self) -> float:
        """The same above EMPTY."""
        return 1e3 * float(np.sqrt(np.mean(self.error[self.soc >= EMPTY] ** 2)))

    @property
    def as_soc(self) -> float | None:
        """Slow error as SOC in %, root mean square: what a filter that trusts the voltage is off.

        Low-passed, over the slope of the OCV; the first LEFT_OUT s and below LOWEST are left out,
        None if that is all.
        """
        steps = np.diff(self.cycle.time, prepend=self.cycle.time[0])
        slow, last = np.empty(len(steps)), 0.0
        for number, kept in enumerate(np.exp(-steps / SLOW)):
            last = slow[number] = kept * last + (1.0 - kept) * self.error[number]
        here = (self.cycle.time - self.cycle.time[0] > LEFT_OUT) & (self.soc > LOWEST)
        if not here.any():
            return None
        weight = np.minimum(steps[here], LONGEST)
        square = np.square(slow[here] / self.slope[here])
        return 100.0 * float(np.sqrt(np.average(square, weights=weight)))

    @property
    def aim(self) -> float | None:
        """Largest RMS in mV that is good, None where nothing is promised."""
        promised = any(name in self.cycle.name for name in AIMED)
        return AIMS.get(self.cycle.ambient) if promised else None


def find(directory: Path, only: str) -> list[Path]:
    """Return the drive cycles, coldest last."""
    found = [
        path
        for path in directory.glob('*degC/*.csv*')
        if any(name in path.name for name in CYCLES) and only in path.name
    ]
    return sorted(found, key=lambda path: (-ambient(path), path.name))


def ambient(path: Path) -> float:
    """Return the temperature in degC that a directory is named after: n10degC is -10."""
    return float(path.parent.name.removesuffix('degC').replace('n', '-'))


def read(path: Path) -> Cycle:
    """Read a cycle; raise ValueError for a file without its columns or with holes."""
    opened = gzip.open if path.suffix == '.gz' else open
    with opened(path, 'rt', encoding='utf-8') as file:
        header = file.readline().strip().split(',')
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise ValueError(f'{path}: no column {", ".join(missing)}')
        places = [header.index(name) for name in COLUMNS]
        values = np.loadtxt(file, delimiter=',', usecols=places, ndmin=2)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(f'{path}: line {bad[0] + 2} has a value that is no number')
    values = values[np.concatenate([[True], np.diff(values[:, 0]) > 0])]
    # A pulse test goes on behind the reset of its counter, with the charge after it.
    resets = np.flatnonzero(np.diff(values[:, -1]) > RESET)
    values = values[: resets[0] + 1] if len(resets) else values
    name = path.name.split('.')[0].removesuffix('_processed')
    return Cycle(name, ambient(path), *values.T)


def fit(model: CellModel, cycle: Cycle) -> Fit:
    """Run the model over a cycle."""
    soc = 1.0 + (cycle.charge - cycle.charge[0]) / model.capacity
    cells = Cells(model, soc[:1], [1], ambient=cycle.temperature[0])
    steps = np.diff(cycle.time, prepend=cycle.time[0])
    modelled = np.empty(len(soc))
    current = np.empty(1)
    for number, dt in enumerate(steps):
        # The rows are picked from faster ones: their currents do not add up to the counter.
        cells.soc = soc[number]
        cells.temperature = cycle.temperature[number]
        current[0] = cycle.current[number]
        cells.carry(cells.prepare(float(dt)), current)
        modelled[number] = cells.voltages[0]
    slope = CellTables(model).ocv(soc, cycle.temperature)[1]
    return Fit(cycle, soc, modelled - cycle.voltage, slope)


def show(fits: list[Fit], cell: str) -> None:
    """Print a table."""
    table = Table(title=f'Voltage of {cell} against measured drive cycles, mV')
    columns = ('cycle', 'degC', 'RMS', f'RMS, SOC >= {EMPTY}', 'mean', 'worst', 'slow, % SOC')
    for name in (*columns, 'aim', ''):
        table.add_column(name, justify='left' if name in ('cycle', '') else 'right')
    for one in fits:
        aim = one.aim
        table.add_row(
            one.cycle.name,
            f'{one.cycle.ambient:g}',
            f'{one.rms:.1f}',
            f'{one.rms_above:.1f}',
            f'{1e3 * one.error.mean():+.1f}',
            f'{1e3 * np.abs(one.error).max():.0f}',
            '' if one.as_soc is None else f'{one.as_soc:.2f}',
            '' if aim is None else f'{aim:g}',
            '' if aim is None else 'ok' if one.rms_above <= aim else 'missed',
        )
    Console().print(table)


def plot(fits: list[Fit], path: Path) -> None:
    """Draw the errors over SOC, one panel per temperature."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    places = sorted({one.cycle.ambient for one in fits}, reverse=True)
    figure, panels = pyplot.subplots(
        len(places), 1, sharex=True, squeeze=False, figsize=(8, 1 + 1.8 * len(places))
    )
    for panel, place in zip(panels[:, 0], places, strict=True):
        for one in (one for one in fits if one.cycle.ambient == place):
            smooth = np.ones(60) / 60  # a minute: single samples would cover all else
            error = np.convolve(one.error, smooth, mode='same')
            panel.plot(one.soc, 1e3 * error, lw=0.8, label=f'{one.cycle.name} {one.rms:.0f} mV')
        panel.axhline(0.0, color='0.6', lw=0.5)
        panel.set_ylim(-120, 120)
        panel.set_ylabel(f'{place:g} degC\nmV')
        panel.legend(fontsize='x-small', ncols=4, loc='upper center')
    panels[-1, 0].set_xlabel('SOC')
    panels[0, 0].set_title('Model less measured voltage, mean of a minute')
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog='dbms bench cellfit', description=__doc__.split('\n\n')[0]
    )
    parser.add_argument('--cell', default='lg_hg2', help='cell file, or name of a shipped one')
    parser.add_argument('--data', default='lg_hg2', help='directory below the data')
    parser.add_argument('--only', default='', help='cycles with this in their names')
    parser.add_argument('--plot', metavar='FILE', default=str(ROOT / '.dbms/bench/cellfit.png'))
    parser.add_argument('--json', metavar='FILE', help='write the numbers too')
    arguments = parser.parse_args(argv)
    data = Path(os.environ.get('DBMS_DATA') or ROOT.parent / 'shared/data') / arguments.data
    paths = find(data, arguments.only)
    if not paths:
        print(f'no drive cycle in {data}: set DBMS_DATA', file=sys.stderr)
        return 2
    model = load_cell(arguments.cell)
    fits = [fit(model, read(path)) for path in paths]
    show(fits, model.name)
    plot(fits, Path(arguments.plot))
    print(f'picture: {arguments.plot}')
    if arguments.json:
        write_json(arguments.json, {'cell': model.name, 'cycles': [numbers(one) for one in fits]})
    return int(any(one.aim is not None and one.rms_above > one.aim for one in fits))


def numbers(one: Fit) -> dict:
    """Return what the table says of a cycle."""
    return {
        'cycle': one.cycle.name,
        'ambient_degC': one.cycle.ambient,
        'rms_mV': one.rms,
        'rms_above_mV': one.rms_above,
        'mean_mV': 1e3 * float(one.error.mean()),
        'worst_mV': 1e3 * float(np.abs(one.error).max()),
        'slow_error_soc_percent': one.as_soc,
        'aim_mV': one.aim,
    }


if __name__ == '__main__':
    sys.exit(main())
