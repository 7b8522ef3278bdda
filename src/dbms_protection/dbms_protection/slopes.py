# SPDX-License-Identifier: Apache-2.0
"""How much of the nominal current each module stands, by its worst cell or sensor."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Pack

from .measurements import CellData
from .quantity import Quantity

FloatArray = npt.NDArray[np.float64]

# Derating ends at this share of the way from RSL to MSL, so that nothing flows before MSL trips.
ZERO_AT = 0.75
# Cell voltages without the drop of the current are smoothed over this time: their noise would
# shake the limits.
SMOOTHING = 0.3  # s
# Resistances of a cell below this SOC are too high to be typical.
TYPICAL_SOC = 0.1


class Resistances:
    """Resistance of the cell positions of each module by a temperature, ohmic or all of it."""

    def __init__(self, pack: Pack, ohmic: bool = False) -> None:
        cell = pack.cell
        typical = cell.socs >= min(TYPICAL_SOC, float(cell.socs.max()))
        total = (cell.r0 if ohmic else cell.r0 + cell.r1 + cell.r2)[:, typical] / pack.parallel
        self._temperatures = cell.temperatures
        self._ohms = np.median(total, axis=1)

    def of(self, celsius: FloatArray, warmest: bool = False) -> FloatArray:
        """Return the resistance in Ohm at temperatures in degC; not known: coldest or warmest."""
        unknown = self._temperatures[-1 if warmest else 0]
        known = np.where(np.isfinite(celsius), celsius, unknown)
        return np.interp(known, self._temperatures, self._ohms)


class Slope:
    """Linear derating of one quantity between RSL and ZERO_AT on the way to MSL.

    A cell voltage moves with the current that is to be limited. What counts is therefore the
    voltage that it would have at the limit: the measured one, less the drop of the present
    current, plus the drop of the limit. So the limit does not depend on how much of it is used,
    and loads that follow it do not make it swing.
    """

    def __init__(self, quantity: Quantity, cells: bool, nominal: float) -> None:
        self.name = quantity.name
        self.cells = cells  # of cells, or of temperature sensors
        self.high = not quantity.under  # the highest value counts, or the lowest
        self._quantity = quantity
        self._nominal = nominal if self.high else -nominal  # A, signed
        self._smooth: FloatArray = np.full(len(quantity.groups), np.nan)
        # 0..1 per module, as updated last
        self.factors: FloatArray = np.zeros(len(quantity.groups))

    def update(self, data: CellData, currents: FloatArray, ohms: FloatArray, dt: float) -> None:
        """Calculate the factors of all modules; `currents` per module in A, NaN not known."""
        rsl = self._quantity.at(Level.RSL)
        zero = rsl + ZERO_AT * (self._quantity.at(Level.MSL) - rsl)
        values, width = self.extremes(data), zero - rsl
        if self.cells:
            values = self._without_drop(values, currents * ohms, dt)
            width = width + self._nominal * ohms
        with np.errstate(invalid='ignore'):
            factors = (zero - values) / width
        self.factors = np.minimum(np.fmax(factors, 0.0), 1.0)  # what is not known stands nothing

    def _without_drop(self, values: FloatArray, drop: FloatArray, dt: float) -> FloatArray:
        """Return the voltages without the drop of the current, smoothed."""
        careful = np.fmax if self.high else np.fmin
        before = self._smooth
        # With no current known it is not known which way the drop goes: not better than before.
        plain = np.where(np.isnan(drop), careful(values, before), values - drop)
        share = -math.expm1(-max(dt, 0.0) / SMOOTHING)
        smooth = np.where(np.isnan(before), plain, before + share * (plain - before))
        self._smooth = np.where(np.isnan(plain), before, smooth)
        return self._smooth

    def extremes(self, data: CellData) -> FloatArray:
        """Return the value of each module that counts, shape (modules,)."""
        if self.cells:
            bridged = data.bridged_high if self.high else data.bridged_low
            plain = data.voltage_high if self.high else data.voltage_low
            return np.where(np.isnan(bridged), plain, bridged)
        return data.temperature_high if self.high else data.temperature_low

    def element(self, data: CellData, where: slice) -> str:
        """Name the cell or sensor of a module that counts."""
        values = (data.voltages if self.cells else data.temperatures)[where]
        if np.isnan(values).all():
            return ' not measured'
        number = int(np.nanargmax(values) if self.high else np.nanargmin(values)) + 1
        return f' {"cell" if self.cells else "sensor"} {number}'


class TerminalVoltage:
    """Voltage limit of the pack, so that its most extreme cell stays within MOL.

    Cells of a string differ: with the highest a little above the mean, the string has to stay
    that much below `cells x MOL`, and likewise at the low end. Falls at once, comes back slowly.

    A charger goes up to its limit and stays there: that limit keeps off MOL by its hysteresis, so
    that noise warns nobody, and a warning that stands goes.
    """

    RETURN = 0.001  # V per cell and s

    def __init__(self, pack: Pack, high: bool) -> None:
        levels = pack.limits.cell_overvoltage if high else pack.limits.cell_undervoltage
        self._sign = 1.0 if high else -1.0
        mol = levels[Level.MOL]
        self._end = mol.at - mol.hysteresis if high else mol.at
        self._slices: Sequence[slice] = [string.cell_slice for string in pack.strings]
        self._series = pack.strings[0].cells
        self._margin = 0.0  # V per cell

    def update(self, data: CellData, dt: float) -> float:
        """Return the limit in V; a missing cell changes nothing for the better."""
        wanted = 0.0
        for where in self._slices:
            values = data.voltages[where].astype(np.float64) * self._sign
            margin = float(values.max() - values.mean())
            wanted = max(wanted, self._margin if math.isnan(margin) else margin)
        self._margin = max(wanted, self._margin - self.RETURN * max(dt, 0.0))
        return self._series * (self._end - self._sign * self._margin)
