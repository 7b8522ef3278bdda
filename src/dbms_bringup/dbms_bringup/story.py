# SPDX-License-Identifier: Apache-2.0
"""What happened in a run, and when: lines while it runs, a summary at its end. Knows no ROS."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

OPEN_STATES = ('OPEN', 'FAULTED')
LONGEST_STEP = 1.0  # s between two measurements over which a current is integrated
LEVELS = {1: 'MOL', 2: 'RSL', 3: 'MSL'}
MSL = 3


@dataclass(frozen=True)
class Moment:
    """A time in s: since the start, and that of the battery or recording (NaN: not known)."""

    wall: float
    battery: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.battery):
            return f'{self.wall:8.1f} s'
        return f'{self.wall:8.1f} s  battery {clock(self.battery)}'


@dataclass(frozen=True)
class FaultSeen:
    """A fault as protection tells it."""

    name: str
    level: int
    string: str
    module: str
    cell: int  # 1-based, 0: none
    sensor: int
    value: float
    limit: float
    unit: str
    active: bool
    latched: bool
    text: str

    @property
    def key(self) -> tuple[str, int, str, str, int, int]:
        """Which fault it is, whatever its values."""
        return self.name, self.level, self.string, self.module, self.cell, self.sensor

    @property
    def place(self) -> str:
        """Where it is, as short as it can be said: m1:3 is cell 3 of module m1."""
        if self.cell:
            return f'{self.module}:{self.cell}'
        if self.sensor:
            return f'{self.module} sensor {self.sensor}'
        return self.module or self.string


@dataclass
class Connection:
    """A time during which at least one string was connected."""

    connected: Moment
    opened: Moment | None = None
    why: str = ''


@dataclass
class Extreme:
    """A cell voltage that none has passed."""

    volts: float = math.nan
    module: str = ''
    cell: int = 0
    at: Moment = field(default_factory=lambda: Moment(math.nan))

    def __str__(self) -> str:
        return f'{self.volts:.4f} V ({self.module}:{self.cell})' if self.cell else '-'


class Story:
    """Collects a run. `tell` gets a line for everything that a person would want to know."""

    def __init__(self, tell: Callable[[str], None], time_scale: float = 1.0) -> None:
        self._tell_line = tell
        self._scale = time_scale
        self._strings: dict[str, str] = {}
        self._reasons: list[str] = []  # of the strings' states
        self._why_to_come = False  # of the newest opening
        self._buses: dict[str, str] = {}
        self._warnings: dict[str, str] = {}  # of estimation
        self._open: dict[str, bool] = {}  # string -> contactors, by their feedback
        self._limited: tuple[str, str] = ('', '')
        self._seen: dict[tuple[Any, ...], bool] = {}  # fault -> active when last told
        self._last: dict[str, tuple[float, float, float]] = {}  # string -> stamp, A, V
        self.state = ''
        self.connections: list[Connection] = []
        self.faults: list[tuple[Moment, FaultSeen]] = []  # as raised
        self.soc_first = self.soc_last = math.nan
        self.charged = self.discharged = 0.0  # Ah
        self.energy_in = self.energy_out = 0.0  # Wh
        self.lowest, self.highest = Extreme(), Extreme()
        self.limits = (math.nan, math.nan)  # A, charge and discharge

    @property
    def connected(self) -> bool:
        """Tell whether a string is connected."""
        return bool(self.connections) and self.connections[-1].opened is None

    @property
    def settled(self) -> bool:
        """Tell whether no string is connected, and protection has said why."""
        return not self.connected and not self._why_to_come

    @property
    def opened_on_fault(self) -> bool:
        """Tell whether all strings have opened, and a fault was why."""
        return bool(self.connections) and not self.connected and self.state == 'FAULT'

    def on_state(self, now: Moment, state: str, strings: Sequence[tuple[str, str, str]]) -> None:
        """Take the state of protection; strings as (name, state, reason)."""
        for name, string_state, reason in strings:
            if self._strings.get(name) != string_state:
                self._strings[name] = string_state
                why = '' if reason.upper() == string_state else f', {reason}'
                self._tell(now, f'string {name}: {string_state}{why}')
        self._reasons = [reason for _, _, reason in strings if reason]
        if state != self.state:
            self.state = state
            self._tell(now, f'pack: {state}')
        in_use = any(one[1] in ('CONNECTED', 'LEAVING') for one in strings)
        if in_use and not self.connected:
            self.connections.append(Connection(now))
        elif strings and self.connections and all(one[1] in OPEN_STATES for one in strings):
            last = self.connections[-1]
            if last.opened is None or self._why_to_come:
                last.opened = last.opened or now
                last.why = '; '.join(one[2] for one in strings if one[2]) or state
                self._why_to_come = False

    def on_faults(self, now: Moment, faults: Sequence[FaultSeen]) -> None:
        """Take all faults that are active or latched."""
        current = {fault.key: fault for fault in faults}
        for key, fault in current.items():
            if fault.active and not self._seen.get(key):
                self.faults.append((now, fault))
                self._tell(now, f'fault: {fault.text}')
        for key, was_active in self._seen.items():
            if was_active and not (key in current and current[key].active):
                name, level, string, module, cell, sensor = key
                gone = FaultSeen(
                    name, level, string, module, cell, sensor,
                    math.nan, math.nan, '', False, False, '',
                )  # fmt: skip
                latched = ', latched' if key in current else ''
                self._tell(now, f'fault over: {name} {LEVELS[level]} at {gone.place}{latched}')
        self._seen = {key: fault.active for key, fault in current.items()}

    def on_limits(
        self, now: Moment, charge: float, discharge: float, charge_why: str, discharge_why: str
    ) -> None:
        """Take the power limits in A, and what limits them."""
        before, self.limits = self.limits, (charge, discharge)
        # That an open pack allows nothing need not be said for each of the reasons in turn.
        news = (charge_why, discharge_why) != self._limited and self.limits != (0.0, 0.0)
        if not news and (self.limits == (0.0, 0.0)) == (before == (0.0, 0.0)):
            return
        self._limited = charge_why, discharge_why
        reasons = ' / '.join(dict.fromkeys(why for why in self._limited if why)) or 'nothing'
        self._tell(
            now, f'limits: charge {charge:.1f} A, discharge {discharge:.1f} A; by {reasons}'
        )

    def on_string(self, name: str, stamp: float, current: float, voltage: float) -> None:
        """Integrate the current in A (positive = charging) of one string; stamp in s."""
        before = self._last.get(name)
        self._last[name] = stamp, current, voltage
        if before is None or not self.connected:
            return
        step = stamp - before[0]
        if not 0.0 < step <= LONGEST_STEP or math.isnan(before[1]):
            return
        hours = step * self._scale / 3600.0
        charge = before[1] * hours
        energy = 0.0 if math.isnan(before[2]) else charge * before[2]
        if charge > 0.0:
            self.charged += charge
            self.energy_in += energy
        else:
            self.discharged -= charge
            self.energy_out -= energy

    def on_contactors(self, now: Moment, name: str, is_open: bool, lease_expired: bool) -> None:
        """Take the feedback of the contactors of one string: open only if all of them are.

        It tells what protection cannot, as when protection is what has ended.
        """
        self._open[name] = is_open
        if self.connected and all(self._open.values()):
            connection = self.connections[-1]
            connection.opened = now
            connection.why = 'the lease ran out' if lease_expired else '; '.join(self._reasons)
            self._why_to_come = not lease_expired  # protection says it better, and may be late
            self._tell(now, f'contactors: open{", the lease ran out" if lease_expired else ""}')

    def on_cells(self, now: Moment, module: str, voltages: npt.NDArray[np.float32]) -> None:
        """Take the cell voltages in V of one module, shape (cells,)."""
        measured = voltages[np.isfinite(voltages)]
        if not len(measured):
            return
        low, high = float(measured.min()), float(measured.max())
        if not low >= self.lowest.volts:
            cell = int(np.nanargmin(voltages)) + 1
            self.lowest = Extreme(low, module, cell, now)
        if not high <= self.highest.volts:
            cell = int(np.nanargmax(voltages)) + 1
            self.highest = Extreme(high, module, cell, now)

    def on_soc(self, soc: float) -> None:
        """Take the pack's SOC, 0..1."""
        if math.isnan(soc):
            return
        if math.isnan(self.soc_first):
            self.soc_first = soc
        self.soc_last = soc

    def on_bus(self, now: Moment, name: str, text: str) -> None:
        """Take what the driver says of a bus."""
        if self._buses.get(name) != text:
            self._buses[name] = text
            self._tell(now, f'bus {name}: {text}')

    def on_estimation(self, now: Moment, what: str, text: str) -> None:
        """Take what estimation warns of; '' where there is nothing."""
        if self._warnings.get(what, '') != text:
            self._warnings[what] = text
            if text:
                self._tell(now, f'estimation: {text}')

    def note(self, now: Moment, text: str) -> None:
        """Tell something that is no part of the summary."""
        self._tell(now, text)

    def status_line(self, now: Moment) -> str:
        """Return one line that says how it stands."""
        currents = [one[1] for one in self._last.values()]
        voltages = [one[2] for one in self._last.values()]
        current = sum(currents) if currents else math.nan
        voltage = max(voltages) if voltages else math.nan
        return (
            f'{now}  {self.state or "waiting"}: SOC {100 * self.soc_last:.1f} %, '
            f'{voltage:.2f} V, {current:+.1f} A, cells {self.lowest} .. {self.highest} so far'
        )

    def summary(self) -> dict[str, Any]:
        """Return all of it for a machine; what is not known is None."""
        return _without_nan(
            {
                'connections': [asdict(one) for one in self.connections],
                'faults': [
                    {**asdict(fault), 'level': LEVELS[fault.level], 'place': fault.place,
                     'raised': asdict(moment)}
                    for moment, fault in self.faults
                ],
                'soc': {'from': self.soc_first, 'to': self.soc_last},
                'charge_ah': {'charged': self.charged, 'discharged': self.discharged},
                'energy_wh': {'charged': self.energy_in, 'discharged': self.energy_out},
                'cell_voltage': {'min': asdict(self.lowest), 'max': asdict(self.highest)},
                'state': self.state,
            }
        )  # fmt: skip

    def lines(self) -> list[str]:
        """Return all of it for a person."""
        lines = []
        if not self.connections:
            lines.append('never connected')
        for one in self.connections:
            lines.append(f'{one.connected}  connected')
            lines += self._worst_faults(one)
            if one.opened is not None:
                lines.append(f'{one.opened}  opened: {one.why}')
        lines += [
            f'SOC       {_percent(self.soc_first)} to {_percent(self.soc_last)}',
            f'charge    {self.charged:.2f} Ah in, {self.discharged:.2f} Ah out',
            f'energy    {self.energy_in:.1f} Wh in, {self.energy_out:.1f} Wh out',
            f'cells     {self.lowest} to {self.highest}',
        ]
        return lines

    def _worst_faults(self, connection: Connection) -> list[str]:
        """Return the faults raised while it was connected, in the order of time."""
        end = math.inf if connection.opened is None else connection.opened.wall
        return [
            f'{moment}  {fault.text}'
            for moment, fault in self.faults
            if connection.connected.wall <= moment.wall <= end
        ]

    def _tell(self, now: Moment, text: str) -> None:
        self._tell_line(f'{now}  {text}')


def clock(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    whole = int(seconds)
    return f'{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}'


def _percent(ratio: float) -> str:
    return '-' if math.isnan(ratio) else f'{100 * ratio:.1f} %'


def _without_nan(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
