# SPDX-License-Identifier: Apache-2.0
"""A picture of a scenario run, drawn from its recording; matplotlib is a development dependency.

python -m dbms_bringup.scenario_plot DIRECTORY [FILE]
"""

import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

MARKS = 12  # events that get a text: more cannot be read
UNITS = ((3 * 86400.0, 86400.0, 'd'), (3 * 3600.0, 3600.0, 'h'), (600.0, 60.0, 'min'))


@dataclass(frozen=True)
class Recording:
    """What a run wrote."""

    columns: dict[str, FloatArray]
    events: list[tuple[float, str, str]]  # s, kind, text

    def group(self, kind: str) -> FloatArray:
        """Return all columns of a kind, (columns, rows)."""
        found = [one for name, one in self.columns.items() if name.split(' ')[0] == kind]
        return np.array(found)


def read(directory: Path) -> Recording:
    """Read the recording of a run."""
    with (directory / 'samples.csv').open(encoding='utf-8') as file:
        names = next(csv.reader(file))
        values = np.loadtxt(file, delimiter=',', ndmin=2)
    with (directory / 'events.csv').open(encoding='utf-8') as file:
        rows = list(csv.reader(file))[1:]
    events = [(float(time), kind, text) for time, kind, text in rows]
    return Recording(dict(zip(names, values.T, strict=True)), events)


def draw(recording: Recording, title: str, file: Path) -> None:
    """Draw voltages, current with its limits, temperatures and SOC, events as marks."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    seconds = recording.columns['time']
    factor, unit = _unit(float(seconds[-1]))
    time = seconds / factor
    figure, axes = pyplot.subplots(
        5, 1, sharex=True, figsize=(9, 10), layout='constrained',
        gridspec_kw={'height_ratios': [3, 3, 2, 2, 1.5]},
    )  # fmt: skip
    _voltages(axes[0], time, recording)
    _currents(axes[1], time, recording)
    temperatures = recording.group('temperature')
    axes[2].plot(time, temperatures.T, color='tab:red', linewidth=0.7)
    axes[2].set_ylabel('cells [°C]')
    axes[3].plot(time, recording.columns['soc'], color='black', label='true')
    axes[3].plot(
        time, recording.columns['soc_estimate'], color='tab:orange', linestyle='--',
        label='estimated',
    )  # fmt: skip
    axes[3].set_ylabel('SOC')
    axes[3].legend(loc='best', fontsize='small')
    _states(axes[4], recording.events, factor, float(seconds[-1]))
    axes[4].set_xlabel(f'time [{unit}]')
    _widen(axes[2], 2.0)
    _widen(axes[3], 0.02)
    for axis in axes:
        axis.grid(alpha=0.3)
    _events(axes, recording.events, factor, float(seconds[-1]))
    figure.suptitle(title, fontsize='medium')
    figure.savefig(file, dpi=80)
    pyplot.close(figure)


def _unit(seconds: float) -> tuple[float, str]:
    for least, factor, unit in UNITS:
        if seconds >= least:
            return factor, unit
    return 1.0, 's'


def _voltages(axis: Any, time: FloatArray, recording: Recording) -> None:
    true, measured = recording.group('voltage'), recording.group('measured')
    axis.plot(time, measured.T, color='tab:orange', linewidth=0.7, label='measured')
    axis.plot(time, true.T, color='tab:blue', linewidth=0.7, label='true')
    handles, labels = axis.get_legend_handles_labels()
    ends = [labels.index(name) for name in ('measured', 'true')]
    axis.legend([handles[one] for one in ends], [labels[one] for one in ends], fontsize='small')
    axis.set_ylabel('cells [V]')


def _currents(axis: Any, time: FloatArray, recording: Recording) -> None:
    for name, values in recording.columns.items():
        if name.startswith('current '):
            axis.plot(time, values, linewidth=0.9, label=f'string {name.split(" ")[1]}')
    charge = recording.columns['charge_limit']
    discharge = -recording.columns['discharge_limit']
    axis.step(time, charge, where='post', color='gray', linestyle=':', label='limits')
    axis.step(time, discharge, where='post', color='gray', linestyle=':')
    axis.legend(fontsize='small')
    axis.set_ylabel('current [A]')


def _states(
    axis: Any, events: Sequence[tuple[float, str, str]], factor: float, end: float
) -> None:
    """Draw the states of the strings as steps."""
    lines: dict[str, list[tuple[float, str]]] = {}
    for time, kind, text in events:
        if kind == 'state':
            name, _, rest = text.removeprefix('string ').partition(': ')
            lines.setdefault(name, []).append((time / factor, rest.partition(',')[0]))
    for name, steps in lines.items():
        steps.append((end / factor, steps[-1][1]))
        times, states = zip(*steps, strict=True)
        axis.step(times, states, where='post', linewidth=1.2, label=f'string {name}')
    axis.tick_params(axis='y', labelsize=6)
    if len(lines) > 1:
        axis.legend(fontsize='small')


def _widen(axis: Any, span: float) -> None:
    """Keep noise from looking like a change."""
    low, high = axis.get_ylim()
    if high - low < span:
        middle = (low + high) / 2.0
        axis.set_ylim(middle - span / 2.0, middle + span / 2.0)


def _events(
    axes: Any, events: Sequence[tuple[float, str, str]], factor: float, end: float
) -> None:
    """Mark actions and faults; those that would lie on each other share one text."""
    colours = {'action': 'tab:green', 'fault': 'tab:red'}
    marks: dict[str, tuple[float, str]] = {}  # the first of each: of 13 cells one is enough
    for time, kind, text in events:
        if kind in colours and 0.0 <= time <= end:
            marks.setdefault(' '.join(text.split(':')[0].split()[:2]), (time, kind))
    last = -1e9
    texts = 0
    for text, (time, kind) in marks.items():
        for axis in axes:
            axis.axvline(time / factor, color=colours[kind], linewidth=0.8, alpha=0.6)
        if time - last < 0.03 * end or texts >= MARKS:
            continue
        last, texts = time, texts + 1
        axes[0].annotate(
            text, (time / factor, 1.0),
            xycoords=('data', 'axes fraction'), rotation=30, fontsize=6,
            color=colours[kind], va='bottom',
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture of a run that has been recorded."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not 1 <= len(words) <= 2:
        print('usage: python -m dbms_bringup.scenario_plot DIRECTORY [FILE]', file=sys.stderr)
        return 2
    os.nice(5)  # runs go on beside it
    directory = Path(words[0])
    file = Path(words[1]) if len(words) > 1 else directory / 'run.png'
    draw(read(directory), directory.absolute().name, file)
    return 0


if __name__ == '__main__':
    sys.exit(main())
