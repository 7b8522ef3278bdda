# SPDX-License-Identifier: Apache-2.0
"""What current and power each cell can give and take, for some seconds and continuously.

A constant current is looked for that brings the cell to a limit just at the end of the horizon:
to its lowest or highest voltage, by the circuit with its RC pairs as they are charged now, or to
the end of its SOC. It is Plett's improved HPPC method (IEEE Trans. Veh. Technol. 53, 2004) with
the OCV table in place of its slope: the root is found by a Newton search that is kept in a
bracket, for all cells, horizons and both directions at once. The RC pairs may stand worse at the
first moment of a pulse than at its end; that moment has its own limit.

Everything not known counts against the load: SOC, resistance, capacity and voltage are taken off
by `sigmas` of their sigma.
"""

from copy import copy
from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .ecm import CellTables

CONTINUOUS = 600.0  # s: by then the RC pairs stand still; asked anew every second
HORIZONS = (2.0, 10.0, 30.0, CONTINUOUS)
CHARGE, DISCHARGE = 0, 1
_SIGNS = np.array([1.0, -1.0])[:, None, None]
_ROUNDS = 14
_SHORT = 60.0  # s, up to which the SOC moves so little that one look at the way is enough
_PIECES = 6  # of a longer way
_EXACT = 5e-4  # V, to which a limit is met


@dataclass(frozen=True)
class CellsNow:
    """What is known of the cells; arrays of the shape (n,), NaN where not known."""

    soc: FloatArray
    soc_sigma: FloatArray
    ocv: FloatArray  # V, at rest as it would be now
    ocv_sigma: FloatArray
    v1: FloatArray  # V, of the RC pairs
    v2: FloatArray
    hysteresis: FloatArray  # -1..1
    temperature: FloatArray  # degC
    capacity: FloatArray  # Ah
    capacity_sigma: FloatArray  # share of it
    resistance: FloatArray  # ratio to the tables
    resistance_sigma: FloatArray


@dataclass(frozen=True)
class Bounds:
    """What cells and string may be put to. Currents are magnitudes in A."""

    voltage_min: float
    voltage_max: float
    charge_current: float
    discharge_current: float
    soc_min: float = 0.0
    soc_max: float = 1.0


@dataclass(frozen=True)
class CellPower:
    """Limits of each cell; arrays of the shape (2, horizons, n), first charge, then discharge."""

    current: FloatArray  # A, magnitude; NaN where it is not known
    begin: FloatArray  # V, at the first moment of that current
    end: FloatArray  # V, at its end
    resistance: FloatArray  # Ohm, by which `end` changes with the current


def cell_power(
    tables: CellTables,
    cells: CellsNow,
    bounds: Bounds,
    horizons: tuple[float, ...] = HORIZONS,
    sigmas: float = 2.0,
) -> CellPower:
    """Return what each cell can do for each of `horizons` s, which ascend."""
    known = np.isfinite(np.stack(list(vars(cells).values()))).all(axis=0)
    filled = CellsNow(**{k: np.where(known, v, _HARMLESS[k]) for k, v in vars(cells).items()})
    times = np.array(horizons)
    parts = (times[times <= _SHORT], 1), (times[times > _SHORT], _PIECES)
    searches = [
        (_Search(tables, filled, bounds, part, sigmas, pieces), len(part))
        for part, pieces in parts
        if len(part)
    ]

    def whole(pieces: list[FloatArray]) -> FloatArray:
        shaped = [v.reshape(2, count, -1) for v, (_, count) in zip(pieces, searches, strict=True)]
        return np.concatenate(shaped, axis=1)

    current = np.minimum.accumulate(whole([search.run() for search, _ in searches]), axis=1)
    ends, begins, first = [], [], 0
    for search, count in searches:
        own = current[:, first : first + count].ravel()
        begins.append(search.begin(own)[0])
        ends.append(search.end(own))
        first += count
    unknown = np.where(known, 0.0, np.nan)
    end, resistance = (whole(list(v)) + unknown for v in zip(*ends, strict=True))
    return CellPower(current + unknown, whole(begins) + unknown, end, resistance)


_HARMLESS = {
    'soc': 0.5, 'soc_sigma': 0.0, 'ocv': 0.0, 'ocv_sigma': 0.0, 'v1': 0.0, 'v2': 0.0,
    'hysteresis': 0.0, 'temperature': 25.0, 'capacity': 1.0, 'capacity_sigma': 0.0,
    'resistance': 1.0, 'resistance_sigma': 0.0,
}  # fmt: skip


class _Search:
    """The voltages of pulses over their current.

    A lane is a pulse: a direction, a horizon and a cell, in that order. Arrays are (lanes,).
    """

    def __init__(
        self,
        tables: CellTables,
        cells: CellsNow,
        bounds: Bounds,
        horizons: FloatArray,
        sigmas: float,
        pieces: int,
    ) -> None:
        shape = (2, len(horizons), len(cells.soc))

        def lanes(values: FloatArray) -> FloatArray:
            return np.ascontiguousarray(np.broadcast_to(values, shape)).ravel()

        def either(charge: float, discharge: float) -> FloatArray:
            return lanes(np.array([charge, discharge])[:, None, None])

        self._tables, self._pieces = tables, pieces
        self._sign, self._horizon = lanes(_SIGNS), lanes(horizons[None, :, None])
        self._temperature = lanes(cells.temperature)
        self._soc = lanes(np.clip(cells.soc + _SIGNS * sigmas * cells.soc_sigma, 0.0, 1.0))
        self._ocv = lanes(cells.ocv + _SIGNS * sigmas * cells.ocv_sigma)
        self._v1, self._v2 = lanes(cells.v1), lanes(cells.v2)
        worse = np.minimum(sigmas * cells.capacity_sigma, 0.5)
        per_amp = horizons[None, :, None] / (3600.0 * cells.capacity * (1 - worse))
        self._per_amp = lanes(per_amp)  # SOC
        self._resistance = lanes(cells.resistance + sigmas * cells.resistance_sigma)
        self._hysteresis = lanes(cells.hysteresis)
        self._limit = either(bounds.voltage_max, bounds.voltage_min)
        left = self._sign * (either(bounds.soc_max, bounds.soc_min) - self._soc)
        most = either(bounds.charge_current, bounds.discharge_current)
        self._most = np.minimum(np.maximum(left, 0.0) / self._per_amp, most)
        self._level = self._ocv - self._table(self._soc, np.zeros_like(self._soc))[0]
        self._r0 = tables.impedance(self._soc, self._temperature).r0 * self._resistance

    def only(self, lanes: np.ndarray) -> '_Search':
        """Return the search of these lanes alone, by a mask."""
        part = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(part, name, value[lanes])
        return part

    def _table(self, soc: FloatArray, gained: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the OCV in V with its hysteresis, and its slope, after `gained` of SOC."""
        ocv, slope = self._tables.ocv(soc, self._temperature)
        turned = self._tables.turned(self._hysteresis, gained)
        return ocv + self._tables.hysteresis(soc) * turned, slope

    def run(self) -> FloatArray:
        """Return the largest current that keeps all limits, magnitudes."""
        found: FloatArray = np.zeros(len(self._soc))
        open_: np.ndarray = np.arange(len(found))  # lanes that are not found yet
        part: _Search = self
        low, high = found.copy(), self._most
        current = high.copy()
        for _ in range(_ROUNDS):
            worst, slope = part._worst(current)
            room = part._sign * (part._limit - worst)
            fits = room >= -_EXACT
            low = np.where(fits, np.maximum(low, current), low)
            high = np.where(fits, high, np.minimum(high, current))
            found[open_] = low
            more = ~((np.abs(room) <= _EXACT) | (high - low <= 1e-4 * (1.0 + low)))
            if not more.any():
                break
            step = current + room / slope
            # Where Newton would leave the bracket, halve it.
            current = np.where((step > low) & (step < high), step, 0.5 * (low + high))
            if not more.all():  # what one cell can do does not depend on its company
                part, open_ = part.only(more), open_[more]
                low, high, current = low[more], high[more], current[more]
        return found

    def _worst(self, current: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the voltage nearest to its limit on the way, and its slope in Ohm."""
        worst, slope = self.begin(current)
        for voltage, steeper in self._way(current):
            nearer = self._sign * (voltage - worst) > 0
            worst, slope = np.where(nearer, voltage, worst), np.where(nearer, steeper, slope)
        return worst, slope

    def begin(self, current: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the voltage at the first moment of a current (magnitude), and its slope."""
        ohmic, slope = self._tables.drop(self._r0, self._sign * current)
        return self._ocv + self._v1 + self._v2 + ohmic, slope

    def end(self, current: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the voltage at the end of a current (magnitude), and its slope."""
        return self._way(current)[-1]

    def _way(self, current: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """Return voltage and slope in Ohm at the end of each piece of the way."""
        way = []
        pairs = [self._v1, self._v2]
        signed = self._sign * current
        slopes = [np.zeros(1), np.zeros(1)]
        gained = signed * self._per_amp
        for piece in range(self._pieces):
            middle, until = (piece + 0.5) / self._pieces, (piece + 1) / self._pieces
            z = self._tables.impedance(self._soc + gained * middle, self._temperature)
            for pair, (r, tau) in enumerate(((z.r1, z.tau1), (z.r2, z.tau2))):
                kept = np.exp(-self._horizon / (self._pieces * tau))
                answer = r * self._resistance * (1 - kept)
                pairs[pair] = kept * pairs[pair] + answer * signed
                slopes[pair] = kept * slopes[pair] + answer
            soc = np.clip(self._soc + gained * until, 0.0, 1.0)
            ocv, rise = self._table(soc, gained * until)
            r0 = self._tables.impedance(soc, self._temperature).r0 * self._resistance
            ohmic, slope = self._tables.drop(r0, signed)
            slope = slope + slopes[0] + slopes[1] + np.maximum(rise, 0.0) * self._per_amp * until
            way.append((self._level + ocv + pairs[0] + pairs[1] + ohmic, slope))
        return way


@dataclass(frozen=True)
class GroupPower:
    """Limits of a string or the pack; arrays of the shape (2, horizons)."""

    current: FloatArray  # A, magnitude, NaN where it is not known
    power: FloatArray  # W, magnitude
    voltage: FloatArray  # V, where the power is least: end of discharge, begin of charge
    cell: np.ndarray  # index in the pack of the cell that limits it; -1: none does
    end: FloatArray  # V, at the end of that current
    resistance: FloatArray  # Ohm, by which `end` changes with the current


def string_power(
    power: CellPower, cells: slice, factor: FloatArray, most: FloatArray
) -> GroupPower:
    """Return what cells in series can do together; NaN if one of them is not known.

    factor: (2,), 0..1, what temperature leaves; most: (2,) A, of the string.
    """
    current = power.current[..., cells]
    weakest = np.argmin(np.where(np.isnan(current), -1.0, current), axis=-1)
    least = current.min(axis=-1)
    allowed = np.minimum(least, most[:, None]) * factor[:, None]
    limiting = np.where(least < most[:, None], weakest + cells.start, -1)
    less = _SIGNS * (
        allowed[..., None] - current
    )  # each cell is loaded by less than it could take
    resistance = power.resistance[..., cells]
    end = (power.end[..., cells] + less * resistance).sum(axis=-1)
    begin = (power.begin[..., cells] + less * resistance[:, :1]).sum(axis=-1)
    # What is promised holds from the first to the last moment of the pulse.
    voltage = np.stack([np.minimum(begin, end)[0], end[1]])
    return GroupPower(allowed, allowed * voltage, voltage, limiting, end, resistance.sum(axis=-1))


def parallel_power(strings: list[GroupPower]) -> GroupPower:
    """Return what strings in parallel can do: they share by their resistance, not as they like.

    The first to reach its limit ends it for all. NaN without a string.
    """
    if len(strings) == 1:
        return strings[0]
    if not strings:
        unknown = np.full((2, len(HORIZONS)), np.nan)
        nobody = np.full(unknown.shape, -1)
        return GroupPower(unknown, unknown, unknown, nobody, unknown, unknown)
    sign = _SIGNS[..., 0]
    end = np.stack([s.end for s in strings])
    resistance = np.stack([s.resistance for s in strings])
    source = end - sign * np.stack([s.current for s in strings]) * resistance
    # The bus stands at the voltage of the string that is at its limit first.
    bus = np.stack([end[:, 0].min(axis=0), end[:, 1].max(axis=0)])
    shares = sign * (bus - source) / resistance
    current = np.minimum.accumulate(np.maximum(shares.sum(axis=0), 0.0), axis=1)
    voltage = np.stack([s.voltage for s in strings])
    lowest = np.stack([voltage[:, 0].min(axis=0), bus[1]])
    first = np.stack([end[:, 0].argmin(axis=0), end[:, 1].argmax(axis=0)])
    cell = np.take_along_axis(np.stack([s.cell for s in strings]), first[None], axis=0)[0]
    power = np.minimum.accumulate(current * lowest, axis=1)
    return GroupPower(current, power, lowest, cell, bus, 1 / (1 / resistance).sum(axis=0))
