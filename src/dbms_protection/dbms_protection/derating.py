# SPDX-License-Identifier: Apache-2.0
"""Limits lowered by temperature tables and by what is estimated: SOC and power. Never raised."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Pack

from .limits import HORIZONS, NO_DERATING, Derating
from .measurements import CellData

FloatArray = npt.NDArray[np.float64]
Table = tuple[tuple[float, ...], tuple[float, ...]]

STALE = 5.0  # s, after which an estimate is not used any more
UNSURE = 0.2  # sigma of a SOC from which on it says nothing
CONTINUOUS = 30.0  # s, horizon of the power that the continuous limit keeps to
WAYS = ('charge', 'discharge')


class Estimates:
    """What estimation said last of a pack, as long as it is fresh. Times in s."""

    def __init__(self, pack: Pack) -> None:
        self._cells = pack.cells
        self._soc: FloatArray = np.full(pack.cells, np.nan)
        self._soc_at = self._power_at = -math.inf
        self._power: dict[float, tuple[float, float]] = {}

    def on_soc(self, soc: npt.ArrayLike, sigma: npt.ArrayLike, now: float) -> bool:
        """Take the SOC of all cells in pack order, 0..1; tell whether it could be used."""
        values, unsure = (np.asarray(x, dtype=np.float64) for x in (soc, sigma))
        if values.shape != (self._cells,) or unsure.shape != values.shape:
            return False
        with np.errstate(invalid='ignore'):
            good = (unsure >= 0.0) & (unsure <= UNSURE) & (values >= -0.1) & (values <= 1.1)
        self._soc, self._soc_at = np.where(good, values, np.nan), now
        return bool(good.any())

    def on_power(
        self, horizons: Sequence[float], charge: Sequence[float], discharge: Sequence[float],
        now: float,
    ) -> bool:  # fmt: skip
        """Take the currents of the pack in A per horizon in s; tell whether they could be used."""
        if not len(horizons) == len(charge) == len(discharge):
            return False
        rows = zip(horizons, charge, discharge, strict=True)
        self._power = {
            float(horizon): (_current(into), _current(out)) for horizon, into, out in rows
        }
        self._power_at = now
        return bool(self._power)

    def soc(self, now: float) -> FloatArray:
        """Return the SOC of all cells; NaN: not known, not sure, or too old."""
        fresh = 0.0 <= now - self._soc_at <= STALE
        return self._soc if fresh else np.full(self._cells, np.nan)

    def current(self, way: int, horizon: float, now: float) -> float:
        """Return the current of the pack in A for a horizon in s; NaN: not known or too old."""
        if not 0.0 <= now - self._power_at <= STALE:
            return math.nan
        longer = [known for known in self._power if known >= horizon - 1e-3]
        return self._power[min(longer)][way] if longer else math.nan


class Derater:
    """Factors on the limits of each string by the pack's `derating`; way 0 charge, 1 discharge."""

    def __init__(self, pack: Pack, estimates: Estimates) -> None:
        self._pack = pack
        self._rules = pack.limits.derating
        self._estimates = estimates
        limits = pack.limits
        self._nominal = [
            levels[Level.MOL].at
            for levels in (limits.overcurrent_charge, limits.overcurrent_discharge)
        ]
        self.news: list[str] = []  # what of the estimation came or went
        self._missing: set[str] = set()

    def factors(self, way: int, data: CellData, now: float) -> list[Derating]:
        """Return per string what lowers its limit most."""
        rules = self._rules
        if rules is None:
            return [NO_DERATING] * len(self._pack.strings)
        word, found = WAYS[way], []
        soc = self._estimates.soc(now)
        power = self._estimates.current(way, CONTINUOUS, now) if rules.power else math.nan
        self._say('SOC', bool(rules.soc[way]) and bool(np.isnan(soc).all()))
        self._say(f'power to {word}', rules.power and math.isnan(power))
        of_string = power / (len(self._pack.strings) * self._nominal[way])
        for string in self._pack.strings:
            worst = NO_DERATING
            if math.isfinite(of_string):
                worst = _lower(worst, of_string, f'power estimated for {CONTINUOUS:.0f} s')
            worst = self._by_soc(worst, rules.soc[way], soc[string.cell_slice], way)
            where = slice(string.temperature_slice.start, string.temperature_slice.stop)
            values = data.temperatures[where].astype(np.float64)
            found.append(_by_temperature(worst, rules.temperature[way], values))
        return found

    def peaks(self, way: int, strings: int, now: float) -> tuple[float, ...]:
        """Return the most in A that `strings` of the pack can do per horizon; inf: unknown."""
        if self._rules is None or not self._rules.power:
            return (math.inf,) * len(HORIZONS)
        share = strings / len(self._pack.strings)
        known = [self._estimates.current(way, horizon, now) * share for horizon in HORIZONS]
        return tuple(math.inf if math.isnan(value) else value for value in known)

    def _by_soc(self, worst: Derating, table: Table | None, soc: FloatArray, way: int) -> Derating:
        if table is None or np.isnan(soc).all():
            return worst
        counts = float(np.nanmax(soc) if way == 0 else np.nanmin(soc))
        word = 'highest' if way == 0 else 'lowest'
        return _lower(worst, _interp(counts, table), f'{word} SOC {100.0 * counts:.1f} %')

    def _say(self, what: str, missing: bool) -> None:
        """Note when an estimate that limits go by comes or goes."""
        if missing == (what in self._missing):
            return
        self._missing ^= {what}
        without = 'limits go without it' if missing else 'limits go by it'
        self.news.append(f'estimated {what} {"is missing" if missing else "is there"}: {without}')


def _by_temperature(worst: Derating, table: Table | None, values: FloatArray) -> Derating:
    known = values[np.isfinite(values)]
    if table is None or not known.size:
        return worst  # a sensor that is missing derates by itself
    for celsius in (float(known.min()), float(known.max())):
        worst = _lower(worst, _interp(celsius, table), f'temperature {celsius:.1f} degC')
    return worst


def _interp(value: float, table: Table) -> float:
    return float(np.interp(value, *table))


def _lower(worst: Derating, factor: float, reason: str) -> Derating:
    factor = min(max(factor, 0.0), 1.0)
    return Derating(factor, reason) if factor < worst.factor else worst


def _current(value: float) -> float:
    return float(value) if math.isfinite(value) and value >= 0.0 else math.nan
