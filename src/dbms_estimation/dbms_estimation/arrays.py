# SPDX-License-Identifier: Apache-2.0
"""State of the estimators as plain arrays, for whoever keeps it over a restart; and a clip."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dbms_pack.model import FloatArray

Floats = Sequence[float] | npt.NDArray[np.floating[Any]]  # as messages and recordings have them


def restore(
    owner: object, state: Mapping[str, FloatArray], names: tuple[str, ...], nan: bool = False
) -> None:
    """Set the arrays `names` of `owner` from `state`: all, or none.

    Raise ValueError for an array that is missing, of another shape, or not finite; NaN is allowed
    with `nan`.
    """
    taken = {}
    for name in names:
        if name not in state:
            raise ValueError(f'{name}: missing')
        value = np.array(state[name], dtype=float)
        shape = getattr(owner, name).shape
        if value.shape != shape:
            raise ValueError(f'{name}: shape {value.shape}, must be {shape}')
        if not (np.isfinite(value) | (nan & np.isnan(value))).all():
            raise ValueError(f'{name}: not finite')
        taken[name] = value
    for name, value in taken.items():
        setattr(owner, name, value)


def part(state: Mapping[str, FloatArray], prefix: str) -> dict[str, FloatArray]:
    """Return the arrays of `state` whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def named(state: Mapping[str, FloatArray], prefix: str) -> dict[str, FloatArray]:
    """Return `state` with `prefix` before each name."""
    return {prefix + k: v for k, v in state.items()}


def limit(values: FloatArray, low: float, high: float) -> None:
    """Clip in place; np.clip takes longer over a few cells than all the rest of a line."""
    np.maximum(values, low, out=values)
    np.minimum(values, high, out=values)
