# SPDX-License-Identifier: Apache-2.0
"""Plots and residuals of an identified cell. Needs matplotlib."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use('Agg')

from matplotlib import pyplot  # noqa: E402

from .circuit import SOCS  # noqa: E402
from .identify import Identified, rounded  # noqa: E402


def write_report(found: Identified, name: str, folder: Path) -> None:
    """Write residuals.md and plots of OCV, resistances and residuals into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'# {name}', '', '| file | degC | rows | residual RMS mV |', '|---|---|---|---|']
    for r in found.residuals:
        place = rounded(r.measurement)
        name_of = r.measurement.path.name
        lines.append(f'| {name_of} | {place:g} | {len(r.soc)} | {1e3 * r.rms:.1f} |')
    (folder / 'residuals.md').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    figure, axes = pyplot.subplots(3, 1, figsize=(9, 12), layout='constrained')
    soc, gap = 100 * found.ocv.soc, found.ocv.gap
    axes[0].plot(soc, found.voltage, label='OCV')
    axes[0].fill_between(soc, found.voltage - gap, found.voltage + gap, alpha=0.3)
    axes[0].set(ylabel='OCV and hysteresis [V]', title=name)
    for temperature, table in zip(found.temperatures, found.tables.sum(axis=0), strict=True):
        axes[1].semilogy(100 * SOCS, 1e3 * table, label=f'{temperature:g} degC')
    axes[1].set(ylabel='R0 + R1 + R2 [mOhm]')
    for r in found.residuals:
        order = np.linspace(0, len(r.soc) - 1, 400).astype(int)
        axes[2].plot(100 * r.soc[order], 1e3 * r.error[order], linewidth=0.6)
    axes[2].set(ylabel='residual [mV]', xlabel='SOC [%]')
    axes[1].legend(fontsize='small', ncols=2)
    for one in axes:
        one.grid(alpha=0.3)
    figure.savefig(folder / 'report.png', dpi=110)
    pyplot.close(figure)
