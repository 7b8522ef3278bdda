# SPDX-License-Identifier: Apache-2.0
"""Several hypotheses about the SOC of a cell where one Gaussian cannot tell what is known.

An SOC that was said is right, or it is anywhere; a voltage on the flat part of an OCV belongs to
half of all SOCs. A cell then has several columns in one `CellFilter`, each with a weight. What a
column foretold and what was measured is its evidence, and moves the weights; columns that have
become the same are merged, and those nothing speaks for are dropped. A cell whose column is too
wide to be linear is split again. With one column per cell, which is how it ends, nothing is added
to the cost of the filter.
"""

import numpy as np

from dbms_pack.model import FloatArray

from .columns import CHARGED, SIGMA_MAX
from .ecm import SOC_HIGH, SOC_LOW, CellTables
from .ekf import CellFilter
from .filter_options import FilterOptions

COLUMNS = 20  # hypotheses that a wide one is split into
APART = 0.08  # SOC between two of them where the OCV is flat
STEEP = 0.15  # V between two of them where it is steep
OVERLAP = 0.55  # sigma of each, of the way to the next
IMPROBABLE = 5e-4  # weight below which one is dropped
FROM_DISCHARGE = 0.9  # how probable it is that a cell that is not full was discharged last
ONE_BRANCH = 0.004  # V of hysteresis up to which two are on the same branch
ALIKE = 0.05  # what merging two may cost, after Runnalls (2007), of the SOC alone
WITHIN = 0.95  # of the weights is within 2 sigma
ONE_SIDED = 1.65  # sigmas that hold as much of one Gaussian to one side
_LOGISTIC = 1.702  # a logistic curve as much steeper is a Gaussian's to 1 %
_FAR = 40.0  # more of that is none of it
_ROUNDS = 14  # of halving the way to the median
_ROUNDING = 1e-6
_TINY = 1e-12


class HypothesisFilter:
    """SOC filter of n cells, each with as many hypotheses as it needs.

    Attributes are those of `CellFilter`, of the shape (n,), (6, n) and (6, 6, n): mean and
    covariance of the mixture; but `soc` is its median, and `sigma` the root of the mean square of
    what the SOC is off that, or half of what holds 95 %, if that is more. `hypotheses` is the
    number of each cell, `columns` the filter of all hypotheses, `owner` the cell of each of its
    columns and `weight` how probable it is.
    """

    def __init__(
        self,
        tables: CellTables,
        cells: int,
        capacity: float,
        current_offset: FloatArray,
        options: FilterOptions | None = None,
    ) -> None:
        """Take the capacity of a cell in Ah and the offset error of its current sensor in A."""
        self.columns = CellFilter(tables, cells, capacity, current_offset, options)
        self.options = self.columns.options
        self.cells = cells
        self._tables, self._has_branches = tables, tables.has_hysteresis
        self._centres, self._sigmas = places(tables)
        self.started = np.zeros(cells, dtype=bool)
        self._said: FloatArray = np.full(cells, np.nan)  # SOC of which no voltage has spoken yet
        self._unify()
        self._publish()

    def set_capacity(self, health: FloatArray) -> None:
        """Take the capacity of each cell as a share of the rated one, (n,)."""
        self.columns.health = health[self.owner]

    @property
    def single(self) -> bool:
        """Whether every cell has one hypothesis; then the columns are the cells."""
        return len(self.owner) == self.cells

    @property
    def hypotheses(self) -> np.ndarray:
        """Return the number of hypotheses about each cell."""
        return np.bincount(self.owner, minlength=self.cells)

    @property
    def state(self) -> FloatArray:
        """Mean of the state, (6, n)."""
        return self._mean(self.columns.state)

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the state, (6, 6, n)."""
        if self.single:
            return self.columns.covariance
        off = self.columns.state - self.state[:, self.owner]
        return self._mean(self.columns.covariance + off[:, None] * off[None])

    @property
    def bias(self) -> FloatArray:
        """What the current sensor shows too much, A."""
        return self._mean(self.columns.bias)

    @property
    def bias_sigma(self) -> FloatArray:
        """Standard deviation of that, A."""
        return np.sqrt(self.covariance[3, 3])

    @property
    def v1(self) -> FloatArray:
        """Voltage of the first RC pair, V."""
        return self._mean(self.columns.v1)

    @property
    def v2(self) -> FloatArray:
        """Voltage of the second RC pair, V."""
        return self._mean(self.columns.v2)

    @property
    def resistance(self) -> FloatArray:
        """By how much more than the table says the resistances are, as a share."""
        return self._mean(self.columns.resistance)

    @property
    def hysteresis(self) -> FloatArray:
        """Hysteresis state, -1..1."""
        return self._mean(self.columns.hysteresis)

    def start(
        self, where: np.ndarray, voltage: FloatArray, current: FloatArray, temperature: FloatArray
    ) -> None:
        """Start the cells `where` (a mask) from their voltage, as `CellFilter.start` does."""
        self._one_each(where)
        o, columns = self.owner, self.columns
        ocv, error = columns.start(where[o], voltage[o], current[o], temperature[o])
        self.started |= where
        first = np.unique(o, return_index=True)[1]
        new, cell = self._split(np.zeros(self.cells, dtype=bool))
        if len(new):
            # Nothing is known but the voltage: each is as probable as it explains that.
            self.weight[new] = 1.0
            new = self._forget_branch(new)
            cell = self.owner[new]
            ocv, error, celsius = (x[first][cell] for x in (ocv, error, temperature[o]))
            self.weight[new] *= columns.likelihood(new, ocv, error, celsius)
            self._normalise()
        self._publish()

    def reset(self, where: np.ndarray, soc: FloatArray, sigma: FloatArray) -> None:
        """Set the cells `where` (a mask) to an SOC that is known with `sigma`."""
        self._one_each(where)
        self.columns.reset(where[self.owner], soc[self.owner], sigma[self.owner])
        self._started(where)

    def believe(self, where: np.ndarray, soc: FloatArray) -> None:
        """Start the cells `where` (a mask) from an SOC that was said.

        It is what a display or a person says: most often right, and otherwise far off.
        """
        options = self.options
        if options.said_right <= 0.0:
            self.reset(where, soc, np.full(self.cells, options.said_wrong))
            return
        self.reset(where, soc, np.full(self.cells, options.said_sigma))
        first = len(self.owner)
        self._append(np.flatnonzero(where))
        new = np.arange(len(self.owner)) >= first
        wide = np.full(len(self.owner), options.said_wrong)
        self.columns.reset(new, soc[self.owner], wide)
        right = options.said_right
        self.weight[where[self.owner]] = right
        self.weight[new] = 1.0 - right
        self._split(np.zeros(self.cells, dtype=bool))
        self._forget_branch(np.flatnonzero(where[self.owner]))
        self._normalise()
        self._said = np.where(where, soc, self._said)
        self._publish()

    def step(
        self,
        dt: FloatArray,
        charge: FloatArray,
        blind: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        temperature: FloatArray,
    ) -> None:
        """Advance and correct every cell; arguments as those of `CellFilter.step`."""
        given = (dt, charge, blind, voltage, current, temperature)
        self._said = np.where(dt > 0, np.nan, self._said)
        columns = self.columns
        if self.single:
            columns.started = self.started
            columns.step(*given, weigh=False)
        else:
            columns.started = self.started[self.owner]
            columns.step(*(x[self.owner] for x in given))
            self._weigh()
            self._merge()
        self._split(blind > 0)
        self._normalise()
        self._publish()

    def _started(self, where: np.ndarray) -> None:
        self.started |= where
        self._publish()

    def _mean(self, values: FloatArray) -> FloatArray:
        """Return the mean over the hypotheses of each cell, along the last axis."""
        if self.single:
            return values
        flat = (values * self.weight).reshape(-1, len(self.owner))
        sums = [np.bincount(self.owner, row, self.cells) for row in flat]
        return np.asarray(sums, dtype=np.float64).reshape(*values.shape[:-1], self.cells)

    def _publish(self) -> None:
        columns = self.columns
        self.expected = self._mean(columns.expected)
        self.innovation = self._mean(columns.innovation)
        if self.single:
            self.soc, self.sigma = columns.soc, columns.sigma
            return
        # The median: a mean would be an SOC that nobody believes in, and a true start would not
        # stay true.
        middle = np.where(self.hypotheses > 1, self._median(), self._mean(columns.soc))
        self.soc = np.where(np.isfinite(self._said), self._said, middle)
        off = np.abs(columns.soc - self.soc[self.owner])
        rms = np.sqrt(self._mean(columns.covariance[0, 0] + np.square(off)))
        # Of several peaks, 2 sigma shall hold what 2 sigma of a single one do.
        far = 0.5 * self._quantile(off, off + ONE_SIDED * columns.sigma, WITHIN)
        self.sigma = np.minimum(np.maximum(rms, far), SIGMA_MAX)

    def _median(self) -> FloatArray:
        """Return the SOC that half of what is believed of a cell is below."""
        columns = self.columns
        low: FloatArray = np.full(self.cells, SOC_LOW)
        width = SOC_HIGH - SOC_LOW
        steepness = _LOGISTIC / np.maximum(columns.sigma, _TINY)
        for _ in range(_ROUNDS):
            width *= 0.5
            off = (columns.soc - (low + width)[self.owner]) * steepness
            below = self._sums(self.weight / (1.0 + np.exp(np.minimum(off, _FAR))))
            low = np.where(below < 0.5, low + width, low)
        return low + 0.5 * width

    def _quantile(self, key: FloatArray, values: FloatArray, share: float) -> FloatArray:
        """Return, for each cell, the value at which that share of the weights, by key, is met."""
        order = np.lexsort((key, self.owner))
        owner = self.owner[order]
        total = np.cumsum(self.weight[order]) - owner  # the weights of each cell add up to one
        # Sums have rounding errors: the last column of a cell is it if no other is.
        last = np.r_[owner[1:] != owner[:-1], True]
        met = np.flatnonzero((total > share + _ROUNDING) | last)
        first = np.unique(owner[met], return_index=True)[1]
        return values[order[met[first]]]

    def _unify(self) -> None:
        """Number the columns as the cells: there is one for each."""
        self.owner = np.arange(self.cells)
        self.weight = np.ones(self.cells)

    def _keep(self, columns: np.ndarray) -> None:
        """Go on with these columns, by mask or index."""
        self.columns.take(columns)
        self.owner = self.owner[columns]
        self.weight = self.weight[columns]
        if self.single:
            order = np.argsort(self.owner)
            self.columns.take(order)
            self._unify()

    def _append(self, columns: np.ndarray) -> None:
        """Double these columns, by index; the new ones come last."""
        self._keep(np.r_[np.arange(len(self.owner)), columns])

    def _one_each(self, where: np.ndarray) -> None:
        """Leave one column to each of the cells `where`."""
        if self.single:
            return
        first = np.unique(self.owner, return_index=True)[1]
        keep = ~where[self.owner]
        keep[first] = True
        self.weight[first] = np.where(where, 1.0, self.weight[first])
        self._keep(keep)

    def _weigh(self) -> None:
        """Move the weights by the evidence."""
        chance = self.columns.evidence + np.log(self.weight)
        best = np.full(self.cells, -np.inf)
        np.maximum.at(best, self.owner, chance)
        self.weight = np.exp(chance - best[self.owner])
        self._normalise()

    def _sums(self, values: FloatArray) -> FloatArray:
        return np.bincount(self.owner, values, self.cells).astype(np.float64)

    def _forget_branch(self, where: np.ndarray) -> np.ndarray:
        """Take the columns `where`, by index, for such of which no past is known.

        With hysteresis each that is not full becomes two: it comes from a discharge, or a charge.
        Return all of them.
        """
        columns = self.columns
        columns.forget_branch(where)
        if not self._has_branches:
            return where
        low = where[columns.soc[where] <= CHARGED]
        first = len(self.owner)
        self._append(low)
        new = np.arange(first, len(self.owner))
        none = np.zeros(len(self.owner))
        columns.take_branch(low, none - 1.0, none)
        columns.take_branch(new, none + 1.0, none)
        self.weight[low] *= FROM_DISCHARGE
        self.weight[new] *= 1.0 - FROM_DISCHARGE
        return np.r_[where, new]

    def _merge(self) -> None:
        """Merge neighbours that have become alike; mean and covariance stay what they were.

        Those on different branches of the hysteresis do so when the charge has led them together.
        """
        if self.single:
            return
        columns = self.columns
        turned = self._tables.hysteresis(columns.soc) * columns.hysteresis
        order = np.lexsort((columns.soc, turned > 0, self.owner))
        low, high = order[:-1], order[1:]
        alike = self.owner[low] == self.owner[high]
        alike &= np.abs(turned[low] - turned[high]) < ONE_BRANCH
        cost = np.where(alike, self._cost(low, high), np.inf)
        beside = np.r_[np.inf, cost, np.inf]
        picked = (cost < ALIKE) & (cost <= beside[:-2]) & (cost < beside[2:])
        if not picked.any():
            return
        low, high = low[picked], high[picked]
        together = self.weight[low] + self.weight[high]
        a, b = self.weight[low] / together, self.weight[high] / together
        off = columns.state[:, low] - columns.state[:, high]
        p = columns.covariance
        p[:, :, low] = a * p[:, :, low] + b * p[:, :, high] + a * b * off[:, None] * off[None]
        columns.state[:, low] = a * columns.state[:, low] + b * columns.state[:, high]
        columns.hysteresis[low] = a * columns.hysteresis[low] + b * columns.hysteresis[high]
        self.weight[low] = together
        keep = np.ones(len(self.owner), dtype=bool)
        keep[high] = False
        self._keep(keep)

    def _cost(self, low: np.ndarray, high: np.ndarray) -> FloatArray:
        p, soc = np.maximum(self.columns.covariance[0, 0], _TINY), self.columns.soc
        a, b = self.weight[low], self.weight[high]
        both = a + b
        merged = (a * p[low] + b * p[high]) / both
        merged += a * b / both**2 * np.square(soc[low] - soc[high])
        return 0.5 * (both * np.log(merged) - a * np.log(p[low]) - b * np.log(p[high]))

    def _split(self, blind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split what is too wide, one column of a cell at once, and not while it is `blind`.

        Return the new columns and their cells. The weights of a cell add up to what they did.
        """
        columns = self.columns
        wide = self.started[self.owner] & (columns.covariance[0, 0] > self.options.widest**2)
        wide &= ~blind[self.owner]
        if not wide.any():
            return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
        wide &= self.hypotheses[self.owner] <= COLUMNS
        split = np.flatnonzero(wide)
        split = split[np.unique(self.owner[split], return_index=True)[1]]
        keep = np.ones(len(self.owner), dtype=bool)
        keep[split] = False
        kept = int(keep.sum())
        self._keep(np.r_[np.flatnonzero(keep), np.repeat(split, COLUMNS)])
        new = np.arange(kept, len(self.owner))
        place, sigma = np.tile(self._centres, len(split)), np.tile(self._sigmas, len(split))
        p = columns.covariance[:, :, new]
        variance = p[0, 0]
        off = place - columns.soc[new]
        # The other states go with the SOC as far as they are correlated with it.
        gain = p[0] / variance
        columns.state[:, new] += gain * off
        columns.covariance[:, :, new] = p + gain[:, None] * gain[None] * (sigma**2 - variance)
        share = (np.exp(-0.5 * off**2 / variance) * sigma).reshape(-1, COLUMNS)
        self.weight[new] *= (share / share.sum(axis=1, keepdims=True)).ravel()
        return new, self.owner[new]

    def _normalise(self) -> None:
        """Drop what is improbable, and let the weights of each cell add up to one."""
        if self.single:
            return
        keep = self.weight > IMPROBABLE * self._sums(self.weight)[self.owner]
        if not keep.all():
            self._keep(keep)
        self.weight = self.weight / self._sums(self.weight)[self.owner]


def places(tables: CellTables) -> tuple[FloatArray, FloatArray]:
    """Return SOC and sigma of the hypotheses that a wide one is split into.

    They are narrow where the OCV is steep, so that it is a straight line within each.
    """
    soc = np.linspace(0.0, 1.0, 1001).astype(np.float64)
    way = soc / APART + (tables.ocv(soc)[0] - tables.ocv(np.zeros(1))[0]) / STEEP
    edges = np.interp(np.linspace(0.0, way[-1], COLUMNS + 1), way, soc)
    return 0.5 * (edges[1:] + edges[:-1]), OVERLAP * np.diff(edges)
