# SPDX-License-Identifier: Apache-2.0
"""The current of a string whose sensor is lost, from the voltages of its cells.

Each cell is asked which current would make its model's voltage the one that was measured; the
median over the string is robust against single readings. A cell whose SOC is taken too high then
shows too much discharge, which takes the SOC down again: where the OCV has a slope, an error of
the SOC does not grow without end but to that of the voltage over the slope.
"""

from typing import NamedTuple

import numpy as np

from dbms_pack.model import FloatArray

from .ecm import REFERENCE, CellTables
from .filter_options import FilterOptions
from .hypotheses import HypothesisFilter

LOST = 1.0  # s of silence at least, after which a sensor counts as lost
LONGEST = 30.0  # s of a step, over which the current at its end still tells that of its middle
_ROUNDS = 6  # of Newton's method
_FLAT = 0.05  # V per unit of SOC below which a slope does not help


class CellCurrent(NamedTuple):
    """What the cells say about their current; arrays of the shape (cells,)."""

    current: FloatArray  # A, NaN where a cell tells nothing
    sigma: FloatArray  # A
    settles: FloatArray  # SOC, sigma at which the error of the SOC ends


class Estimated(NamedTuple):
    """The current of a string, from its cells."""

    current: float  # A
    sigma: float  # A


def cell_currents(
    tables: CellTables,
    cells: HypothesisFilter,
    options: FilterOptions,
    capacity: float,
    dt: FloatArray,
    voltage: FloatArray,
    temperature: FloatArray,
) -> CellCurrent:
    """Return the constant current over `dt` s that explains `voltage` V at its end.

    capacity Ah; temperature degC. NaN where the cell has not started or was not measured.
    """
    soc, celsius = cells.soc, np.where(np.isfinite(temperature), temperature, REFERENCE)
    z = tables.impedance(np.clip(soc, 0, 1), celsius)
    state = cells.state
    a1, a2 = np.exp(-dt / z.tau1), np.exp(-dt / z.tau2)
    ocv, slope = tables.ocv(soc, celsius)
    factor, slope = 1.0 + state[5], np.maximum(slope, 0.0)
    known = ocv + tables.hysteresis(soc) * cells.hysteresis + state[4]
    known += factor * (a1 * state[1] + a2 * state[2])
    linear = factor * ((1 - a1) * z.r1 + (1 - a2) * z.r2) + slope * dt / (3600.0 * capacity)
    usable = cells.started & np.isfinite(voltage) & (dt > 0)
    missing = np.where(usable, voltage - known, 0.0)
    current = np.zeros_like(soc)
    for _ in range(_ROUNDS):
        ohmic, r0 = tables.drop(z.r0, current)
        wrong = factor * ohmic + linear * current - missing
        current = current - wrong / (factor * r0 + linear)
    p = cells.covariance
    warmth = np.isfinite(temperature)
    size = np.where(warmth, options.resistance_error, options.blind_resistance_error)
    drop = factor * tables.drop(z.r0, current)[0] + linear * current
    error = np.square(tables.model_error(celsius, options.model_error)) + np.square(size * drop)
    total = factor * r0 + linear
    sigma = np.sqrt(error + np.square(slope) * p[0, 0]) / total
    settles = np.sqrt(error) / np.maximum(slope, _FLAT)
    return CellCurrent(np.where(usable, current, np.nan), sigma, settles)


def string_current(cells: CellCurrent, where: np.ndarray | slice, most: float) -> Estimated | None:
    """Return what the cells `where` say together, at most `most` A; None: they say nothing.

    The errors of cells of one kind are alike: many cells are not surer than one of them.
    """
    told = np.isfinite(cells.current[where])
    if not told.any():
        return None
    current = float(np.median(cells.current[where][told]))
    sigma = float(np.median(cells.sigma[where][told]))
    return Estimated(float(np.clip(current, -most, most)), sigma)
