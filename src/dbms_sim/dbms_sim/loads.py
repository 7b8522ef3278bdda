# SPDX-License-Identifier: Apache-2.0
"""Load profiles: what the machine around the pack draws and feeds. A, positive = charging."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from dbms_pack.model import CellModel, Pack
from dbms_sim.playback import Recording, read_profile

EMPTY, FULL = 0.25, 0.9  # SOC between which a machine goes to and fro
TAPER = 0.1  # V below the charger's voltage where its current begins to fall
DAY = 86400.0  # s
CHARGE_END = 0.05  # C, a charge is over below this


@dataclass(frozen=True)
class Allowed:
    """What protection allows a load; by default, as when nothing was heard: no current.

    What is no number allows nothing.
    """

    charge: float = 0.0  # A
    discharge: float = 0.0  # A
    highest: float = math.inf  # V, at the pack's terminals
    lowest: float = 0.0  # V

    def clip(self, current: float, pack: 'PackView') -> float:
        """Return what may flow of `current` A."""
        if current > 0.0:
            room = pack.current_at(self.highest) if self.highest != math.inf else math.inf
            return min(current, _least(self.charge, room))
        room = -pack.current_at(self.lowest) if self.lowest != 0.0 else math.inf
        return max(current, -_least(self.discharge, room))


@dataclass(frozen=True)
class PackView:
    """What a load may know of the pack."""

    soc: float  # mean, 0..1
    lowest_soc: float
    highest_voltage: float  # V, of a cell
    allowed: Allowed = Allowed()  # noqa: RUF009  (frozen)
    voltage: float = math.nan  # V, of the pack
    emf: float = math.nan  # V, at its terminals if no current flowed
    resistance: float = math.nan  # Ohm, of the connected strings together

    def current_at(self, voltage: float) -> float:
        """Return the current in A that brings the terminals to `voltage` V; NaN: not known."""
        return (voltage - self.emf) / self.resistance


def _least(*bounds: float) -> float:
    return min(bound if bound > 0.0 else 0.0 for bound in bounds)


class Load(Protocol):
    """A load profile. `time` is battery time in s and does not run backwards."""

    def current(self, time: float, pack: PackView) -> float:
        """Return the current at the pack's terminals in A, positive = charging."""


class Constant:
    """The same current for ever; `rest` is 0 A."""

    def __init__(self, current: float) -> None:
        self._current = current

    def current(self, time: float, pack: PackView) -> float:
        return self._current


class Charger:
    """Constant current, then constant voltage by the highest cell."""

    def __init__(self, cell: CellModel, current: float) -> None:
        self._current = current
        # A little below the cell's own end: a charger leaves room for the guard.
        self._voltage = cell.voltage_max - 0.05 * (cell.voltage_max - cell.voltage_min)

    def current(self, pack: PackView) -> float:
        left = (self._voltage - pack.highest_voltage) / TAPER
        return self._current * min(max(left, 0.0), 1.0)


class Charging:
    """A charger that is left alone with the pack."""

    def __init__(self, cell: CellModel, current: float) -> None:
        self._charger = Charger(cell, current)

    def current(self, time: float, pack: PackView) -> float:
        return self._charger.current(pack)


class Terminals:
    """A charger that knows the pack's terminals alone: constant current up to its voltage."""

    def __init__(self, current: float, voltage: float) -> None:
        self._current = current
        self._voltage = voltage

    def current(self, time: float, pack: PackView) -> float:
        """Return the current in A; none where the voltage is not known."""
        room = pack.current_at(self._voltage)
        return min(room, self._current) if room > 0.0 else 0.0


class Scaled:
    """A load times a factor: what was measured on one cell, for a pack of many."""

    def __init__(self, load: Load, factor: float) -> None:
        self._load = load
        self._factor = factor

    def current(self, time: float, pack: PackView) -> float:
        return self._factor * self._load.current(time, pack)


class Obeying:
    """A load that keeps to the limits that protection tells, and rests when it hears none."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def current(self, time: float, pack: PackView) -> float:
        return pack.allowed.clip(self._load.current(time, pack), pack)


class Solar:
    """Panels of `power` W at noon, on a charger that ends at the top; the day begins at 6 h."""

    def __init__(self, pack: Pack, power: float) -> None:
        self._power = power
        self._taper = Charger(pack.cell, 1.0)

    def current(self, time: float, pack: PackView) -> float:
        """Return the current in A, none from dusk to dawn or for an unknown voltage."""
        sun = math.sin(math.pi * (time % DAY) / (DAY / 2))
        if sun <= 0.0 or not pack.voltage > 0.0:
            return 0.0
        return self._taper.current(pack) * sun * self._power / pack.voltage


class Boat:
    """Hotel load all day, thruster peaks in the harbour, solar panels; a day begins at 6 h."""

    def __init__(self, pack: Pack) -> None:
        self._capacity = pack.capacity
        nominal = pack.cell.voltage_nominal * pack.strings[0].cells
        self._solar = Solar(pack, 0.1 * pack.capacity * nominal)

    def current(self, time: float, pack: PackView) -> float:
        rate = 0.01 + 0.005 * (time % 1800.0 < 600.0)  # the fridge goes on and off
        hour = time % DAY / 3600.0
        if any(begin <= hour < begin + 0.2 for begin in (3.0, 9.0)):  # out of and into harbour
            rate += 0.6 if time % 45.0 < 4.0 else 0.1
        elif 3.0 <= hour < 9.0:  # the instruments and the autopilot at sea
            rate += 0.01
        if pack.lowest_soc <= 0.1:
            rate = 0.0  # the boat's own cut-out
        return self._solar.current(time, pack) - rate * self._capacity


class Mission:
    """A machine that works for a while and charges for a while, for ever.

    `work` gives the current of a time within the work; a full charge follows when the pack
    is at EMPTY.
    """

    def __init__(
        self,
        work: Callable[[float], float],
        charger: Charger,
        work_time: float,
        charge_time: float,
        charge_end: float,
    ) -> None:
        self._work = work
        self._charger = charger
        self._work_time = work_time
        self._cycle = work_time + charge_time
        self._charge_end = charge_end
        self._refilling = False

    def current(self, time: float, pack: PackView) -> float:
        charge = self._charger.current(pack)
        within = time % self._cycle
        if pack.lowest_soc <= EMPTY:
            self._refilling = True
        elif pack.soc >= FULL or charge < self._charge_end:
            self._refilling = False
        if self._refilling:
            return charge
        if within < self._work_time:
            return self._work(within)
        return charge if pack.soc < FULL and charge >= self._charge_end else 0.0


class Profile:
    """A recorded current over time, repeated; a value holds until the next one."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def current(self, time: float, pack: PackView) -> float:
        recording = self._recording
        span = recording.time[-1] - recording.time[0]
        within = recording.time[0] + (time % span if span > 0 else 0.0)
        return float(recording.current[recording.row(within), 0])


def robot(pack: Pack) -> Load:
    """Two minutes of driving in pulses, with braking, then a minute at the dock."""
    capacity = pack.capacity

    def drive(time: float) -> float:
        phase = time % 12.0
        if phase < 3.0:
            rate = -0.9  # speeding up
        elif phase < 8.0:
            rate = -0.35 - 0.1 * math.sin(time)
        elif phase < 9.5:
            rate = 0.25  # braking feeds back
        else:
            rate = -0.1  # at a stand, computers on
        return rate * capacity

    charger = Charger(pack.cell, 0.4 * capacity)
    return Mission(drive, charger, 120.0, 60.0, CHARGE_END * capacity)


def marine(pack: Pack) -> Load:
    """Cruise with manoeuvres and hotel load, then shore power."""
    capacity = pack.capacity

    def voyage(time: float) -> float:
        if time < 120.0 or time > 1080.0:  # leaving and entering harbour
            return (-0.5 if time % 30.0 < 8.0 else -0.1) * capacity
        return (-0.3 - 0.05 * math.sin(time / 7.0)) * capacity

    charger = Charger(pack.cell, 0.3 * capacity)
    return Mission(voyage, charger, 1200.0, 600.0, CHARGE_END * capacity)


NAMES = (
    "'robot', 'marine', 'boat', 'solar:WATTS', 'rest', 'constant:AMPERES', 'charge:AMPERES' (then "
    "at constant voltage), 'charge:AMPERES:VOLTS' of the pack, or a CSV file with time and "
    "current; 'times:FACTOR:' before it scales it, 'obey:' keeps it to limits"
)


def make_load(name: str, pack: Pack) -> Load:
    """Return the load profile of that name; ValueError says which there are."""
    if name.startswith('obey:'):
        return Obeying(make_load(name.removeprefix('obey:'), pack))
    if name.startswith('times:'):
        factor, _, rest = name.removeprefix('times:').partition(':')
        number = _number(name, factor, 'a factor, such as 6', least=0.0)
        return Scaled(make_load(rest, pack), number)
    if name == 'robot':
        return robot(pack)
    if name == 'marine':
        return marine(pack)
    if name == 'rest':
        return Constant(0.0)
    if name == 'boat':
        return Boat(pack)
    kind, colon, text = name.partition(':')
    if colon and kind == 'solar':
        return Solar(pack, _number(name, text, 'a power in W, such as 300', least=0.0))
    if kind == 'charge' and ':' in text:
        amperes, _, volts = text.partition(':')
        return Terminals(
            _number(name, amperes, 'a current in A, such as 20', least=0.0),
            _number(name, volts, 'a voltage in V, such as 54', least=0.0),
        )
    if colon and kind in ('constant', 'charge'):
        current = _number(name, text, 'a current in A, such as -20')
        return Constant(current) if kind == 'constant' else Charging(pack.cell, current)
    if Path(name).suffix in ('.csv', '.gz'):
        return Profile(read_profile(Path(name)))
    raise ValueError(f"load '{name}' is not known; there are {NAMES}")


def _number(name: str, text: str, what: str, least: float = -math.inf) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not np.isfinite(number) or number < least:
        raise ValueError(f"load '{name}': '{text}' is not {what}")
    return number
