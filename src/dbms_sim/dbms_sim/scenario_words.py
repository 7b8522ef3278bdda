# SPDX-License-Identifier: Apache-2.0
"""The words that a scenario may use of a pack: its places, the conditions, the faults."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dbms_pack.document import KeyPath, shown
from dbms_pack.limits import QUANTITIES
from dbms_pack.model import Pack
from dbms_pack.schema import nearest
from dbms_sim.faults import FaultError, check_fault

# What protection reports, as docs/protection.md lists it.
LIMIT_FAULTS = tuple(key.upper() for key in QUANTITIES)
_LOSSES = (
    'MODULE_LOST', 'STRING_LOST', 'CELL_NOT_MEASURED', 'TEMPERATURE_NOT_MEASURED', 'OPEN_WIRE',
    'SELF_TEST_FAILED', 'REFERENCE_FAILED', 'CURRENT_SENSOR_FAULT', 'SUPPLY_LOW',
)  # fmt: skip
_CONTACTORS = (
    'BRIDGED_OVERVOLTAGE', 'BRIDGED_UNDERVOLTAGE', 'BRIDGE_LOST',
    'INTERLOCK_OPEN', 'CONTACTOR_FEEDBACK', 'CONTACTOR_FEEDBACK_LOST', 'CONTACTOR_WELDED',
    'PRECHARGE_FAILED', 'LEASE_EXPIRED', 'CONTACTOR_DRIVER_LOST', 'CONTACTOR_REFUSED',
    'COIL_FAULT', 'CONTACTOR_WORN', 'INTERNAL_ERROR',
)  # fmt: skip
FAULTS = (*LIMIT_FAULTS, *_LOSSES, *_CONTACTORS)
LEVELS = ('MOL', 'RSL', 'MSL')
PACK_STATES = ('STANDBY', 'CONNECTING', 'CONNECTED', 'DISCONNECTING', 'FAULT')
STRING_STATES = (
    'OPEN', 'CLOSING_MINUS', 'PRECHARGING', 'CLOSING_PLUS', 'ENDING_PRECHARGE', 'CONNECTED',
    'LEAVING', 'OPENING', 'FAULTED',
)  # fmt: skip
MODULE_STATUS = (
    'OPEN_WIRE', 'SELF_TEST_FAILED', 'REFERENCE_FAILED', 'BOARD_HOT', 'REBOOTED',
    'BLEED_REFUSED', 'SCANS_LOST', 'FRAMES_REJECTED',
)  # fmt: skip
STRING_STATUS = (
    'LEASE_EXPIRED', 'COIL_FAULT', 'SUPPLY_LOW', 'SENSOR_FAULT', 'OVER_RANGE', 'FRAMES_REJECTED',
)  # fmt: skip
# Conditions on a name, and the names that they know; None: any words.
NAMED: Mapping[str, tuple[str, ...] | None] = {
    'fault': (*FAULTS, 'any'),
    'no_fault': (*FAULTS, 'any'),
    'state': PACK_STATES,
    'string_state': STRING_STATES,
    'contactors': ('open', 'connected'),
    'answer': ('accepted', 'refused'),
    'status': tuple(dict.fromkeys((*MODULE_STATUS, *STRING_STATUS))),
    'reason': None,
}
# Conditions on a value, and their units.
VALUES: Mapping[str, str] = {
    'cell_voltage': 'V', 'measured_cell': 'V', 'measured_error': 'V', 'temperature': 'degC',
    'current': 'A', 'measured_current': 'A', 'soc': '', 'soc_error': '', 'charge_limit': 'A',
    'discharge_limit': 'A', 'insulation': 'Ohm', 'string_drop': 'V', 'link_voltage': 'V',
    'scan_rate': '1/s',
}  # fmt: skip
# Which sort of place a condition may name; those left out name none.
_PLACED: Mapping[str, tuple[str, ...]] = {
    'fault': ('string', 'module', 'cell'), 'no_fault': ('string', 'module', 'cell'),
    'string_state': ('string',), 'contactors': ('string',), 'reason': ('string',),
    'status': ('string', 'module'), 'current': ('string',), 'insulation': ('string',),
    'cell_voltage': ('cell', 'module'), 'measured_cell': ('cell', 'module'),
    'measured_error': ('cell', 'module'), 'temperature': ('cell', 'module'),
    'measured_current': ('string',), 'string_drop': ('string',), 'scan_rate': ('module',),
}  # fmt: skip

Complain = Callable[[KeyPath, str, str], None]


@dataclass(frozen=True)
class Place:
    """A string, a module, or a cell (1-based) of a pack; all empty: the whole pack."""

    string: str = ''
    module: str = ''
    cell: int = 0

    @property
    def kind(self) -> str:
        """Return string, module or cell."""
        return 'cell' if self.cell else 'module' if self.module else 'string'

    def __str__(self) -> str:
        return f'{self.module}:{self.cell}' if self.cell else self.module or self.string


@dataclass(frozen=True)
class Condition:
    """Something that is true or not of a running pack."""

    kind: str  # of NAMED or VALUES
    name: str = ''
    above: float | None = None
    below: float | None = None
    place: Place = Place()  # noqa: RUF009  (frozen)
    level: str = ''

    def __str__(self) -> str:
        words = [self.kind.replace('_', ' '), self.name, self.level]
        place = str(self.place)
        if place:
            words.append(f'at {place}')
        if self.above is not None:
            words.append(f'above {self.above:g} {VALUES[self.kind]}')
        if self.below is not None:
            words.append(f'below {self.below:g} {VALUES[self.kind]}')
        return ' '.join(word.strip() for word in words if word)


class Words:
    """Checks the names that a scenario uses against a pack; what is wrong goes to `complain`."""

    def __init__(self, pack: Pack, complain: Complain) -> None:
        self._pack = pack
        self._complain = complain

    def string(self, key: KeyPath, name: str) -> str:
        """Return the name of a string."""
        names = [string.name for string in self._pack.strings]
        if name not in names:
            self._complain(key, shown(name), f'all, or a string; {nearest(name, names)}')
        return name

    def check_fault(
        self, key: KeyPath, kind: str, name: str, place: str, parameters: Mapping[str, Any]
    ) -> None:
        """Check a fault of the simulator, its place and its parameters."""
        try:
            check_fault(self._pack, name, place, parameters)
        except FaultError as error:
            self._complain((*key, kind), shown(name), str(error))

    def condition(self, key: KeyPath, data: Mapping[str, Any]) -> Condition | None:
        """Return a condition, or None after complaining."""
        kinds = [kind for kind in (*NAMED, *VALUES) if kind in data]
        if len(kinds) != 1:
            found = ' and '.join(kinds) or 'no condition'
            self._complain(key, found, f'one of: {", ".join((*NAMED, *VALUES))}')
            return None
        kind = kinds[0]
        if data[kind] is None:  # the schema has said why
            return None
        place = self._place((*key, 'place'), data.get('place') or '', kind)
        level = data.get('level') or ''
        if level and (level not in LEVELS or kind not in ('fault', 'no_fault')):
            self._complain((*key, 'level'), shown(level), f'{", ".join(LEVELS)}, of a fault')
        if kind in VALUES:
            return self._bounds(key, kind, data[kind], place)
        known = NAMED[kind]
        if known is not None and data[kind] not in known:
            self._complain((*key, kind), shown(data[kind]), nearest(data[kind], known))
        return Condition(kind, data[kind], place=place, level=level)

    def _bounds(
        self, key: KeyPath, kind: str, data: Mapping[str, Any], place: Place
    ) -> Condition | None:
        above, below = data.get('above'), data.get('below')
        if above is None and below is None:
            self._complain((*key, kind), 'no bound', 'above, below, or both')
            return None
        if above is not None and below is not None and above >= below:
            self._complain((*key, kind), f'above {above:g} and below {below:g}', 'above < below')
        return Condition(kind, above=above, below=below, place=place)

    def _place(self, key: KeyPath, text: str, kind: str) -> Place:
        if not text:
            if kind == 'status':
                self._complain(key, 'missing', 'needs the module or string')
            return Place()
        place = self.place(key, text)
        allowed = _PLACED.get(kind, ())
        if place.kind not in allowed:
            self._complain(key, shown(text), ' or '.join(allowed) or f'{kind} has no place')
        return place

    def place(self, key: KeyPath, text: str) -> Place:
        """Return a place of the pack; complain of one that is not there."""
        modules = {module.name: module for module in self._pack.modules}
        strings = [string.name for string in self._pack.strings]
        name, colon, cell = text.partition(':')
        if not colon and name in strings:
            return Place(string=name)
        if name not in modules:
            known = [*modules, *strings]
            self._complain(key, shown(text), f'a place; {nearest(name, known)}')
            return Place()
        module = modules[name]
        if not colon:
            return Place(module.string, name)
        if not cell.isdecimal() or not 1 <= int(cell) <= module.cells:
            self._complain(key, shown(text), f'cells {name}:1 to {name}:{module.cells}')
            return Place(module.string, name)
        return Place(module.string, name, int(cell))
