# SPDX-License-Identifier: Apache-2.0
"""What is worth keeping of a guard: faults with freeze frames, commands, contactors, wear.

The guard's thread only notes; everything that touches the disk is handed to `put`, which does it
in a thread of its own.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dbms_pack import Level, Pack

from .contactors import ALL_OPEN, NAMES
from .event_log import Event, EventLog
from .faults import Fault, Place
from .freeze_frame import SPAN, Recorder, packed
from .guard import Guard
from .lease import ContactorCommand
from .wear import Wear

NOTED = 10000  # events that may wait for the next round; the oldest give way
WORN = 'CONTACTOR_WORN'
HEAT_STEP = 5.0  # J that a precharge resistor takes up until that is kept
FRAMES_AT_ONCE = 4  # trips whose frames are still being filled

Kept = Callable[[str], None]  # called in the thread of the disk: '' when kept, else why it is not


class Journal:
    """Keeps what one guard does. Stamps are s since 1970; `now` is the time of the guard."""

    def __init__(
        self, pack: Pack, log: EventLog, put: Callable[[Callable[[], Any]], None]
    ) -> None:
        self._pack = pack
        self._log = log
        self._put = put
        self._number = log.open()
        self._recorder = Recorder(pack)
        self._noted: deque[tuple[str, str, str, Mapping[str, Any], bool]] = deque(maxlen=NOTED)
        self._asked: list[Kept] = []  # who wants to know whether what is noted was kept
        self._latched_changed = False
        self.wear = Wear(pack, log.wear())
        self._contacts = [ALL_OPEN for _ in pack.strings]
        self._order = {string.name: string for string in pack.strings}
        self._heat = [0.0] * len(pack.strings)  # J, as kept last
        self._frames: list[tuple[int, float]] = []  # number of the event, time of the trip
        self._guard: Guard | None = None

    # -- noting -------------------------------------------------------------------------------

    def attach(self, guard: Guard, stamp: float) -> None:
        """Follow a guard, and give it back the latched faults of earlier runs."""
        self._guard = guard
        names = {string.name for string in self._pack.strings}
        for kept in self._log.latched():
            fault = _fault(kept, guard.now - stamp)
            if fault is not None and fault.place.string in names:
                guard.book.restore(fault)
        for name, joules, at in self._log.heat():
            if name in names:
                guard.resistors[list(self._order).index(name)].restore(joules, stamp - at)
        guard.book.listener = self._on_fault
        for name in names:
            self._check_wear(name)
        text = f'protection of {self._pack.name} ({self._pack.digest[:12]}) configured'
        self._noted.append(('start', '', text, {'latched': len(guard.book)}, False))

    def _on_fault(self, what: str, fault: Fault) -> None:
        tripped = what in ('raised', 'again') and fault.level is Level.MSL
        self._noted.append(('fault', fault.level.name, f'{what}: {fault.text}',
                            {'what': what, **_told(fault)}, tripped))  # fmt: skip
        if fault.latched:
            self._latched_changed = True
        if what == 'reset' and fault.name == WORN:
            self.wear.renew(fault.place.string)

    def command(
        self, kind: str, origin: str, reason: str, strings: str, answer: str, stamp: float,
        kept: Kept | None = None,
    ) -> None:  # fmt: skip
        """Note a command of a person or planner, with what was answered.

        Who gives `kept` has it handed over at once, with all that it has changed.
        """
        detail = {'command': kind, 'origin': origin, 'reason': reason, 'strings': strings}
        text = f'{kind} by {origin or "unknown"} ({reason or "no reason given"}): {answer}'
        self._noted.append(('command', '', text, detail, False))
        if kept is None:
            return
        if self._guard is None:
            kept('the event log is closed')
            return
        self._asked.append(kept)
        self._hand_over(self._guard, stamp)

    def contactors(self, command: ContactorCommand) -> None:
        """Note a command to contactors that moves any, and what wears them."""
        before, after = self._contacts[command.string], command.contacts
        if before == after or self._guard is None:
            return
        self._contacts[command.string] = after
        string = self._pack.strings[command.string]
        current = self._guard.strings[command.string].data.reading(self._guard.now).current
        moved = []
        for name, old, new in zip(NAMES, before, after, strict=True):
            if old != new:
                moved.append(f'{name} {"closes" if new else "opens"}')
                share = abs(current) / max(string.contactors.break_current, 1e-9)
                carried = name != 'precharge' and before[0] and before[2]
                self.wear.moved(string.name, name, new, share if carried else 0.0)
        self._check_wear(string.name)
        flows = '' if current != current else f' at {current:.1f} A'
        reason = self._guard.strings[command.string].sequence.reason
        text = f'string {string.name}: {", ".join(moved)}{flows}: {reason}'
        closed = [name for name, new in zip(NAMES, after, strict=True) if new]
        detail = {'string': string.name, 'closed': closed}
        self._noted.append(('contactor', '', text, detail, False))

    def _check_wear(self, string: str) -> None:
        """Warn of contactors that near what they are made for, until they are renewed."""
        worn = self.wear.worn(string)
        if worn and self._guard is not None:
            nan, now = float('nan'), self._guard.now
            known = self._guard.book.get(WORN, Level.MOL, Place(string))
            if known is not None:
                known.cause = worn
                return
            # Nothing that goes on: it is over, and stands until somebody says it was replaced.
            self._guard.book.put(
                Fault(
                    WORN, Level.MOL, Place(string), nan, nan, '', now, now, active=False,
                    latched=True, cause=worn, reset='named',
                )
            )  # fmt: skip

    # -- keeping ------------------------------------------------------------------------------

    def observe(self, stamp: float) -> None:
        """Take a sample for freeze frames and hand over what is new; call in every cycle."""
        guard = self._guard
        if guard is None:
            return
        readings = [string.reading for string in guard.strings]
        self._recorder.sample(guard.judge.cells, readings, guard.now)
        if self._noted or self.wear.changed:
            self._hand_over(guard, stamp)
        self._keep_heat(guard, stamp)
        due = [frame for frame in self._frames if guard.now - frame[1] >= SPAN]
        for frame in due:
            self._frames.remove(frame)
            self._keep_frame(*frame)

    def _keep_heat(self, guard: Guard, stamp: float) -> None:
        """Keep how warm precharge resistors are, while they are being used."""
        rows = []
        for index, resistor in enumerate(guard.resistors):
            gained = resistor.joules - self._heat[index]
            self._heat[index] = min(self._heat[index], resistor.joules)
            if gained > HEAT_STEP:
                self._heat[index] = resistor.joules
                rows.append((self._pack.strings[index].name, resistor.joules, stamp))
        if rows:
            self._put(lambda: self._log.keep_heat(rows))

    def _hand_over(self, guard: Guard, stamp: float) -> None:
        events = []
        for kind, level, text, detail, tripped in self._noted:
            self._number += 1
            events.append(Event(self._number, stamp, kind, level, text, detail))
            # Trips of one moment share the frame of the first.
            recent = any(guard.now - at < 1.0 for _, at in self._frames)
            if tripped and not recent and len(self._frames) < FRAMES_AT_ONCE:
                self._frames.append((self._number, guard.now))
                self._keep_frame(self._number, guard.now)  # what came before, in case of a crash
        self._noted.clear()
        latched = None
        if self._latched_changed:
            offset = stamp - guard.now
            latched = {_key(f): _told(f, offset) for f in guard.book.latched()}
            self._latched_changed = False
        worn = self.wear.taken()
        asked, self._asked = self._asked, []

        def work() -> None:
            done = self._log.append(events, latched, worn)
            for kept in asked:
                kept('' if done else self._log.problem or 'the file is damaged')

        self._put(work)

    def _keep_frame(self, number: int, tripped: float) -> None:
        frame = self._recorder.cut(tripped)
        self._put(lambda: self._log.keep_frame(number, packed(frame)))

    def finish(self, stamp: float) -> None:
        """Hand over everything, frames that are not full too, and close the file."""
        if self._guard is not None:
            for frame in self._frames:
                self._keep_frame(*frame)
            self._frames.clear()
            self._hand_over(self._guard, stamp)
            self._guard.book.listener = None
            self._guard = None
        self._put(self._log.close)


def _key(fault: Fault) -> str:
    return f'{fault.name} {fault.level.name} {fault.place!r}'


def _told(fault: Fault, offset: float = 0.0) -> dict[str, Any]:
    place = fault.place
    numbers = {'value': fault.value, 'limit': fault.limit, 'worst': fault.worst}
    return {
        'name': fault.name, 'level': fault.level.name, 'string': place.string,
        'module': place.module, 'cell': place.cell, 'sensor': place.sensor, 'unit': fault.unit,
        'under': fault.under, 'cause': fault.cause, 'action': fault.action, 'reset': fault.reset,
        'since': fault.since + offset, 'raised': fault.raised + offset,
        **{name: None if value != value else value for name, value in numbers.items()},
    }  # fmt: skip


def _fault(kept: Mapping[str, Any], offset: float) -> Fault | None:
    """Return a latched fault that is over, as it was kept; None if it cannot be read."""
    nan = float('nan')
    try:
        number = {key: nan if kept[key] is None else float(kept[key])
                  for key in ('value', 'limit', 'worst')}  # fmt: skip
        place = Place(
            str(kept['string']), str(kept['module']), int(kept['cell']), int(kept['sensor'])
        )
        fault = Fault(
            str(kept['name']), Level[kept['level']], place, number['value'], number['limit'],
            str(kept['unit']), float(kept['since']) + offset, float(kept['raised']) + offset,
            under=bool(kept['under']), active=False, latched=True, cause=str(kept['cause']),
            action=str(kept['action']), reset=str(kept['reset']),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None
    return replace(fault, worst=number['worst'])
