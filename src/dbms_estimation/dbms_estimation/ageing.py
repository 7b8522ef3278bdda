# SPDX-License-Identifier: Apache-2.0
"""What a time without measurements does to the state of a cell."""

from typing import NamedTuple

import numpy as np

from dbms_pack.model import FloatArray

from .columns import SIGMA_MAX, STATES
from .ecm import REFERENCE, SOC_HIGH, SOC_LOW, CellTables
from .filter_options import FilterOptions

SELF_DISCHARGE = 0.03 / (30 * 86400.0)  # SOC per s, sigma of what a cell loses by itself
STANDBY = 5e-4 / 3600.0  # SOC per s, sigma of what boards and leaks draw from it
GOES_ON = 600.0  # s for which a load of the last moment may have gone on
UNKNOWN = 30 * 86400.0  # s, taken for an absence of unknown length
RELAXED = 0.5  # of what should be left of the polarisation, sigma


class Aged(NamedTuple):
    """The state of cells now; the last axis is the cells."""

    state: FloatArray  # (6, n)
    covariance: FloatArray  # (6, 6, n)
    hysteresis: FloatArray
    left: FloatArray  # V, what is not known about the relaxation


def full(upper: FloatArray) -> FloatArray:
    """Return matrices (6, 6, n) from their upper triangles (21, n)."""
    matrix = np.zeros((STATES, STATES, *upper.shape[1:]))
    rows, columns = np.triu_indices(STATES)
    matrix[rows, columns] = upper
    matrix[columns, rows] = upper
    return matrix


def plausible(state: FloatArray, upper: FloatArray, hysteresis: FloatArray) -> bool:
    """Tell whether one cell can be in that state: (6,), (21,), (1,)."""
    if not np.isfinite(np.concatenate([state, upper, hysteresis])).all():
        return False
    matrix = full(upper)
    diagonal = np.diag(matrix)
    if (diagonal < 0).any() or not 0 < diagonal[0] <= 1.01 * SIGMA_MAX**2:
        return False
    scale = np.sqrt(np.maximum(diagonal, 1e-30))
    if np.linalg.eigvalsh(matrix / np.outer(scale, scale))[0] < -1e-6:
        return False
    return (
        SOC_LOW <= state[0] <= SOC_HIGH and abs(hysteresis[0]) <= 1 and np.abs(state).max() < 1e3
    )


def aged(
    tables: CellTables,
    options: FilterOptions,
    capacity: float,
    state: FloatArray,
    upper: FloatArray,
    hysteresis: FloatArray,
    current: FloatArray,
    age: FloatArray,
    temperature: FloatArray,
    rest_current: float,
) -> Aged:
    """Let `age` s go by, NaN: it is not known how many.

    current: A, the last that was measured, NaN: none; a load may have gone on for a while, and a
    pack at rest is taken to have stayed open. capacity: Ah. state: (6, n); upper: (21, n).
    """
    known = np.isfinite(age)
    time = np.where(known, age, UNKNOWN)
    z = tables.impedance(
        np.clip(state[0], 0, 1), np.where(np.isfinite(temperature), temperature, REFERENCE)
    )
    one = np.ones_like(time)
    decay = np.stack(
        [
            one,
            np.where(known, np.exp(-time / z.tau1), 0.0),
            np.where(known, np.exp(-time / z.tau2), 0.0),
            np.exp(-time / options.current_bias_time),
            np.exp(-time / options.offset_time),
            np.exp(-time / options.resistance_time),
        ]
    )
    matrix = full(upper) * decay[:, None] * decay[None]
    polarised = np.abs(state[1]) + np.abs(state[2])
    load = np.abs(np.where(np.isfinite(current), current, options.unknown_current * capacity))
    running = ~(load <= rest_current)
    # Under load it is not known when it ended; without, the pairs just relax, nearly as foretold.
    rest = np.where(known & ~running, decay[1] * np.abs(state[1]) + decay[2] * np.abs(state[2]), 0)
    ended = np.where(running, np.exp(-np.maximum(time - GOES_ON, 0.0) / z.tau2), 0.0)
    left = RELAXED * rest + ended * (polarised + (z.r1 + z.r2) * load)
    charge = np.where(running, load * np.minimum(time, GOES_ON), 0.0) / (3600.0 * capacity)
    grown = charge + (SELF_DISCHARGE + STANDBY) * time
    matrix[0, 0] += np.square(grown)
    matrix[1, 1] += np.square(0.5 * left)
    matrix[2, 2] += np.square(0.5 * left)
    for k, size in ((3, options.current_bias * capacity), (5, options.resistance_error)):
        matrix[k, k] += (1 - decay[k] ** 2) * size**2
    offset = options.offset_share * tables.model_error(
        np.where(np.isfinite(temperature), temperature, REFERENCE), options.model_error
    )
    matrix[4, 4] += (1 - decay[4] ** 2) * np.square(offset)
    shrink = np.minimum(1.0, SIGMA_MAX / np.sqrt(np.maximum(matrix[0, 0], 1e-12)))
    matrix[0] *= shrink
    matrix[:, 0] *= shrink
    return Aged(state * decay, matrix, hysteresis, left)
