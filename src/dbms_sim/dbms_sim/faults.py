# SPDX-License-Identifier: Apache-2.0
"""What can break in the simulated pack: names, places and parameters of the faults.

What a fault does is in `fault_effects`. A request that names something unknown is refused with
the nearest right name and what is allowed.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dbms_pack.model import Pack
from dbms_pack.schema import nearest

CONTACTORS = ('minus', 'precharge', 'plus')
FLAGS = ('open_wire', 'self_test_failed', 'reference_failed', 'board_hot', 'bleed_refused')
SENTINELS = ('not_measured', 'fault', 'zero', 'top')
READINGS = ('open', 'closed', 'unknown', 'fault')
POLES = ('minus', 'plus')
_APART = ('contactor', 'flag', 'pole')  # faults that differ in one of these are two

Value = float | str


class FaultError(ValueError):
    """A fault that cannot be injected or cleared, and what can."""


@dataclass(frozen=True)
class Parameter:
    """A number of a fault, from `low` to `high`; or one of `choices`. None: may be left out."""

    name: str
    default: Value | None
    unit: str = ''
    low: float = 0.0
    high: float = math.inf
    choices: tuple[str, ...] = ()

    def read(self, value: object) -> Value:
        """Return the value if it is allowed; FaultError says what is."""
        if self.choices:
            if value in self.choices:
                return str(value)
            raise FaultError(f'{self.name}={value}: {nearest(str(value), self.choices)}')
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if self.low <= number <= self.high and math.isfinite(number):
            return number
        raise FaultError(f'{self.name}={value}: must be {self.allowed}')

    @property
    def allowed(self) -> str:
        """Say in words what is allowed."""
        if self.choices:
            return ' or '.join(self.choices)
        return f'{self.low:g} to {self.high:g} {self.unit}'.rstrip()


@dataclass(frozen=True)
class FaultKind:
    """A fault by its name, the sorts of place where it can be, and its parameters."""

    name: str
    places: tuple[str, ...]  # cell, sensor, module, string, bus
    summary: str
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class Place:
    """A place in a pack. `index` counts cells or sensors of the module, 0-based."""

    kind: str
    name: str  # of the module, string or bus
    index: int = 0

    def __str__(self) -> str:
        if self.kind == 'cell':
            return f'{self.name}:{self.index + 1}'
        return f'{self.name}:t{self.index + 1}' if self.kind == 'sensor' else self.name


@dataclass(frozen=True)
class Fault:
    """A fault that was checked: every parameter has its value, None where it may be left out."""

    kind: FaultKind
    place: Place
    values: Mapping[str, Value | None]

    @property
    def key(self) -> tuple[str, str, str]:
        """What a second fault with this key replaces."""
        which = next((self.values[one] for one in _APART if one in self.values), '')
        return self.kind.name, str(self.place), str(which)

    def number(self, name: str) -> float:
        """Return a parameter that is a number."""
        value = self.values[name]
        assert isinstance(value, float)
        return value

    def __str__(self) -> str:
        values = [
            f'{name}={value:g}' if isinstance(value, float) else f'{name}={value}'
            for name, value in self.values.items()
            if value is not None
        ]
        return ' '.join([self.kind.name, f'at {self.place}', *values])


def _number(name: str, default: float | None, unit: str, low: float, high: float) -> Parameter:
    return Parameter(name, None if default is None else float(default), unit, low, high)


_CONTACTOR = Parameter('contactor', 'plus', choices=CONTACTORS)
_AT = _number('at', None, 'V', 0.0, 6.5)
_OFFSET = _number('offset', 0.6, 'V', 0.0, 6.0)
_ANY = ('cell', 'sensor')

KINDS: Mapping[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind('cell_overvoltage', ('cell',), 'a cell is measured too high', (_OFFSET, _AT)),
        FaultKind('cell_undervoltage', ('cell',), 'a cell is measured too low', (_OFFSET, _AT)),
        FaultKind(
            'cell_offset', ('cell',), 'a constant error of a measured cell',
            (_number('volts', 0.5, 'V', -6.0, 6.0),),
        ),
        FaultKind(
            'temperature_offset', ('sensor',), 'a constant error of a temperature sensor',
            (_number('kelvin', 20.0, 'K', -400.0, 400.0),),
        ),
        FaultKind(
            'internal_short', ('cell',), 'a cell leaks inside, more and more',
            (_number('leakage', 1.0, 'A', 0.0, 1000.0), _number('growth', 0.0, 'A/s', 0.0, 100.0),
             _number('most', 100.0, 'A', 0.0, 2000.0)),
        ),
        FaultKind(
            'thermal_runaway', ('cell',), 'a cell heats itself and collapses, then its neighbours',
            (_number('rate', 10.0, 'K/s', 0.01, 1000.0),
             _number('peak', 300.0, 'degC', 60.0, 1000.0),
             _number('delay', 10.0, 's', 0.1, 1e6)),
        ),
        FaultKind(
            'open_wire', ('cell',), 'the sense wire above a cell is off',
            (_number('detected', 1.0, 's', 0.0, 1e6),),
        ),
        FaultKind('sensor_stuck', _ANY, 'a value stays as it is'),
        FaultKind(
            'sensor_drift', _ANY, 'an error that grows',
            (_number('rate', 0.01, 'V or K per s', -100.0, 100.0),),
        ),
        FaultKind('sensor_noise', _ANY, 'noise', (_number('sigma', 0.02, 'V or K', 0.0, 100.0),)),
        FaultKind(
            'sensor_sentinel', _ANY, 'a value that is none, or an end of the scale',
            (Parameter('value', 'fault', choices=SENTINELS),),
        ),
        FaultKind('board_silent', ('module',), 'a board says nothing'),
        FaultKind(
            'board_reboot', ('module',), 'a board starts anew, once or again and again',
            (_number('down', 0.3, 's', 0.0, 60.0), _number('every', None, 's', 0.1, 3600.0)),
        ),
        FaultKind(
            'board_babbling', ('module',), 'a board sends too often',
            (_number('factor', 10.0, 'times', 1.0, 100.0),),
        ),
        FaultKind(
            'board_slow_clock', ('module',), 'the period of a board is stretched',
            (_number('factor', 1.5, 'times', 1.0, 100.0),),
        ),
        FaultKind(
            'board_wrong_crc', ('module',), 'a part of the frames has a wrong CRC',
            (_number('share', 1.0, '', 0.0, 1.0),),
        ),
        FaultKind(
            'board_duplicate', ('module',), 'a second board with the same address',
            (_number('serial', 3735928559.0, '', 0.0, 0xFFFFFFFF),),
        ),
        FaultKind(
            'board_flag', ('module',), 'a board doubts itself',
            (Parameter('flag', 'self_test_failed', choices=FLAGS),),
        ),
        FaultKind('bus_off', ('bus',), 'no frame of the simulated units comes or goes'),
        FaultKind(
            'bus_overload', ('bus',), 'others take most of the time of a bus; high ids starve',
            (_number('share', 0.97, '', 0.0, 1.0), _number('above', 0, 'id', 0.0, 2047.0)),
        ),
        FaultKind(
            'bus_disturbed', ('bus',), 'frames are late or lost, whatever their id',
            (_number('delay', 0.05, 's', 0.0, 10.0), _number('loss', 0.1, '', 0.0, 1.0)),
        ),
        FaultKind(
            'current_lost', ('string',), 'the current is not measured, or the sensor is silent',
            (Parameter('how', 'silent', choices=('silent', 'not_measured', 'fault')),),
        ),
        FaultKind(
            'current_offset', ('string',), 'a constant error of the current',
            (_number('amperes', 5.0, 'A', -10000.0, 10000.0),),
        ),
        FaultKind(
            'current_gain', ('string',), 'a current measured too large or too small',
            (_number('factor', 1.1, '', 0.0, 100.0),),
        ),
        FaultKind(
            'current_noise', ('string',), 'noise of the current',
            (_number('sigma', 1.0, 'A', 0.0, 1e4),),
        ),
        FaultKind('current_reversed', ('string',), 'the current sensor is mounted the wrong way'),
        FaultKind('contactor_welded', ('string',), 'a contact that never opens', (_CONTACTOR,)),
        FaultKind(
            'contactor_stuck_open', ('string',), 'a contact that never closes', (_CONTACTOR,)
        ),
        FaultKind(
            'contactor_feedback', ('string',), 'an auxiliary contact that lies',
            (_CONTACTOR, Parameter('reads', 'open', choices=READINGS)),
        ),
        FaultKind('coil_fault', ('string',), 'the unit reports a faulty coil'),
        FaultKind('supply_low', ('string',), 'the unit reports that its supply is low'),
        FaultKind('fuse_open', ('string',), 'the fuse of the string has blown'),
        FaultKind(
            'busbar_loose', ('string',), 'a joint of the string with more resistance',
            (_number('resistance', 0.01, 'Ohm', 0.0, 10.0),),
        ),
        FaultKind('precharge_open', ('string',), 'the precharge resistor is open'),
        FaultKind(
            'insulation_low', ('string',), 'a current path from a pole to the chassis',
            (_number('resistance', 50e3, 'Ohm', 1.0, 65e6),
             Parameter('pole', 'plus', choices=POLES)),
        ),
        FaultKind('interlock_open', ('string',), 'the interlock loop is open'),
    )
}  # fmt: skip


def check_fault(
    pack: Pack, name: str, place: str, parameters: Mapping[str, object] | None = None
) -> Fault:
    """Return the fault that is meant; FaultError says what is wrong and what is allowed."""
    kind = KINDS.get(name)
    if kind is None:
        raise FaultError(f"fault '{name}' is not known; {nearest(name, KINDS)}")
    where = find_place(pack, place, kind)
    known = {parameter.name: parameter for parameter in kind.parameters}
    values: dict[str, Value | None] = {one.name: one.default for one in kind.parameters}
    for key, value in (parameters or {}).items():
        if key not in known:
            raise FaultError(f"{name} has no parameter '{key}'; {nearest(key, known)}")
        try:
            values[key] = known[key].read(value)
        except FaultError as error:
            raise FaultError(f'{name}: {error}') from None
    return Fault(kind, where, values)


def find_place(pack: Pack, text: str, kind: FaultKind) -> Place:
    """Return a place where a fault can be; left out, the only one there is."""
    places = {str(place): place for sort in kind.places for place in _places(pack, sort)}
    if not text and len(places) == 1:
        return next(iter(places.values()))
    if text in places:
        return places[text]
    sorts = ' or '.join(kind.places)
    examples = list(places)
    allowed = nearest(text, places) if len(places) <= 8 or _near(text, places) else (
        f'there are {examples[0]} to {examples[-1]}'
    )  # fmt: skip
    raise FaultError(f"{kind.name} at '{text}': not a {sorts} of pack {pack.name}; {allowed}")


def _near(text: str, places: Iterable[str]) -> bool:
    return nearest(text, places).startswith('did you mean')


def _places(pack: Pack, sort: str) -> list[Place]:
    if sort == 'string':
        return [Place(sort, string.name) for string in pack.strings]
    if sort == 'bus':
        return [Place(sort, name) for name in pack.buses]
    if sort == 'module':
        return [Place(sort, module.name) for module in pack.modules]
    return [
        Place(sort, module.name, index)
        for module in pack.modules
        for index in range(module.cells if sort == 'cell' else module.temperatures)
    ]


def parse_parameters(texts: Iterable[str]) -> dict[str, str]:
    """Read 'key=value' texts; FaultError for anything else. Empty texts are left out."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition('=')
        if not text.strip():
            continue
        if not equals or not key.strip() or key.strip() in found:
            raise FaultError(f"parameter '{text}': not key=value, or there twice")
        found[key.strip()] = value.strip()
    return found
