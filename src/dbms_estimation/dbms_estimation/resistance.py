# SPDX-License-Identifier: Apache-2.0
"""Resistance of every cell as a ratio to its cell file, from steps of the current.

The ratio is to what the tables say at the same SOC and temperature, so warming up is no ageing.
A reading after a step is compared with one before it: OCV, offsets of both sensors and a wrong
SOC drop out of the difference. What the RC pairs did in between is foretold from the same tables.

A current sample and a scan of voltages are never of quite the same moment, and a current that is
not that of the voltage makes the resistance too small, always. A step therefore counts only if
the current stood still for three scans before and for three scans after it: then the samples may
be shifted by a scan either way. What it still moved there goes into sigma.
"""

from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .arrays import restore
from .ecm import CellTables, Impedance

DEPTH = 6  # readings: three before the step, three after it
_FROM, _AFTER, _TO = 1, 3, 4  # those compared are in the middle of both
_FIELDS = 6  # V, A, V above the OCV, change of that with the ratio, As, s
_VOLTAGE, _CURRENT, _DROP, _ANSWER, _CHARGE, _TIME = range(_FIELDS)


@dataclass(frozen=True)
class ResistanceOptions:
    """What is assumed about cells and sensors."""

    start_sigma: float = 0.2  # of the ratio, of a cell nothing is known of
    lowest: float = 0.3  # of the ratio
    highest: float = 10.0
    edge: float = 0.1  # step of the current in units of capacity per hour worth a look
    apart: float = 10.0  # s, between the outermost readings at most
    still: float = 0.25  # of the step, by which the current may move before and after it
    voltage_noise: float = 0.002  # V, of one reading
    current_noise: float = 0.002  # of one reading, in units of capacity per hour
    pair_error: float = 0.3  # relative, of what the RC pairs did in between
    slope_error: float = 0.5  # relative, of what the charge did to the OCV in between
    least: float = 0.01  # sigma, relative, that no number of steps takes away
    table_error: float = 0.05  # of the ratio, from one SOC of the table to another
    table_soc: float = 0.3  # change of SOC after which that error is another one
    doubt: float = 0.05  # relative, by which sigma grows by a step that is not believed
    step: float = 0.05  # of the ratio, largest change by one pair unless sigma was wider
    known: float = 0.05  # sigma of the ratio, relative, from which on it counts for `health`
    cycles: float = 3.0  # full equivalent cycles over which `health` is the mean
    look_up: float = 10.0  # s, between look-ups of the impedance


class ResistanceFilter:
    """Resistance ratio of n cells.

    Attributes of shape (n,): `ratio`, here and now; `variance` of it; `health`, its slow mean over
    SOCs and temperatures; `seen`, full equivalent cycles in that mean; `edges`, pairs used.
    """

    def __init__(
        self,
        tables: CellTables,
        cells: int,
        capacity: float,
        options: ResistanceOptions | None = None,
    ) -> None:
        """Take the rated capacity in Ah."""
        self.options = options or ResistanceOptions()
        self._tables = tables
        self._capacity = capacity
        self.ratio: FloatArray = np.ones(cells)
        self.variance: FloatArray = np.full(cells, self.options.start_sigma**2)
        self.health: FloatArray = np.ones(cells)
        self.edges = np.zeros(cells)
        self.seen = np.zeros(cells)
        self._pairs = np.zeros((2, cells))  # V, of the cell file's RC pairs
        self._history = np.full((DEPTH, _FIELDS, cells), np.nan)
        self._time = 0.0
        self._looked_up = -np.inf
        self._z: Impedance | None = None
        self._slope: FloatArray = np.zeros(cells)

    @property
    def pairs(self) -> FloatArray:
        """Voltages of both RC pairs in V, (2, n)."""
        return self._pairs * self.ratio

    @property
    def sigma(self) -> FloatArray:
        """Standard deviation of `ratio`."""
        return np.hypot(np.sqrt(self.variance), self.options.least * self.ratio)

    @property
    def health_sigma(self) -> FloatArray:
        """Standard deviation of `health`."""
        return np.hypot(self.sigma, 0.5 * self.options.table_error * self.health)

    def step(
        self,
        dt: FloatArray,
        charge: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        temperature: FloatArray,
        soc: FloatArray,
    ) -> None:
        """Take a reading of each cell; one with dt <= 0 has none and is left as it is.

        dt s and charge As since its last one, voltage V and current A now, NaN: not measured;
        temperature degC; soc roughly, for the tables.
        """
        news = (dt > 0) & np.isfinite(charge)
        dt, charge = np.where(news, dt, 0.0), np.where(news, charge, 0.0)
        self._time += float(dt.max(initial=0.0))
        z = self._impedance(temperature, soc)
        mean = charge / np.maximum(dt, 1e-12)
        for v, r, tau in zip(self._pairs, (z.r1, z.r2), (z.tau1, z.tau2), strict=True):
            v += (r * mean - v) * (1 - np.exp(-dt / tau))
        self._forget(np.abs(charge) / (3600.0 * self._capacity))
        ohmic, slope = self._tables.drop(z.r0 * self.ratio, current)
        pairs = self._pairs.sum(axis=0)
        drop = ohmic + self.ratio * pairs
        answer = slope / self.ratio * current + pairs
        h = self._history
        before = h[-1]
        row = np.stack(
            [voltage, current, drop, answer, before[_CHARGE] + charge, before[_TIME] + dt]
        )
        row[_CHARGE:] = np.where(np.isnan(row[_CHARGE:]), 0.0, row[_CHARGE:])
        if news.all():
            h[:-1] = h[1:]
            h[-1] = row
        else:
            h[:-1, :, news] = h[1:, :, news]
            h[-1][:, news] = row[:, news]
        size = np.abs(h[_TO, _CURRENT] - h[_FROM, _CURRENT])
        edge = news & (size >= self.options.edge * self._capacity)
        if edge.any():
            edge &= h[-1, _TIME] - h[0, _TIME] <= self.options.apart
            edge &= np.isfinite(h).all(axis=(0, 1)) & np.isfinite(temperature)
            shifted = np.maximum(
                np.ptp(h[:_AFTER, _CURRENT], axis=0), np.ptp(h[_AFTER:, _CURRENT], axis=0)
            )
            edge &= shifted <= self.options.still * size
            self._learn(edge, z, shifted)

    def _impedance(self, temperature: FloatArray, soc: FloatArray) -> Impedance:
        if self._z is None or self._time - self._looked_up > self.options.look_up:
            self._looked_up = self._time
            place = np.clip(np.where(np.isfinite(soc), soc, 0.5), 0.0, 1.0)
            warm = np.where(np.isfinite(temperature), temperature, 25.0)
            self._z = self._tables.impedance(place, warm)
            self._slope = self._tables.ocv(place)[1]
        return self._z

    def _forget(self, moved: FloatArray) -> None:
        """Widen sigma by the SOC `moved`: there the tables are wrong in another way."""
        options = self.options
        size = np.square(self.ratio)
        wider = self.variance + options.table_error**2 * size * moved / options.table_soc
        most = np.maximum(options.start_sigma**2 * size, self.variance)
        self.variance = np.minimum(wider, most)
        # A mean over all that was seen at first, over the last cycles later on.
        cycles = 0.5 * moved * (self.variance <= np.square(options.known * self.ratio))
        self.seen += cycles
        share = cycles / np.clip(self.seen, 1e-9, options.cycles)
        self.health += (self.ratio - self.health) * share

    def _learn(self, edge: np.ndarray, z: Impedance, shifted: FloatArray) -> None:
        options, h = self.options, self._history
        change = h[_TO] - h[_FROM]
        change = np.where(edge, change, 0.0)  # what is not known stays in its cell
        shifted = np.where(edge, shifted, 0.0)
        x = change[_ANSWER]
        charged = self._slope * change[_CHARGE] / (3600.0 * self._capacity)
        y = change[_VOLTAGE] - charged
        pairs = self.ratio * (x - z.r0 * change[_CURRENT])
        noise = 2 * options.voltage_noise**2 + 2 * np.square(
            options.current_noise * self._capacity * z.r0
        )
        noise += np.square(self.ratio * z.r0 * shifted) + np.square(options.pair_error * pairs)
        noise += np.square(options.slope_error * charged)
        expected = np.square(x) * self.variance + noise
        wrong = y - change[_DROP]
        believed = edge & (np.square(wrong) <= 16.0 * expected)
        doubted = edge & ~believed
        gain = np.where(believed, self.variance * x / expected, 0.0)
        wrong = np.where(believed, wrong, 0.0)
        # A larger change than is believed at once is a weaker gain, also for sigma.
        most = np.maximum(options.step, self.sigma)
        gain *= np.minimum(most / np.maximum(np.abs(gain * wrong), 1e-12), 1.0)
        moved = self.ratio + gain * wrong
        self.ratio = np.clip(moved, options.lowest, options.highest)
        kept = np.square(1 - gain * x) * self.variance
        self.variance = kept + np.square(gain) * np.where(believed, noise, 0.0)
        wider = np.square(np.minimum(self.sigma + options.doubt * self.ratio, self.ratio))
        self.variance = np.where(doubted, np.maximum(wider, self.variance), self.variance)
        self.health = np.where(self.seen > 0, self.health, self.ratio)
        self.edges += believed

    def drop(self, current: FloatArray) -> FloatArray:
        """Return in V what a current in A and the RC pairs add to the OCV now; NaN: not known."""
        if self._z is None:
            return np.full_like(current, np.nan)
        ohmic: FloatArray = self._tables.drop(self._z.r0 * self.ratio, current)[0]
        return ohmic + self.pairs.sum(axis=0)

    def at(self, soc: float = 0.5, temperature: float = 25.0) -> FloatArray:
        """Return the resistance R0 in Ohm of each cell at a reference: 25 degC and half full."""
        z = self._tables.impedance(np.array([soc]), np.array([temperature]))
        return self.health * float(z.r0[0])

    def now(self, soc: FloatArray, temperature: FloatArray) -> FloatArray:
        """Return the ohmic resistance in Ohm of each cell where it is; NaN where not known."""
        known = np.isfinite(soc) & np.isfinite(temperature)
        place = np.clip(np.where(known, soc, 0.5), 0.0, 1.0)
        z = self._tables.impedance(place, np.where(known, temperature, 25.0))
        return np.where(known, self.ratio * z.r0, np.nan)

    def state(self) -> dict[str, FloatArray]:
        """Return what is to be kept, as arrays whose last axis is the cells."""
        return {name: getattr(self, name).copy() for name in _KEPT}

    def restore(self, state: dict[str, FloatArray]) -> None:
        """Take what `state` returned; ValueError for what it cannot have."""
        restore(self, state, _KEPT)


_KEPT = ('ratio', 'variance', 'health', 'edges', 'seen')
