# SPDX-License-Identifier: Apache-2.0
"""Moments at which the voltage alone tells the SOC of a cell, and the pairs between them.

The SOC here is that of the OCV table at the voltage less what current and memory of the cell add
to it: R0, two RC pairs and hysteresis, all driven by the counted charge. Neither the SOC of the
filter nor the capacity takes part, so a capacity learnt from the pairs does not confirm what was
assumed. (The filter's SOC only says where in the impedance table the cell is.)

What is not known about that voltage becomes a sigma of the SOC: small where the OCV is steep and
the cell has rested, large on the flat part of LFP, so that no such moment is an anchor there. One
part, `fixed`, is an error of the table and is the same next time.
"""

from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .arrays import restore
from .ecm import CellTables
from .soh import Pairs

_FIELDS = 7  # of an anchor: SOC, its sigmas, and what was counted until then
_SOC, _WHITE, _FIXED, _CHARGE, _TIME, _BLIND, _MOVED = range(_FIELDS)


@dataclass(frozen=True)
class AnchorOptions:
    """What is assumed about the voltage of a cell that is nearly at rest."""

    sigma: float = 0.025  # of an SOC that is good enough to be an anchor
    window: float = 0.2  # least change of SOC between two anchors of a pair
    count: float = 20.0  # the same in sigmas
    voltage_noise: float = 0.002  # V
    model_error: float = 0.010  # V, where the cell file does not tell
    table_share: float = 0.3  # how much of the model error is one of the OCV table
    lasting: float = 0.5  # part of the variance of table and hysteresis that no average ends
    hysteresis_error: float = 0.3  # of half the gap between the OCVs of both directions
    drop_error: float = 0.15  # relative, of what current and RC pairs add to the voltage
    tail: float = 0.15  # of R * current of the last hour: what two RC pairs do not know
    tail_time: float = 1800.0  # s
    unknown_current: float = 1.0  # in units of capacity per hour, where none is measured
    moved: float = 0.01  # change of SOC after which an anchor is left behind
    better: float = 0.8  # of the sigma of the anchor before: worth to wait for in a rest


class Anchors:
    """Finds anchors of n cells, from a slow succession of readings."""

    def __init__(
        self,
        tables: CellTables,
        cells: int,
        capacity: float,
        options: AnchorOptions | None = None,
    ) -> None:
        """Take the rated capacity in Ah."""
        self.options = options or AnchorOptions()
        self._tables = tables
        self._capacity = capacity
        # Counted since the beginning: charge in shares of the rated capacity at 25 degC, h,
        # h without a measured current, charge without what may be the sensor's offset.
        self.counted = np.zeros((4, cells))
        self.polarisation = np.zeros((4, cells))  # V, V, hysteresis -1..1, slow mean current in A
        self.settled: FloatArray = np.zeros(cells)  # s since the polarisation was not known
        self.last = np.full((_FIELDS, cells), np.nan)  # the anchor that a pair begins at
        self.first_here = np.full((_FIELDS, cells), np.nan)  # best and earliest of this rest
        self.last_here = np.full((_FIELDS, cells), np.nan)  # as good, and latest

    def step(
        self,
        dt: FloatArray,
        charge: FloatArray,
        blind: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        temperature: FloatArray,
        soc: FloatArray,
        resistance: FloatArray,
        offset: FloatArray,
        offset_sigma: FloatArray,
    ) -> Pairs:
        """Take what happened in `dt` s and return the pairs that were completed.

        charge As, blind s without a measured current, voltage V and current A at the end, NaN:
        not measured; temperature degC; soc: roughly, for the impedance; resistance: ratio to that
        of the cell file; offset, offset_sigma: of the current sensor, in shares of the capacity
        per h. A cell with dt <= 0 is left as it is.
        """
        known = np.isfinite(soc) & np.isfinite(dt) & (dt > 0) & np.isfinite(charge)
        dt, charge, blind = (np.where(known, x, 0.0) for x in (dt, charge, blind))
        warm = np.where(np.isfinite(temperature), temperature, 25.0)
        place = np.clip(np.where(known, soc, 0.5), 0.0, 1.0)
        z = self._tables.impedance(place, warm)
        share = charge / 3600.0 / (self._capacity * self._tables.capacity(warm))
        # What may be the offset of the sensor at rest turns no hysteresis and leaves no anchor.
        moved = share - offset * dt / 3600.0
        moved = np.where(np.abs(moved) > 2 * offset_sigma * dt / 3600.0, moved, 0.0)
        self.counted += np.stack([share, dt / 3600.0, blind / 3600.0, moved])
        self._polarise(z, resistance, dt, charge, moved, blind)
        now = self._now(z, resistance, voltage, current, warm, place)
        usable = known & np.isfinite(now[_SOC]) & np.isfinite(temperature)
        usable &= np.hypot(now[_WHITE], now[_FIXED]) <= self.options.sigma
        pairs = self._leave(offset_sigma)
        self._keep(now, usable)
        return pairs

    def _polarise(
        self,
        z: tuple[FloatArray, ...],
        resistance: FloatArray,
        dt: FloatArray,
        charge: FloatArray,
        moved: FloatArray,
        blind: FloatArray,
    ) -> None:
        _, r1, tau1, r2, tau2 = z
        v1, v2, hysteresis, slow = self.polarisation
        current = charge / np.maximum(dt, 1e-12)
        for v, r, tau in ((v1, r1, tau1), (v2, r2, tau2)):
            v += (r * resistance * current - v) * (1 - np.exp(-dt / tau))
        slow += (current - slow) * (1 - np.exp(-dt / self.options.tail_time))
        hysteresis[:] = self._tables.turned(hysteresis, moved)
        self.settled = np.where(blind > 0, 0.0, self.settled + dt)

    def _now(
        self,
        z: tuple[FloatArray, ...],
        resistance: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        temperature: FloatArray,
        place: FloatArray,
    ) -> FloatArray:
        options, tables = self.options, self._tables
        r0, r1, _, r2, tau2 = z
        v1, v2, hysteresis, slow = self.polarisation
        ohmic = tables.drop(r0 * resistance, current)[0]
        rest = voltage - ohmic - v1 - v2
        ocv = np.where(np.isfinite(rest), rest, tables.ocv(place, temperature)[0])
        soc = tables.soc(ocv, temperature)
        for _ in range(2):
            soc = tables.soc(ocv - tables.hysteresis(soc) * hysteresis, temperature)
        total = (r0 + r1 + r2) * resistance
        drop = np.abs(ohmic) + np.abs(v1) + np.abs(v2)
        # Before the current was known the RC pairs may have held as much as it could have made.
        past = np.exp(-self.settled / tau2) * (r1 + r2) * options.unknown_current * self._capacity
        white = np.stack(
            [
                np.full_like(drop, options.voltage_noise),
                options.drop_error * drop,
                options.tail * total * np.abs(slow),
                past * resistance,
            ]
        )
        gap = options.hysteresis_error * tables.hysteresis(soc)
        error = tables.model_error(temperature, options.model_error, np.clip(soc, 0, 1))
        table = np.square(options.table_share * error) + np.square(gap)
        # The next pair begins and ends at other SOCs, where a part of the error is another one.
        fixed = np.sqrt(options.lasting * table)
        own = np.sqrt(np.square(white).sum(axis=0) + (1 - options.lasting) * table)
        own, fixed = np.nan_to_num(own, nan=1e3), np.nan_to_num(fixed, nan=1e3)
        ocv = tables.ocv(np.clip(soc, 0, 1))[0]
        widths = [
            np.maximum(0.5 * (tables.soc(ocv + e) - tables.soc(ocv - e)), 1e-4)
            for e in (own, fixed)
        ]
        # At the edges of the table the SOC ends but the error does not.
        slope = np.maximum(tables.ocv(np.clip(soc, 0, 1))[1], 1e-3)
        own, fixed = (np.maximum(w, 0.7 * e / slope) for w, e in zip(widths, (own, fixed),
                                                                    strict=True))  # fmt: skip
        return np.stack([np.where(np.isfinite(rest), soc, np.nan), own, fixed, *self.counted])

    def _leave(self, offset_sigma: FloatArray) -> Pairs:
        """Complete the pairs of the cells that have moved away from where they rested."""
        options, first, last = self.options, self.first_here, self.last
        left = np.abs(self.counted[3] - self.last_here[_MOVED]) > options.moved
        soc, _, _, charge, time, blind, _ = first - last
        white = np.sqrt(
            np.square(first[_WHITE])
            + np.square(last[_WHITE])
            + np.square(options.unknown_current * blind)
        )
        fixed = np.hypot(first[_FIXED], last[_FIXED])
        size = np.abs(soc)
        long = left & (size >= options.window) & (size >= options.count * np.hypot(white, fixed))
        # Too short a way: the better of both is where the next pair begins. The older one is
        # spoilt by what the offset of the sensor may have counted since.
        older = np.square(last[_WHITE]) + np.square(last[_FIXED])
        older += np.square(offset_sigma * time) + np.square(options.unknown_current * blind)
        newer = np.square(self.last_here[_WHITE]) + np.square(self.last_here[_FIXED])
        taken = left & (long | ~(older <= newer))
        self.last[:, taken] = self.last_here[:, taken]
        self.first_here[:, left] = np.nan
        self.last_here[:, left] = np.nan
        return Pairs(*(np.where(long, x, np.nan) for x in (soc, charge, white, fixed, time)))

    def _keep(self, now: FloatArray, usable: np.ndarray) -> None:
        """Note this moment at the cells where it is one of the best of its rest."""
        own = np.hypot(now[_WHITE], now[_FIXED])
        best = np.hypot(self.first_here[_WHITE], self.first_here[_FIXED])
        better = usable & ~(own > self.options.better * best)
        self.first_here[:, better] = now[:, better]
        as_good = usable & (better | (own <= best))
        self.last_here[:, as_good] = now[:, as_good]

    def away(self, seconds: float) -> None:
        """Take note of a time in which nothing was heard and no load was connected.

        With NaN it is not known how long, or what flowed: the anchors are given up.
        """
        if not np.isfinite(seconds) or seconds < 0:
            for anchor in (self.last, self.first_here, self.last_here):
                anchor[:] = np.nan
            self.settled[:] = 0.0
            return
        self.polarisation[3] *= np.exp(-seconds / self.options.tail_time)
        self.polarisation[:2] *= np.exp(-seconds / self.options.tail_time)
        self.settled += seconds
        self.counted[1] += seconds / 3600.0

    def state(self) -> dict[str, FloatArray]:
        """Return what is to be kept, as arrays whose last axis is the cells."""
        return {name: getattr(self, name).copy() for name in _KEPT}

    def restore(self, state: dict[str, FloatArray]) -> None:
        """Take what `state` returned; ValueError for what it cannot have."""
        restore(self, state, _KEPT, nan=True)


_KEPT = ('counted', 'polarisation', 'settled', 'last', 'first_here', 'last_here')
