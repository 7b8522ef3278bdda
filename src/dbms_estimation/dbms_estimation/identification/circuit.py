# SPDX-License-Identifier: Apache-2.0
"""R0 and two RC pairs over SOC and temperature, by one least squares fit over all files.

For given time constants the terminal voltage is linear in the resistances at the nodes of a grid
over temperature and SOC: the current is weighted with each node's hat function and filtered. All
files of a cell go into one set of normal equations, each with the same weight, beside a small
correction of the OCV. Between temperatures a resistance follows Arrhenius' law. Resistances are
kept positive, and smooth where the data say nothing. Where the voltage of R0 bends at strong
currents the fit is repeated around what it found before (Gauss-Newton).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dbms_pack.model import FloatArray

from .hysteresis import (
    KNOTS,
    LEG_SOC_ERROR,
    LEG_WEIGHT,
    SOC_ERROR,
    Branches,
    begins_charged,
    play,
    steepness_weight,
)
from .laboratory import Measurement
from .ocv import Leg, Ocv, rising

SOCS = np.array([0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
ARRHENIUS = 3500.0  # K, typical of lithium-ion cells; only shapes what is between two nodes
LONGEST_WEIGHT = 10.0  # s, for which a row counts at most: long rests do not drown the load
COLDEST = -30.0  # degC, of the tables
TAUS = (40.0, 1200.0)  # s, of the RC pairs
_LEAST = 1e-5  # Ohm
_ROUNDS = 5
_EXCHANGES = 200
_FIRST_STEP = 0.7
_LEG_STEP = 60.0  # s between the rows of a slow leg that are used
_FIRM = 10.0  # weight of what is expected of resistances that slow legs cannot tell apart
_CORRECTIONS = np.linspace(0.0, 1.0, 26).astype(np.float64)
# V: in the middle the slow legs are right; at the ends they hold what a slow current adds.
_CORRECTION_SIGMA = 0.006 + 0.012 * np.exp(-np.minimum(_CORRECTIONS, 1 - _CORRECTIONS) / 0.03)


@dataclass(frozen=True)
class _Taken:
    """Rows that take part in the fit."""

    m: Measurement
    soc: FloatArray
    begin: float  # state of the hysteresis before them
    share: float  # weight of the file
    soc_error: float


@dataclass
class CircuitFit:
    """Files, taken by `add`, and the resistances that explain them, found by `solve`."""

    ocv: Ocv
    capacity: float
    temperatures: FloatArray
    taus: tuple[float, float] = TAUS
    saturation: float = np.inf  # V
    hysteresis_soc: float = 0.05
    activation: float = ARRHENIUS
    branches: Branches | None = None
    by_steepness: bool = False  # whether a steep OCV, which the SOC errs on, tells less
    solution: FloatArray = field(init=False)
    parts: list[tuple[FloatArray, FloatArray]] = field(init=False)  # normal equations, by file

    def __post_init__(self) -> None:
        self._slow_only = bool(
            self.branches and self.branches.coldest < self.temperatures[0] - 4.0
        )
        if self.branches and self._slow_only:
            self.temperatures = np.r_[self.branches.coldest, self.temperatures]
        self._nodes = len(self.temperatures) * len(SOCS)
        self._count = 3 * self._nodes + len(_CORRECTIONS)
        self._count += 2 * len(KNOTS) if self.branches else 0
        self.solution = np.zeros(self._count)
        self._taken: list[_Taken] = []
        for leg in self.branches.legs if self.branches else ():
            self._add_leg(leg)

    def add(self, m: Measurement, soc: FloatArray) -> None:
        """Take a file, with the SOC of each of its rows, into account."""
        self._taken.append(_Taken(m, soc, begins_charged(soc), 1.0, SOC_ERROR))

    def _add_leg(self, leg: Leg) -> None:
        step = float(np.median(np.diff(leg.measurement.time)))
        rows = slice(None, None, max(1, round(_LEG_STEP / step)))
        m, soc = leg.measurement.rows(rows), leg.soc[rows]
        self._taken.append(_Taken(m, soc, leg.begin, LEG_WEIGHT, LEG_SOC_ERROR))

    def solve(self) -> None:
        """Find the resistances."""
        for turn in range(1 if np.isinf(self.saturation) else _ROUNDS):
            self.parts = [self._equations(one) for one in self._taken]
            found = self._solved(self.parts)
            # From the linear fit to the bent one it is far: a whole step would overshoot.
            step = _FIRST_STEP if turn == 1 else 1.0
            self.solution = self.solution + step * (found - self.solution)

    def without(self, m: Measurement) -> FloatArray:
        """Return the solution that all files but one, taken before, give.

        One step of Gauss-Newton leads to it: around the solution R0 bends hardly otherwise.
        """
        kept = [part for part, one in zip(self.parts, self._taken, strict=True) if one.m is not m]
        return self._solved(kept)

    def _solved(self, parts: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
        matrix, right = np.zeros((self._count, self._count)), np.zeros(self._count)
        self._smooth(matrix)
        for more, of_right in parts:
            matrix += more
            right += of_right
        low = np.full(self._count, -np.inf)
        low[: 3 * self._nodes] = _LEAST
        return _bounded(matrix, right, low)

    def _equations(self, one: _Taken) -> tuple[FloatArray, FloatArray]:
        """Return the normal equations of a file around the solution so far."""
        design, rest, weight = self._design(one.m, one.soc, one.begin)
        weight = weight * (one.share / weight.sum())
        if self.by_steepness:
            weight *= steepness_weight(self.ocv, one.soc, one.soc_error)
        return design.T @ (design * weight[:, None]), design.T @ (weight * rest)

    def tables(self, temperatures: FloatArray) -> FloatArray:
        """Return R0, R1, R2 in Ohm, shape (3, len(temperatures), len(SOCS))."""
        nodes = self.solution[: 3 * self._nodes].reshape(3, len(self.temperatures), len(SOCS))
        return np.einsum('tn,knj->ktj', self._along_temperature(temperatures), nodes)

    def corrected_ocv(self) -> FloatArray:
        """Return the OCV with its correction at the points of `ocv.soc`."""
        most = 4.0 * _CORRECTION_SIGMA
        first = 3 * self._nodes
        found = np.clip(self.solution[first : first + len(_CORRECTIONS)], -most, most)
        return rising(self.ocv.voltage + np.interp(self.ocv.soc, _CORRECTIONS, found))

    def gap(self) -> FloatArray:
        """Return half the gap between the branches in V at the points of `ocv.soc`."""
        if not self.branches or not self.branches.turning:
            return self.ocv.gap
        change = np.interp(self.ocv.soc, KNOTS, self.solution[-len(KNOTS) :])
        return np.asarray(np.maximum(self.ocv.gap + change, 0.0))

    def entropic(self) -> FloatArray:
        """Return the change of the OCV with temperature in V/K; empty where it is not known."""
        if not self.branches:
            return np.zeros(0)
        found = self.solution[-2 * len(KNOTS) : -len(KNOTS)]
        return np.asarray(np.interp(self.ocv.soc, KNOTS, found))

    def residual(
        self, m: Measurement, soc: FloatArray, left_out: bool = False
    ) -> tuple[FloatArray, FloatArray]:
        """Return what the model leaves unexplained in V, and the weight of each row.

        `left_out`: what a model without this file leaves.
        """
        design, rest, weight = self._design(m, soc, begins_charged(soc))
        return rest - design @ (self.without(m) if left_out else self.solution), weight

    def _along_temperature(self, temperature: FloatArray) -> FloatArray:
        nodes = self.temperatures
        kelvin = np.clip(temperature, COLDEST, nodes[-1] + 10.0)[:, None] + 273.15
        colder = 1 / kelvin - 1 / (nodes + 273.15)
        return hats(temperature, nodes) * np.exp(self.activation * colder)

    def _design(
        self, m: Measurement, soc: FloatArray, begin: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        dt = np.diff(m.time, prepend=m.time[0])
        mean = np.r_[m.current[0], 0.5 * (m.current[1:] + m.current[:-1])]
        # Where rows are missing the counter tells the current better than the rows at the ends.
        counted = np.diff(m.charge, prepend=m.charge[0]) * 3600.0 / np.maximum(dt, 1e-9)
        mean = np.where(dt > 30.0, counted, mean)
        share = self._along_temperature(m.temperature)[:, :, None] * hats(soc, SOCS)[:, None, :]
        share = share.reshape(len(soc), -1)
        driven = share * mean[:, None]
        slow = [filtered(dt, driven, tau) for tau in self.taus]
        ohmic, beside = self._ohmic(share, m.current)
        columns = [ohmic, *slow, hats(soc, _CORRECTIONS)]
        turned = play(soc, self.hysteresis_soc, begin)
        if self.branches:
            columns.append(self.branches.columns(hats(soc, KNOTS), m.temperature, turned))
        known = np.interp(soc, self.ocv.soc, self.ocv.voltage)
        known += np.interp(soc, self.ocv.soc, self.ocv.gap) * turned
        rest = m.voltage - known - beside
        return np.concatenate(columns, axis=1), rest, np.clip(dt, 0, LONGEST_WEIGHT)

    def _ohmic(self, share: FloatArray, current: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the voltage of R0 as a line over its values at the nodes: slopes and rest."""
        if np.isinf(self.saturation):
            return share * current[:, None], np.zeros(len(current))
        bent = (share @ self.solution[: self._nodes]) * current / self.saturation
        slope = current / np.sqrt(1.0 + np.square(bent))
        beside = self.saturation * (np.arcsinh(bent) - bent / np.sqrt(1.0 + np.square(bent)))
        return share * slope[:, None], beside

    def _smooth(self, matrix: FloatArray) -> None:
        """Add what is expected without data: little change of slope, small corrections."""
        count, scale = len(SOCS), self.capacity**2
        bend = np.diff(np.eye(count), 2, axis=0)
        along = 1e-3 * scale * bend.T @ bend + 3e-7 * scale * np.eye(count)
        for first in range(0, 3 * self._nodes, count):
            matrix[first : first + count, first : first + count] += along
        for pair in range(3):
            for node in range(self._nodes - count):
                a = pair * self._nodes + node
                change = np.array([2.0, -1.0])  # half as much where it is one node warmer
                places = np.ix_([a + count, a], [a + count, a])
                matrix[places] += 1e-5 * scale * np.outer(change, change)
        if self._slow_only:
            self._expect_coldest(matrix)
        step = np.diff(np.eye(len(_CORRECTIONS)), axis=0)
        small = (np.eye(len(_CORRECTIONS)) + 3.0 * step.T @ step) * 1e-5
        small /= np.outer(_CORRECTION_SIGMA, _CORRECTION_SIGMA)
        first, end = 3 * self._nodes, 3 * self._nodes + len(_CORRECTIONS)
        matrix[first:end, first:end] += small
        if self.branches:
            matrix[end:, end:] += self.branches.expected()

    def _expect_coldest(self, matrix: FloatArray) -> None:
        """Expect Arrhenius' law of R0 and R1 where only slow legs were measured.

        They tell the sum of the resistances; what is more than expected is slow.
        """
        cold, warm = self.temperatures[:2] + 273.15
        rise = np.array([1.0, -np.exp(self.activation * (1 / cold - 1 / warm))])
        count = len(SOCS)
        for pair in range(2):
            for node in range(count):
                a = pair * self._nodes + node
                matrix[np.ix_([a, a + count], [a, a + count])] += _FIRM * np.outer(rise, rise)


def hats(x: FloatArray, nodes: FloatArray) -> FloatArray:
    """Return the weights of linear interpolation, shape (len(x), len(nodes))."""
    if len(nodes) == 1:
        return np.ones((len(x), 1))
    x = np.clip(x, nodes[0], nodes[-1])
    below = np.clip(np.searchsorted(nodes, x, side='right') - 1, 0, len(nodes) - 2)
    way = (x - nodes[below]) / (nodes[below + 1] - nodes[below])
    result = np.zeros((len(x), len(nodes)))
    rows = np.arange(len(x))
    result[rows, below], result[rows, below + 1] = 1.0 - way, way
    return result


def filtered(dt: FloatArray, driven: FloatArray, tau: float) -> FloatArray:
    """Return each column after a first-order lag of tau s."""
    kept = np.exp(-dt / tau)
    result, state = np.empty_like(driven), np.zeros(driven.shape[1])
    for k, (a, row) in enumerate(zip(kept, driven, strict=True)):
        state = a * state + (1 - a) * row
        result[k] = state
    return result


def _bounded(matrix: FloatArray, right: FloatArray, low: FloatArray) -> FloatArray:
    """Minimise x'Ax/2 - b'x with x >= low: those at the bound are held, until none wants off."""
    held = np.zeros(len(low), dtype=bool)
    x = np.maximum(np.linalg.lstsq(matrix, right, rcond=None)[0], low)
    for _ in range(_EXCHANGES):
        free = ~held
        x = np.where(held, low, 0.0)
        part = matrix[np.ix_(free, free)]
        beside = right[free] - matrix[np.ix_(free, held)] @ low[held]
        x[free] = np.linalg.lstsq(part, beside, rcond=None)[0]
        below = free & (x < low)
        if below.any():
            held |= below
            continue
        off = held & (matrix @ x - right < 0.0)
        if not off.any():
            break
        held &= ~off
    return np.maximum(x, low)
