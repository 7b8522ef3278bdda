# SPDX-License-Identifier: Apache-2.0
"""Plots of an estimate. Needs matplotlib, which only developers have to install."""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use('Agg')

from matplotlib import pyplot  # noqa: E402

from .offline import Estimate  # noqa: E402
from .records import Record  # noqa: E402


def draw_estimate(record: Record, result: Estimate, name: str, path: Path) -> None:
    """Draw SOC with its 2-sigma band, voltage with the model's, and the current with its bias."""
    hours = (record.time - record.time[0]) / 3600.0
    figure, (top, middle, bottom) = pyplot.subplots(
        3, 1, sharex=True, figsize=(10, 9), layout='constrained'
    )
    low, high = (result.soc + sign * 2 * result.soc_std for sign in (-1, 1))
    top.fill_between(
        hours,
        100 * np.clip(low, 0, 1),
        100 * np.clip(high, 0, 1),
        alpha=0.25,
        label='2 sigma',
    )
    top.plot(hours, 100 * result.soc, label='estimate')
    top.set(ylabel='SOC [%]', title=name)
    middle.plot(hours, record.voltage, label='measured')
    middle.plot(hours, result.voltage, label='model', linewidth=0.8)
    middle.set(ylabel='voltage [V]')
    bottom.plot(hours, record.current, label='measured')
    bottom.plot(hours, result.current_bias, label='estimated bias')
    bottom.set(ylabel='current [A]', xlabel='time [h]')
    for axes in (top, middle, bottom):
        axes.legend(loc='best')
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
