# SPDX-License-Identifier: Apache-2.0
"""A picture of a replay."""

from pathlib import Path

import matplotlib

from .outcome import Outcome

matplotlib.use('agg')


def draw(outcome: Outcome, directory: Path, name: str) -> Path:
    """Draw cells, current with its limits and SOC over time, with the trips; return the file."""
    from matplotlib import pyplot

    series, time = outcome.series, outcome.series.time
    figure, (cells, current, soc) = pyplot.subplots(3, 1, figsize=(9, 8), sharex=True)
    cells.fill_between(time, series['cell_min'], series['cell_max'], step='post', alpha=0.5)
    cells.set_ylabel('cells [V]')
    current.plot(time, series['current'], label='current')
    current.plot(time, series['charge_limit'], '--', label='charge limit')
    current.plot(time, -series['discharge_limit'], '--', label='discharge limit')
    current.set_ylabel('[A]')
    current.legend(loc='best', fontsize='small')
    mean, sigma = series['soc'], series['soc_sigma']
    soc.fill_between(time, mean - 2 * sigma, mean + 2 * sigma, alpha=0.2, label='2 sigma')
    soc.plot(time, mean, label='mean')
    soc.plot(time, series['soc_min'], label='weakest')
    soc.set_ylabel('SOC')
    soc.set_ylim(-0.02, 1.02)
    soc.set_xlabel('s')
    soc.legend(loc='best', fontsize='small')
    for moment, text in _trips(outcome):
        for axis in (cells, current, soc):
            axis.axvline(moment, color='red', linewidth=0.8)
        label = cells.annotate(text, (moment, 0.98), xycoords=('data', 'axes fraction'),
                               rotation=90, va='top', ha='right', fontsize='x-small')  # fmt: skip
        label.set_in_layout(False)  # a long one takes no room from the curves
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f'{name}.png'
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    pyplot.close(figure)
    return target


def _trips(outcome: Outcome) -> list[tuple[float, str]]:
    """Return time and name of each trip; those of the same moment have one text."""
    moments: dict[float, list[str]] = {}
    for event in outcome.events:
        if event.level == 'MSL' and event.kind == 'fault':
            moments.setdefault(event.time, []).append(
                f'{event.what} {event.level}\nat {event.place}'
            )
    return [
        (moment, texts[0] + (f' and {len(texts) - 1} more' if len(texts) > 1 else ''))
        for moment, texts in moments.items()
    ]
