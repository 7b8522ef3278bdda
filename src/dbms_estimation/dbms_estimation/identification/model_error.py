# SPDX-License-Identifier: Apache-2.0
"""How far a model is off the measurements it was made from: what tells a filter to trust it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .circuit import ARRHENIUS, COLDEST
from .laboratory import Measurement

LEAST_ERROR = 0.004  # V: what a load that the model has not seen adds
MOST_ERROR = 1.0  # V, in a cell file
ZONES = np.array([0.0, 0.03, 0.06, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0])
_STEP = 10.0  # K between the rows below the coldest measurement


@dataclass(frozen=True)
class Residual:
    """How well one file is explained."""

    measurement: Measurement
    soc: FloatArray
    error: FloatArray  # V
    weight: FloatArray
    unseen: float = 1.0  # by how much more the model would be off had the file not been in the fit

    @property
    def rms(self) -> float:
        """Error in V, root mean square, weighted with time."""
        return _rms(self.error, self.weight)


@dataclass(frozen=True)
class ErrorTable:
    """Root mean square error in V."""

    temperatures: FloatArray  # degC
    voltage: FloatArray  # at each temperature
    by_soc: FloatArray  # at each temperature and ZONES


def error_table(
    residuals: Sequence[Residual], places: Sequence[float], activation: float
) -> ErrorTable:
    """Sum up residuals, one for each of `places` in degC.

    Below the coldest of them the error grows as the resistances do, or faster: how they grow
    there is not known either.
    """
    known = sorted(set(places))
    values, rows = [], []
    for place in known:
        here = [r for r, p in zip(residuals, places, strict=True) if p == place]
        whole = float(np.sqrt(np.mean([(r.unseen * r.rms) ** 2 for r in here])))
        values.append(max(whole, LEAST_ERROR))
        rows.append([max(_zone(here, zone, whole), LEAST_ERROR) for zone in range(len(ZONES))])
    colder = np.arange(known[0] - _STEP, COLDEST - 0.1, -_STEP)[::-1]
    rise = max(activation, ARRHENIUS)
    growth = np.exp(rise * (1 / (colder + 273.15) - 1 / (known[0] + 273.15)))
    return ErrorTable(
        np.r_[colder, known],
        np.minimum(np.r_[values[0] * growth, values], MOST_ERROR),
        np.minimum(np.concatenate([growth[:, None] * rows[0], rows]), MOST_ERROR),
    )


def _zone(residuals: Sequence[Residual], place: int, otherwise: float) -> float:
    """Return the error between the middles of the zones beside `ZONES[place]`."""
    edges = np.r_[-np.inf, 0.5 * (ZONES[1:] + ZONES[:-1]), np.inf]
    squares = []
    for r in residuals:
        here = (r.soc >= edges[place]) & (r.soc < edges[place + 1]) & (r.weight > 0)
        if here.any():
            squares.append((r.unseen * _rms(r.error[here], r.weight[here])) ** 2)
    return float(np.sqrt(np.mean(squares))) if squares else otherwise


def _rms(error: FloatArray, weight: FloatArray) -> float:
    return float(np.sqrt((weight * np.square(error)).sum() / weight.sum()))
