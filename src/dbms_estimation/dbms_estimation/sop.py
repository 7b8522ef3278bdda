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

from dataclasses import dataclass

import numpy as np

from dbms_pack.model import FloatArray

from .ecm import CellTables, Impedance

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
    parts = [times[times <= _SHORT], times[times > _SHORT]]
    searches = [
        _Search(tables, filled, bounds, part, sigmas, pieces)
        for part, pieces in zip(parts, (1, _PIECES), strict=True)
        if len(part)
    ]
    current = np.concatenate([search.run() for search in searches], axis=1)
    current = np.minimum.accumulate(current, axis=1)
    unknown = np.where(known, 0.0, np.nan)
    parted = np.split(current, [len(parts[0])], axis=1) if len(searches) == 2 else [current]
    pairs = list(zip(searches, parted, strict=True))
    begin = np.concatenate([search.begin(part)[0] for search, part in pairs], axis=1)
    ends = [search.end(part) for search, part in pairs]
    end, resistance = (np.concatenate(v, axis=1) for v in zip(*ends, strict=True))
    return CellPower(current + unknown, begin + unknown, end + unknown, resistance + unknown)


_HARMLESS = {
    'soc': 0.5, 'soc_sigma': 0.0, 'ocv': 0.0, 'ocv_sigma': 0.0, 'v1': 0.0, 'v2': 0.0,
    'hysteresis': 0.0, 'temperature': 25.0, 'capacity': 1.0, 'capacity_sigma': 0.0,
    'resistance': 1.0, 'resistance_sigma': 0.0,
}  # fmt: skip


class _Search:
    """The voltages of a pulse over its current; arrays (2, horizons, n)."""

    def __init__(
        self,
        tables: CellTables,
        cells: CellsNow,
        bounds: Bounds,
        horizons: FloatArray,
        sigmas: float,
        pieces: int,
    ) -> None:
        self._pieces = pieces
        self._tables, self._horizons = tables, horizons[None, :, None]
        self._shape = (2, len(horizons), len(cells.soc))
        self._temperature = self._spread(cells.temperature)
        self._soc = np.clip(cells.soc + _SIGNS * sigmas * cells.soc_sigma, 0.0, 1.0)
        self._ocv = cells.ocv + _SIGNS * sigmas * cells.ocv_sigma
        self._pairs = cells.v1, cells.v2
        worse = np.minimum(sigmas * cells.capacity_sigma, 0.5)
        self._per_amp = self._horizons / (3600.0 * cells.capacity * (1 - worse))  # SOC
        self._resistance = cells.resistance + sigmas * cells.resistance_sigma
        self._hysteresis = cells.hysteresis
        self._limit = np.array([bounds.voltage_max, bounds.voltage_min])[:, None, None]
        room = np.array([bounds.soc_max, bounds.soc_min])[:, None, None]
        most = np.array([bounds.charge_current, bounds.discharge_current])[:, None, None]
        left = np.maximum(_SIGNS * (room - self._soc), 0.0)
        self._most = np.minimum(left / self._per_amp, most)
        self._level = self._ocv - self._table(self._soc, 0.0)[0]

    def _spread(self, values: FloatArray) -> FloatArray:
        return np.broadcast_to(values, self._shape)

    def _table(self, soc: FloatArray, gained: FloatArray | float) -> tuple[FloatArray, FloatArray]:
        """Return the OCV in V with its hysteresis, and its slope, after `gained` of SOC."""
        flat = self._spread(soc).ravel()
        ocv, slope = self._tables.ocv(flat, self._temperature.ravel())
        turned = self._tables.turned(
            self._spread(self._hysteresis).ravel(), self._spread(np.asarray(gained)).ravel()
        )
        ocv = ocv + self._tables.hysteresis(flat) * turned
        return ocv.reshape(self._shape), slope.reshape(self._shape)

    def _impedance(self, soc: FloatArray) -> Impedance:
        flat = self._spread(soc).ravel(), self._temperature.ravel()
        return Impedance(*(x.reshape(self._shape) for x in self._tables.impedance(*flat)))

    def run(self) -> FloatArray:
        """Return the largest current that keeps all limits, magnitudes."""
        low: FloatArray = np.zeros(self._shape)
        high: FloatArray = self._most
        current: FloatArray = high.copy()
        for _ in range(_ROUNDS):
            worst, slope = self._worst(current)
            room = _SIGNS * (self._limit - worst)
            fits = room >= -_EXACT
            low = np.where(fits, np.maximum(low, current), low)
            high = np.where(fits, high, np.minimum(high, current))
            if ((np.abs(room) <= _EXACT) | (high - low <= 1e-4 * (1.0 + low))).all():
                break
            step = current + room / slope
            # Where Newton would leave the bracket, halve it.
            current = np.where((step > low) & (step < high), step, 0.5 * (low + high))
        return low

    def _worst(self, current: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the voltage nearest to its limit on the way, and its slope in Ohm."""
        worst, slope = self.begin(current)
        for voltage, steeper in self._way(current):
            nearer = _SIGNS * (voltage - worst) > 0
            worst, slope = np.where(nearer, voltage, worst), np.where(nearer, steeper, slope)
        return worst, slope

    def begin(self, current: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the voltage at the first moment of a current (magnitude), and its slope."""
        ohmic, slope = self._ohmic(self._soc, current)
        return self._ocv + self._pairs[0] + self._pairs[1] + ohmic, slope

    def end(self, current: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the voltage at the end of a current (magnitude), and its slope."""
        return self._way(current)[-1]

    def _ohmic(self, soc: FloatArray, current: FloatArray) -> tuple[FloatArray, FloatArray]:
        r0 = self._impedance(soc).r0 * self._resistance
        return self._tables.drop(r0, _SIGNS * current)

    def _way(self, current: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        """Return voltage and slope in Ohm at the end of each piece of the way."""
        way = []
        pairs = list(self._pairs)
        driven: FloatArray | float = 0.0
        signed = _SIGNS * current
        slopes = [np.zeros(1), np.zeros(1)]
        for piece in range(self._pieces):
            middle, until = (piece + 0.5) / self._pieces, (piece + 1) / self._pieces
            gained = signed * self._per_amp
            z = self._impedance(self._soc + gained * middle)
            for pair, (r, tau) in enumerate(((z.r1, z.tau1), (z.r2, z.tau2))):
                kept = np.exp(-self._horizons / (self._pieces * tau))
                answer = r * self._resistance * (1 - kept)
                pairs[pair] = kept * pairs[pair] + answer * signed
                slopes[pair] = kept * slopes[pair] + answer
            driven = slopes[0] + slopes[1]
            soc = np.clip(self._soc + gained * until, 0.0, 1.0)
            ocv, rise = self._table(soc, gained * until)
            ohmic, slope = self._ohmic(soc, current)
            slope = slope + driven + np.maximum(rise, 0.0) * self._per_amp * until
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
