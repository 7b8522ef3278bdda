# SPDX-License-Identifier: Apache-2.0
"""Power limits: what the pack allows a load or charger to do now, and what holds it back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Limit, Pack

from .measurements import CellData

FloatArray = npt.NDArray[np.float64]

HORIZONS = (2.0, 10.0, 30.0)  # s, of the peak limits
RAMP = 0.1  # 1/s: limits fall at once and come back by this share of nominal per second
# In a fast simulation that is a share per second of battery time, up to this much per second of
# wall time: the way from a measurement over the limits to the load takes wall time, and limits
# that come back fully within it swing between all and nothing.
FASTEST_RAMP = 0.8  # 1/s
# Derating ends at this share of the way from RSL to MSL, so that nothing flows before MSL trips.
ZERO_AT = 0.75
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


class _Slope:
    """Linear derating of one quantity between RSL and ZERO_AT on the way to MSL."""

    def __init__(self, key: str, limits: Mapping[Level, Limit], cells: bool, high: bool) -> None:
        self.name = key.upper()
        self.cells = cells  # of cells, or of temperature sensors
        self.high = high  # the highest value counts, or the lowest
        rsl, msl = limits[Level.RSL].at, limits[Level.MSL].at
        self._zero = rsl + ZERO_AT * (msl - rsl)
        self._width = self._zero - rsl  # negative for an under-quantity

    def factors(self, extremes: FloatArray) -> FloatArray:
        """Return the factor of every module, shape (modules,); 0 where nothing was measured."""
        with np.errstate(invalid='ignore'):
            factors = (self._zero - extremes) / self._width
        return np.clip(np.nan_to_num(factors, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)


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

        def slope(key: str, cells: bool, high: bool) -> _Slope:
            return _Slope(key, getattr(limits, key), cells, high)

        self._slopes = (
            (  # charging
                slope('cell_overvoltage', True, True),
                slope('overtemperature_charge', False, True),
                slope('undertemperature_charge', False, False),
            ),
            (  # discharging
                slope('cell_undervoltage', True, False),
                slope('overtemperature_discharge', False, True),
                slope('undertemperature_discharge', False, False),
            ),
        )
        self._currents = (limits.overcurrent_charge, limits.overcurrent_discharge)
        self._factors = np.zeros((2, len(pack.strings)))
        self._before: npt.NDArray[np.bool_] = np.zeros(
            len(pack.strings), dtype=bool
        )  # connected at the last update
        cells = [string.cells for string in pack.strings]
        self._charge_voltage = min(cells) * limits.cell_overvoltage[Level.MOL].at
        self._discharge_voltage = max(cells) * limits.cell_undervoltage[Level.MOL].at

    def update(
        self,
        data: CellData,
        losses: Sequence[Derating],
        connected: npt.NDArray[np.bool_],
        why_not: str,
        elapsed: float,
    ) -> PowerLimits:
        """Return the limits, `elapsed` s after the last ones.

        `losses` and `connected` are per string; `why_not` says why none is connected.
        """
        step = self._ramp * min(max(elapsed, 0.0), LONGEST_STEP)
        currents: list[float] = []
        peaks: list[tuple[float, ...]] = []
        reasons: list[str] = []
        for way, slopes in enumerate(self._slopes):
            target, modules = self._targets(slopes, data)
            target = target * [loss.factor for loss in losses]
            # A string that just joins takes up its limits at once: nobody was using them.
            rising = np.where(self._before, self._factors[way] + step, 1.0)
            ramped = self._factors[way] = np.minimum(target, rising)
            if not connected.any():
                factor, count, reason = 0.0, 0, why_not
            else:
                weakest = int(np.argmin(np.where(connected, ramped, np.inf)))
                factor, count = float(ramped[weakest]), int(connected.sum())
                reason = self._reason(
                    slopes, data, modules[weakest], losses[weakest], factor, target[weakest]
                )
            levels = self._currents[way]
            currents.append(factor * count * levels[Level.MOL].at)
            peaks.append(tuple(factor * count * _peak(levels, s) for s in HORIZONS))
            reasons.append(reason)
        self._before = connected.copy()
        return PowerLimits(
            currents[0], currents[1], self._charge_voltage, self._discharge_voltage,
            peaks[0], peaks[1], reasons[0], reasons[1],
        )  # fmt: skip

    def _targets(
        self, slopes: Sequence[_Slope], data: CellData
    ) -> tuple[FloatArray, list[tuple[int, int]]]:
        """Return per string the factor, and which slope and module hold it down."""
        factors = np.array([slope.factors(_extremes(slope, data)) for slope in slopes])
        worst = factors.min(axis=0)
        per_string = np.minimum.reduceat(worst, self._starts)
        where = []
        for start, string in zip(self._starts.tolist(), self._pack.strings, strict=True):
            module = start + int(np.argmin(worst[start : start + len(string.modules)]))
            where.append((int(np.argmin(factors[:, module])), module))
        return per_string, where

    def _reason(
        self,
        slopes: Sequence[_Slope],
        data: CellData,
        where: tuple[int, int],
        loss: Derating,
        factor: float,
        target: float,
    ) -> str:
        if factor >= 1.0:
            return ''
        slope, module = slopes[where[0]], self._pack.modules[where[1]]
        own = float(slope.factors(_extremes(slope, data)[where[1] : where[1] + 1])[0])
        if target < 1.0 and loss.factor <= own:
            return loss.reason
        if target < 1.0:
            return f'{slope.name} RSL {module.name}{self._element(slope, data, where[1])}'
        return f'coming back, {100 * RAMP:.0f} % per second'

    def _element(self, slope: _Slope, data: CellData, index: int) -> str:
        module = self._pack.modules[index]
        values = (
            data.voltages[module.cell_slice]
            if slope.cells
            else data.temperatures[module.temperature_slice]
        )
        if np.isnan(values).all():
            return ' not measured'
        element = int(np.nanargmax(values) if slope.high else np.nanargmin(values)) + 1
        return f' {"cell" if slope.cells else "sensor"} {element}'


def _extremes(slope: _Slope, data: CellData) -> FloatArray:
    if slope.cells:
        return data.voltage_high if slope.high else data.voltage_low
    return data.temperature_high if slope.high else data.temperature_low


def _peak(levels: Mapping[Level, Limit], horizon: float) -> float:
    """Return the current of one string in A that `horizon` s of it do not make a warning."""
    mol, rsl = levels[Level.MOL], levels[Level.RSL]
    return rsl.at if horizon <= mol.debounce else mol.at
