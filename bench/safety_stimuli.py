# SPDX-License-Identifier: Apache-2.0
"""How each quantity is made bad on the wire: a value of the quantity, at one place of the pack.

What a board or sensor measures is overridden, and all else goes on as the cell model says.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.safety_loop import Loop
from dbms_drivers import codec
from dbms_pack import Level, Limit, Pack
from dbms_pack.filters import hidden_for, reference
from dbms_pack.limits import QUANTITIES
from dbms_protection.contactors import State
from dbms_protection.faults import Place
from dbms_sim.distortions import Stuck
from dbms_sim.wire import Frame

CHARGE, DISCHARGE = 21.0, -25.0  # A: more than contactors may break without an announcement
CELL, SENSOR = 3, 2  # 1-based, of the module that is made bad
# How often it is measured, in s: a value waits for its turn, and for the current that carries it.
SCAN, SLOW_SENSOR, INSULATION, CARRIED = 0.1, 0.1, 1.0, 0.02


@dataclass(frozen=True)
class Site:
    """Where a pack is made bad."""

    string: int
    module: int

    @classmethod
    def of(cls, pack: Pack) -> 'Site':
        """Return the last module of the last string."""
        return cls(len(pack.strings) - 1, len(pack.modules) - 1)

    def place(self, pack: Pack, kind: str) -> Place:
        """Return what the guard has to name; `kind` as in the catalogue of quantities."""
        module = pack.modules[self.module]
        if kind == 'string':
            return Place(module.string)
        cell, sensor = (CELL, 0) if kind == 'cell' else (0, SENSOR if kind == 'sensor' else 0)
        return Place(module.string, module.name, cell, sensor)


class Meddled:
    """A current sensor whose measurements can be overridden: a function of the true value."""

    def __init__(self, sensor: Any) -> None:
        self._sensor = sensor
        self.current: Callable[[float], float] | None = None
        self.string: Callable[[float], float] | None = None
        self.link: Callable[[float], float] | None = None
        self.insulation: Callable[[float], float] | None = None

    def step(
        self, now: float, current: float, string: float, link: float, insulation: float
    ) -> list[Frame]:
        """Measure as the sensor does, what it is told."""
        if self.link is not None:
            link = self.link(link)
        return self._sensor.step(
            now,
            self.current(current) if self.current else current,
            self.string(string) if self.string else string,
            link,
            self.insulation(insulation) if self.insulation else insulation,
        )

    @property
    def lost(self) -> str:
        """How the current is lost, as the sensor has it."""
        return str(self._sensor.lost)

    @lost.setter
    def lost(self, how: str) -> None:
        self._sensor.lost = how

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sensor, name)


class Changed:
    """A distortion of one board by a function of all its values."""

    def __init__(self, change: Callable[[np.ndarray], object]) -> None:
        self._change = change

    def apply(self, values: np.ndarray, position: float) -> None:
        self._change(values)


class Patient:
    """A pack that things can be done to, by the place of its site."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.pack = loop, loop.pack
        self.site = Site.of(self.pack)
        module = self.pack.modules[self.site.module]
        self.board = loop.world.boards[module.name]
        self.string = self.pack.strings[self.site.string]
        world = loop.world
        for name, sensor in list(world.sensors.items()):
            world.sensors[name] = Meddled(sensor)  # type: ignore[assignment]
        self.sensor: Meddled = world.sensors[self.string.name]  # type: ignore[assignment]
        self.dropped: Callable[[Frame], bool] = lambda frame: False
        loop.dropped = lambda frame: self.dropped(frame)

    @property
    def state(self) -> State:
        """State of the string's sequence."""
        return self.loop.guard.strings[self.site.string].sequence.state

    def cell(self, change: Callable[[float], float]) -> None:
        """Change what the board reads of the cell."""
        self.board.cell_faults['case'] = Changed(_at(CELL - 1, change))

    def temperature(self, change: Callable[[float], float]) -> None:
        """Change what the board reads of the sensor."""
        self.board.temperature_faults['case'] = Changed(_at(SENSOR - 1, change))

    def others(self, cells: bool, shift: float, key: str = 'shift') -> None:
        """Move everything that the boards of the string read, by that much."""
        for module in self.string.modules:
            board = self.loop.world.boards[module.name]
            faults = board.cell_faults if cells else board.temperature_faults
            faults.pop(key, None)
            stuck = faults.pop('case', None)

            faults[key] = Changed(lambda values: operator.iadd(values, shift))
            if stuck is not None:  # what is stuck stays so: it comes last
                faults['case'] = stuck


def _at(index: int, change: Callable[[float], float]) -> Callable[[np.ndarray], None]:
    def apply(values: np.ndarray) -> None:
        values[index] = change(values[index])

    return apply


@dataclass(frozen=True)
class Stimulus:
    """How a quantity is made bad: `apply` sets it to a value at time `t` (s) of the case.

    `healthy` is where a slow change begins; `delay` how long a value may take from the sensor to
    the guard, in s; `manners` what makes sense.
    """

    apply: Callable[[Patient, float, float], None]
    healthy: Callable[[Patient], float]
    delay: float = SCAN
    load: float = DISCHARGE
    manners: tuple[str, ...] = ('slow', 'fast', 'intermittent', 'start', 'precharge', 'balancing')
    why: str = ''  # why a manner is left out
    # (value, limit) -> s from the beginning until the filtered quantity is at the limit.
    lag: Callable[[float, Limit, Pack], float] = lambda value, limit, pack: 0.0
    before: Callable[[Patient], None] | None = None  # what has to be so beforehand
    ramp: float = 8.0  # s, from healthy to bad where it comes slowly
    doubt: float = 0.0  # s, about when it is there: an age counts from the last frame
    slow_doubt: float = 0.0  # s, the same where it comes slowly and sensors are off
    everywhere: bool = False  # it is nobody's place: all strings are to be named


def _cell(patient: Patient, value: float, t: float) -> None:
    patient.cell(lambda _: value)


def _temperature(patient: Patient, value: float, t: float) -> None:
    patient.temperature(lambda _: value)


def _current(sign: float) -> Callable[[Patient, float, float], None]:
    def apply(patient: Patient, value: float, t: float) -> None:
        patient.sensor.current = lambda _: sign * value

    return apply


def _precharge(patient: Patient, value: float, t: float) -> None:
    def measured(current: float) -> float:
        return value if patient.state is State.PRECHARGING else current

    patient.sensor.current = measured


def _string(patient: Patient, value: float, t: float) -> None:
    patient.sensor.string = lambda _: value * patient.string.cells


def _link(patient: Patient, value: float, t: float) -> None:
    patient.sensor.link = lambda _: value * patient.string.cells


def _apart(patient: Patient, value: float, t: float) -> None:
    patient.sensor.link = lambda link: link - value


def _mismatch(patient: Patient, value: float, t: float) -> None:
    patient.sensor.string = lambda true: true - value * patient.string.cells


def _insulation(patient: Patient, value: float, t: float) -> None:
    full = patient.string.cells * patient.pack.cell.voltage_max
    patient.sensor.insulation = lambda _: value * full


def _below_others(patient: Patient, value: float, t: float) -> None:
    patient.cell(lambda true: true - value)


def _above_others(patient: Patient, value: float, t: float) -> None:
    patient.temperature(lambda true: true + value)


def _rising(patient: Patient, value: float, t: float) -> None:
    patient.temperature(lambda true: true + value * t / 60.0)


def _stuck(cells: bool) -> Callable[[Patient, float, float], None]:
    def apply(patient: Patient, value: float, t: float) -> None:
        if cells:
            moved = value * patient.string.cells
            patient.others(True, -value)
            patient.sensor.string = lambda true: true - moved
            patient.sensor.link = lambda true: true - moved
        else:
            patient.others(False, value)

    return apply


def _stick(cells: bool) -> Callable[[Patient], None]:
    """Return what lets the value be as it is, for so long that it is not taken for a late one."""

    def prepare(patient: Patient) -> None:
        faults = patient.board.cell_faults if cells else patient.board.temperature_faults
        faults['case'] = Stuck((CELL if cells else SENSOR) - 1)
        patient.loop.run(patient.loop.now + 1.5)

    return prepare


def _opened(patient: Patient) -> None:
    """Open again what was connected."""
    loop = patient.loop
    loop.guard.command('disconnect', 'campaign', 'to be open', [], loop.now)
    loop.run(loop.now + 5.0, lambda: patient.state is State.OPEN)


def _charged(patient: Patient, value: float, t: float) -> None:
    full = _volts_per_cell(patient) * patient.string.cells
    patient.sensor.link = lambda _: value * full


def _skew(patient: Patient, value: float, t: float) -> None:
    patient.board.set_pace('case', 1.0 + value)


def frames_of(base: int) -> Callable[[Patient, float, float], None]:
    """Return what lets no frame of the string's sensor arrive that has this base id."""

    def apply(patient: Patient, value: float, t: float) -> None:
        can_id = base + patient.string.current_sensor.address
        bus = patient.string.current_sensor.bus
        patient.dropped = lambda frame: frame.can_id == can_id and frame.bus == bus

    return apply


def _zero(patient: Patient) -> float:
    return 0.0


def _mean(kind: str) -> Callable[[Patient], float]:
    return lambda patient: float(np.nanmean(getattr(patient.loop.world.feed, kind)))


def _volts_per_cell(patient: Patient) -> float:
    feed = patient.loop.world.feed
    return float(feed.string_voltages[patient.site.string]) / patient.string.cells


def _filtered(key: str) -> Callable[[float, Limit, Pack], float]:
    return lambda value, limit, pack: hidden_for(pack, key, limit.at, value)


def _aged(value: float, limit: Limit, pack: Pack) -> float:
    return limit.at


GENTLE = 60.0  # s: TEMPERATURE_RISE may derate, and does not open before
SUDDEN = ('fast', 'intermittent', 'balancing')
HELD = ('fast', 'balancing')
AT_ONCE = 'only a sudden change is one'
FILTERED = 'it is a mean over time: shorter than its window nothing is to be seen'
CLOSED = 'it counts while contactors are closed'
STIMULI: Mapping[str, Stimulus] = {
    'cell_overvoltage': Stimulus(_cell, _mean('voltages')),
    'cell_undervoltage': Stimulus(_cell, _mean('voltages')),
    'deep_discharge': Stimulus(_cell, _mean('voltages')),
    'overtemperature_charge': Stimulus(
        _temperature, _mean('temperatures'), load=CHARGE, ramp=GENTLE
    ),
    'undertemperature_charge': Stimulus(
        _temperature, _mean('temperatures'), load=CHARGE, ramp=GENTLE
    ),
    'overtemperature_discharge': Stimulus(_temperature, _mean('temperatures'), ramp=GENTLE),
    'undertemperature_discharge': Stimulus(_temperature, _mean('temperatures'), ramp=GENTLE),
    'overcurrent_charge': Stimulus(_current(1.0), _zero, CARRIED, CHARGE),
    'overcurrent_discharge': Stimulus(_current(-1.0), _zero, CARRIED),
    'short_circuit': Stimulus(_current(-1.0), _zero, CARRIED),
    'overload': Stimulus(
        _current(-1.0), _zero, CARRIED, 0.0, HELD, FILTERED, _filtered('overload')
    ),
    'string_overvoltage': Stimulus(_string, _volts_per_cell, SLOW_SENSOR + CARRIED),
    'string_undervoltage': Stimulus(_string, _volts_per_cell, SLOW_SENSOR + CARRIED),
    'link_overvoltage': Stimulus(_link, _volts_per_cell, SLOW_SENSOR + CARRIED),
    'link_mismatch': Stimulus(
        _apart, _zero, SLOW_SENSOR + CARRIED, manners=('slow', 'fast', 'intermittent',
        'balancing'), why=CLOSED, slow_doubt=1.0,
    ),
    'voltage_mismatch': Stimulus(_mismatch, _zero, SLOW_SENSOR + CARRIED, doubt=1.0),
    'voltage_spread': Stimulus(_below_others, _zero),
    'temperature_spread': Stimulus(_above_others, _zero, ramp=GENTLE, doubt=5.0),
    'temperature_mismatch': Stimulus(_above_others, _zero, ramp=GENTLE, doubt=4.0),
    'voltage_jump': Stimulus(_below_others, _zero, manners=SUDDEN, why=AT_ONCE),
    'temperature_jump': Stimulus(_above_others, _zero, manners=SUDDEN, why=AT_ONCE),
    'voltage_stuck': Stimulus(
        _stuck(True), _zero, 2 * SCAN + SLOW_SENSOR + CARRIED, 0.0,
        manners=('slow', 'fast', 'balancing'), why='it has to stay so', before=_stick(True),
    ),
    'temperature_stuck': Stimulus(
        _stuck(False), _zero, 1.0, 0.0, manners=('slow', 'fast', 'balancing'),
        why='it has to stay so', before=_stick(False),
    ),
    'temperature_rise': Stimulus(
        _rising, _zero, 2.0, manners=('fast', 'start', 'precharge', 'balancing'),
        why=FILTERED, lag=_filtered('temperature_rise'),
    ),
    'clock_skew': Stimulus(
        _skew, _zero, 1.0, manners=('fast', 'start', 'precharge', 'balancing'), why=FILTERED,
        lag=_filtered('clock_skew'),
    ),
    'insulation': Stimulus(_insulation, lambda patient: 3000.0, INSULATION + CARRIED),
    'open_link': Stimulus(
        _charged, _zero, 1.0, 0.0, ('fast',), 'it counts after an opening',
        _filtered('open_link'), _opened,
    ),
    'open_current': Stimulus(
        _current(-1.0), _zero, CARRIED, 0.0, ('start', 'fast'), 'it counts while open',
        before=_opened,
    ),
    'current_mismatch': Stimulus(
        lambda patient, value, t: setattr(patient.sensor, 'current', lambda true: true - value),
        _zero, 1.1, 0.0, SUDDEN, AT_ONCE,
    ),
    'precharge_current': Stimulus(
        _precharge, _zero, CARRIED, manners=('precharge',), why='it counts in precharge'
    ),
    'voltage_age': Stimulus(
        frames_of(codec.STRING_VOLTAGES), _zero, SLOW_SENSOR + CARRIED, manners=HELD,
        why=CLOSED, lag=_aged, doubt=SLOW_SENSOR,
    ),
    'insulation_age': Stimulus(
        frames_of(codec.STRING_INSULATION), _zero, INSULATION + CARRIED, manners=HELD,
        why=CLOSED, lag=_aged,
        doubt=INSULATION,
    ),
}  # fmt: skip


def target(pack: Pack, key: str, level: Level, levels: Mapping[Level, Limit]) -> float:
    """Return a value beyond the limit of a level and short of the next one's, if there is one."""
    at = levels[level].at
    worse = [levels[one].at for one in sorted(levels) if one > level]
    if worse:
        return at + 0.4 * (worse[0] - at)
    if key == 'current_mismatch':  # seen in halves when it comes in the middle of a window
        return at * 3.5
    if key == 'overload':  # short of what opens before it
        return at + 0.8 * (reference(pack, key, levels[level]) - at)
    if key in ('temperature_rise', 'clock_skew', 'temperature_stuck', 'open_link',
               'open_current'):  # fmt: skip
        return at * 1.3
    span = {'V': 0.05, 'degC': 4.0, 'A': 0.1 * at, 'Ohm/V': 0.4 * at, 'K': 2.0, 's': 0.0}
    beyond = span[QUANTITIES[key].unit]
    return at - beyond if QUANTITIES[key].under else at + beyond
