# SPDX-License-Identifier: Apache-2.0
"""Power limits: what the pack allows a load or charger to do now, and what holds it back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Limit, Pack

from .measurements import CellData
from .slopes import Resistances, Slope, TerminalVoltage
from .soa import SafeOperatingArea

FloatArray = npt.NDArray[np.float64]

HORIZONS = (2.0, 10.0, 30.0)  # s, of the peak limits
RAMP = 0.1  # 1/s: limits fall at once and come back by this share of nominal per second
# In a fast simulation that is a share per second of battery time, up to this much per second of
# wall time: the way from a measurement over the limits to the load takes wall time, and limits
# that come back fully within it swing between all and nothing.
FASTEST_RAMP = 0.8  # 1/s
# A step of time longer than this does not let limits leap up.
LONGEST_STEP = 1.0


@dataclass(frozen=True)
class PowerLimits:
    """What flows at most now. Currents in A, magnitudes; voltages in V; peaks per HORIZONS."""

    charge_current: float
    discharge_current: float
    charge_voltage: float
    discharge_voltage: float
    charge_peak: tuple[float, ...]
    discharge_peak: tuple[float, ...]
    charge_limited_by: str
    discharge_limited_by: str


@dataclass(frozen=True)
class Derating:
    """Factor 0..1 that a loss puts on all limits of one string, and what it is."""

    factor: float
    reason: str


NO_DERATING = Derating(1.0, '')


class LimitCalculator:
    """Limits of a pack from its cells, losses and connected strings.

    The current of strings in parallel divides by their resistances, about equally: the weakest
    string holds all of them back, so the pack may do (strings connected) x (least of a string).
    """

    def __init__(self, pack: Pack, time_scale: float = 1.0) -> None:
        self._pack = pack
        limits = pack.limits
        self._ramp = min(RAMP * time_scale, FASTEST_RAMP)
        counts = [len(string.modules) for string in pack.strings]
        self._starts = np.cumsum([0, *counts[:-1]])
        self._owner = np.repeat(np.arange(len(counts)), counts)
        self._currents = (limits.overcurrent_charge, limits.overcurrent_discharge)
        self._resistances = Resistances(pack)
        self._voltages = (TerminalVoltage(pack, True), TerminalVoltage(pack, False))
        self._factors = np.zeros((2, len(pack.strings)))
        self._before: npt.NDArray[np.bool_] = np.zeros(
            len(pack.strings), dtype=bool
        )  # connected at the last update
        self.follow(SafeOperatingArea(pack))

    def follow(self, area: SafeOperatingArea) -> None:
        """Take the limits in force from the quantities that are judged by them."""
        overvoltage, undervoltage = area.voltages
        charge, discharge = (levels[Level.MOL].at for levels in self._currents)
        self._area = area
        self._slopes = (
            (
                Slope(overvoltage, True, charge),
                *(Slope(quantity, False, 0.0) for quantity in area.charge_temperatures),
            ),
            (
                Slope(undervoltage, True, discharge),
                *(Slope(quantity, False, 0.0) for quantity in area.discharge_temperatures),
            ),
        )

    def update(
        self,
        data: CellData,
        losses: Sequence[Derating],
        connected: npt.NDArray[np.bool_],
        why_not: str,
        elapsed: float,
        flowing: Sequence[float] = (),
        lowered: Sequence[Sequence[Derating]] = (),
        most: Sequence[Sequence[float]] = (),
    ) -> PowerLimits:
        """Return the limits, `elapsed` s after the last ones.

        `losses`, `connected` and `flowing` (A, NaN not known) are per string; `why_not` says why
        none is connected. `lowered` holds per way (charge, discharge) what lowers each string
        besides, and `most` the A of each peak that the pack is good for.
        """
        step = self._ramp * min(max(elapsed, 0.0), LONGEST_STEP)
        per_string = np.array(flowing or [np.nan] * len(losses), dtype=np.float64)
        ohms = self._resistances.of(data.temperature_low)
        currents: list[float] = []
        peaks: list[tuple[float, ...]] = []
        reasons: list[str] = []
        for way, slopes in enumerate(self._slopes):
            for slope in slopes:
                slope.update(data, per_string[self._owner], ohms, elapsed)
            target, places = self._targets(slopes)
            target = target * [loss.factor for loss in losses]
            holding = list(losses)
            if lowered:
                less = np.array([derating.factor for derating in lowered[way]])
                for index in np.flatnonzero(less < target).tolist():
                    holding[index] = lowered[way][index]
                target = np.minimum(target, less)
            # A string that just joins takes up its limits at once: nobody was using them.
            rising = np.where(self._before, self._factors[way] + step, 1.0)
            ramped = self._factors[way] = np.minimum(target, rising)
            if not connected.any():
                factor, count, reason = 0.0, 0, why_not
            else:
                weakest = int(np.argmin(np.where(connected, ramped, np.inf)))
                factor, count = float(ramped[weakest]), int(connected.sum())
                reason = self._reason(
                    slopes, data, places[weakest], holding[weakest], factor, target[weakest]
                )
            levels, quiet = self._currents[way], self._no_peaks(way)
            currents.append(factor * count * levels[Level.MOL].at)
            ceiling = most[way] if most else (math.inf,) * len(HORIZONS)
            peaks.append(
                tuple(
                    min(factor * count * _peak(levels, math.inf if quiet else s), top)
                    for s, top in zip(HORIZONS, ceiling, strict=True)
                )
            )
            reasons.append(reason)
        self._before = connected.copy()
        charge, discharge = (voltage.update(data, elapsed) for voltage in self._voltages)
        return PowerLimits(
            currents[0], currents[1], charge, discharge, peaks[0], peaks[1], reasons[0], reasons[1]
        )

    def _no_peaks(self, way: int) -> bool:
        """Tell whether a string is beyond the RSL of its current: then there are no peaks."""
        quantity = self._area.currents[1 + way]
        return bool(quantity.active[quantity.levels.index(Level.RSL)].any())

    def _targets(self, slopes: Sequence[Slope]) -> tuple[FloatArray, list[tuple[int, int]]]:
        """Return per string the factor, and which slope and module hold it down."""
        factors = np.array([slope.factors for slope in slopes])
        worst = factors.min(axis=0)
        per_string = np.minimum.reduceat(worst, self._starts)
        where = []
        for start, string in zip(self._starts.tolist(), self._pack.strings, strict=True):
            module = start + int(np.argmin(worst[start : start + len(string.modules)]))
            where.append((int(np.argmin(factors[:, module])), module))
        return per_string, where

    def _reason(
        self,
        slopes: Sequence[Slope],
        data: CellData,
        where: tuple[int, int],
        loss: Derating,
        factor: float,
        target: float,
    ) -> str:
        if factor >= 1.0:
            return ''
        slope, module = slopes[where[0]], self._pack.modules[where[1]]
        own = float(slope.factors[where[1]])
        if target < 1.0 and loss.factor <= own:
            return loss.reason
        if target < 1.0:
            part = module.cell_slice if slope.cells else module.temperature_slice
            return f'{slope.name} RSL {module.name}{slope.element(data, part)}'
        return f'coming back, {100 * self._ramp:.0f} % per second'


def _peak(levels: Mapping[Level, Limit], horizon: float) -> float:
    """Return the current of one string in A that `horizon` s of it do not make a warning."""
    mol, rsl = levels[Level.MOL], levels[Level.RSL]
    return rsl.at if horizon <= mol.debounce else mol.at
