# SPDX-License-Identifier: Apache-2.0
"""A whole pack that is not there: its units on their buses, without a clock, a bus or ROS.

pack = load_pack('robot_13s')
world = World(pack, ModelFeed(pack, make_load('robot', pack)))
for frame in world.step(now):    # every 10 ms or so; now: s on a steady clock
    send(frame)                  # frame.bus, frame.can_id, frame.data
world.receive(frame, now)        # each frame that somebody else sent
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from cantools.database.can import Database

from dbms_pack.model import Module, Pack
from dbms_sim import wire
from dbms_sim.boards import CellOffset, VirtualBoard
from dbms_sim.bus_faults import Troubles
from dbms_sim.contactor_unit import VirtualContactorUnit
from dbms_sim.current_sensor import PERFECT, SensorQuality, VirtualCurrentSensor
from dbms_sim.fault_effects import Effect, begin
from dbms_sim.faults import Fault, FaultError, check_fault
from dbms_sim.feeds import Feed, ModelFeed
from dbms_sim.insulation import Insulation
from dbms_sim.link import Contacts
from dbms_sim.listener import Listener
from dbms_sim.string_path import WELDING_CURRENT, ContactorWear
from dbms_sim.wire import Frame

MAX_STALL = 1.0  # s: a longer gap between two steps is not simulated
INRUSH_VOLTAGE = 5.0  # V between string and link at which closing is worth telling


class Event(NamedTuple):
    """Something worth telling, at a battery time in s."""

    position: float
    text: str


class World:
    """Virtual units of a pack.

    `modules` are the boards that are played here, all by default. With `units` contactor units
    and current sensors are played too; without, the boards take current and contactors from what
    the bus says of them, so that a board can be a process of its own.
    """

    def __init__(
        self,
        pack: Pack,
        feed: Feed,
        *,
        modules: Collection[str] | None = None,
        units: bool = True,
        time_scale: float = 1.0,
        database: Database | None = None,
        seed: int = 0,
        current_sensors: SensorQuality = PERFECT,
    ) -> None:
        db = self._db = database or wire.database()
        self.pack = pack
        self.feed = feed
        self.time_scale = time_scale
        self.events: deque[Event] = deque(maxlen=1000)
        self.told = 0  # events ever, so that a reader knows what is new
        self.boards = _make_boards(pack, db, modules)
        self.units: dict[str, VirtualContactorUnit] = {}
        self.sensors: dict[str, VirtualCurrentSensor] = {}
        if units:
            for index, string in enumerate(pack.strings):
                self.units[string.name] = VirtualContactorUnit(string.contactors, db)
                self.sensors[string.name] = VirtualCurrentSensor(
                    string.current_sensor, db, current_sensors, (seed, index)
                )
        self.insulation = Insulation(len(pack.strings))
        self._heard = [] if units else [Listener(string, db) for string in pack.strings]
        self._receivers = self._make_receivers()
        self._bleeding = np.zeros(pack.cells, dtype=int)  # resistors that are on, of any board
        self._last: float | None = None
        self.random: np.random.Generator = np.random.default_rng(seed)  # of the faults
        self.troubles = Troubles(self.random)
        self.intruders: dict[str, VirtualBoard] = {}  # second boards, by the module they mimic
        self._faults: dict[tuple[str, str, str], tuple[Fault, Effect]] = {}
        self._bleeding_bits: dict[str, list[int]] = dict.fromkeys(self.boards, [0])
        self._closed = {name: unit.closed for name, unit in self.units.items()}
        self._wear = [ContactorWear(one.contactors.break_current) for one in pack.strings]
        self._main = np.zeros(len(pack.strings), dtype=bool)

    def step(self, now: float) -> list[Frame]:
        """Go on to `now`, s on a steady clock, and return the frames that are due."""
        dt = self._elapsed(now)
        self._step_faults(now)
        frames: list[Frame] = []
        for unit in self.units.values():
            frames += unit.step(now)
        self._report_contactors(now)
        self._see_bleeding(now)
        for text in self._advance(dt, now):
            self._tell(text)
        self._see_fuses(now)
        feed = self.feed
        strings, currents = feed.string_voltages, feed.currents
        insulation = self.insulation.resistance
        for index, sensor in enumerate(self.sensors.values()):
            frames += sensor.step(
                now,
                float(currents[index]),
                float(strings[index]),
                feed.link_voltage,
                float(insulation[index]),
            )
        voltages, temperatures = feed.voltages, feed.temperatures
        for board in (*self.boards.values(), *self.intruders.values()):
            frames += board.step(now, voltages, temperatures, feed.position)
        return self.troubles.send(frames, now)

    def receive(self, frame: Frame, now: float) -> None:
        """Take a frame that somebody else sent; one that is for nobody here is no matter."""
        receiver = self._receivers.get((frame.bus, frame.can_id))
        if receiver is None or not self.troubles.lets_in(frame):
            return
        receiver(frame.data, now)
        for board in self.intruders.values():
            if board.module.bus == frame.bus and board.command_id == frame.can_id:
                board.receive(frame.data, now)

    def silence(self, modules: Iterable[str]) -> None:
        """Pull the plug of exactly these boards; KeyError names one that is not played here."""
        wanted = set(modules)
        for name in wanted - set(self.boards):
            raise KeyError(name)
        for name, board in self.boards.items():
            if board.unplugged('plug') != (name in wanted):
                board.plug(name not in wanted)
                self._tell(f'module {name} {"falls silent" if board.silent else "is back"}')

    def inject(
        self,
        name: str,
        place: str = '',
        parameters: Mapping[str, object] | None = None,
        now: float | None = None,
    ) -> Fault:
        """Let a fault of `faults.KINDS` begin; return it with the values of all parameters.

        The same fault at the same place is replaced. `now`: s, by default that of the last step.
        FaultError, a ValueError, says what is wrong with the request and what is allowed.
        """
        fault = check_fault(self.pack, name, place, parameters)
        if now is None:
            now = self._last or 0.0
        previous = self._faults.pop(fault.key, None)
        if previous is not None:
            previous[1].stop()
        effect = begin(self, fault, now)
        self._faults[fault.key] = fault, effect
        self._step_faults(now)
        self._tell(f'fault {fault}')
        return fault

    def clear(self, name: str = '', place: str = '') -> list[Fault]:
        """Mend what is broken of that name and place, all if empty; return what was.

        What it has done to the cells stays. FaultError if nothing of that name or place is broken.
        """
        keys = [key for key in self._faults if name in ('', key[0]) and place in ('', key[1])]
        if (name or place) and not keys:
            active = ', '.join(str(fault) for fault in self.faults) or 'none'
            raise FaultError(f"no fault '{name} {place}' to clear; there are: {active}")
        mended = []
        for key in keys:
            fault, effect = self._faults.pop(key)
            effect.stop()
            self._tell(f'cleared: fault {fault}')
            mended.append(fault)
        self._load_cells()
        return mended

    @property
    def faults(self) -> list[Fault]:
        """The faults that are there now, oldest first."""
        return [fault for fault, _ in self._faults.values()]

    def add_intruder(self, module: Module, serial: int) -> None:
        """Put a second board on the address of a module."""
        self.intruders[module.name] = VirtualBoard(module, self._db, module.period / 2, serial)

    def offset_cells(self, offsets: Iterable[CellOffset]) -> None:
        """Let boards measure exactly these cells wrongly; KeyError for one that is not here."""
        offsets = list(offsets)
        for offset in offsets:
            if offset.cell > self.boards[offset.module].module.cells:
                raise KeyError(f'{offset.module}:{offset.cell}')
        for board in self.boards.values():
            board.offsets[:] = 0.0
        for offset in offsets:
            self.boards[offset.module].offsets[offset.cell - 1] = offset.offset

    @property
    def refused(self) -> int:
        """Frames for units played here that did not pass the check."""
        boards = sum(board.refused for board in self.boards.values())
        return boards + sum(unit.refused for unit in self.units.values())

    def contactors(self) -> dict[str, str]:
        """Name the closed contactors of each string whose unit is played here."""
        return dict(self._closed)

    def _step_faults(self, now: float) -> None:
        if not self._faults:
            return
        for _, effect in self._faults.values():
            if effect.step is not None:
                effect.step(now, self.feed.position)
        self._load_cells()

    def _load_cells(self) -> None:
        """Give the cells the shorts and the heat of all faults."""
        if not isinstance(self.feed, ModelFeed):
            return
        effects = [effect for _, effect in self._faults.values()]
        plant, none = self.feed.plant, np.zeros(self.pack.cells)
        plant.short_conductance = sum((e.short for e in effects if e.short is not None), none)
        plant.extra_heat[:] = sum((e.heat for e in effects if e.heat is not None), none)

    def _advance(self, dt: float, now: float) -> list[str]:
        if self._heard:
            currents = np.array([listener.current(now) for listener in self._heard])
            connected = any(listener.main_closed(now) for listener in self._heard)
            return self.feed.follow(dt, self.time_scale, currents, self._bleeding, connected)
        self.insulation.join(np.array([unit.poles for unit in self.units.values()]))
        if isinstance(self.feed, ModelFeed):
            self.feed.leakage = self.insulation.leakage(self.feed.string_voltages)
        precharge = np.array([unit.precharge_closed for unit in self.units.values()])
        contacts = Contacts(self._main.copy(), precharge)
        return self.feed.advance(dt, self.time_scale, contacts, self._bleeding)

    def _elapsed(self, now: float) -> float:
        last = now if self._last is None else self._last
        self._last = max(now, last)
        elapsed = self._last - last
        if elapsed > MAX_STALL:
            self._tell(f'stood still for {elapsed:.1f} s: {MAX_STALL:g} s of it are simulated')
        return min(elapsed, MAX_STALL)

    def _report_contactors(self, now: float) -> None:
        for index, (name, unit) in enumerate(self.units.items()):
            if unit.closed == self._closed[name]:
                continue
            joined = unit.main_closed and not self._main[index]
            left = self._main[index] and not unit.main_closed
            before = self._closed[name]
            self._main[index] = unit.main_closed
            self._closed[name] = unit.closed
            why = ', lease ran out' if unit.lease_expired else ''
            self._tell(f'string {name}: contactors {unit.closed}{why}')
            gap = abs(float(self.feed.string_voltages[index]) - self.feed.link_voltage)
            if joined and gap > INRUSH_VOLTAGE:
                self._tell(f'string {name}: INRUSH, closed onto a link {gap:.1f} V away')
                self._inrush(index, gap, 'minus' if 'plus' in before else 'plus', now)
            elif left:
                self._break(index, 'minus' if 'plus' in unit.closed else 'plus', now)

    def _inrush(self, index: int, gap: float, contactor: str, now: float) -> None:
        feed, string = self.feed, self.pack.strings[index].name
        if isinstance(feed, ModelFeed) and gap > WELDING_CURRENT * feed.path_resistance[index]:
            self.inject('contactor_welded', string, {'contactor': contactor}, now)

    def _break(self, index: int, contactor: str, now: float) -> None:
        string, wear = self.pack.strings[index].name, self._wear[index]
        current = float(self.feed.currents[index])
        if wear.breaks(current):
            self._tell(f'string {string}: ARC, {contactor} opened under {current:.0f} A')
            if wear.wear >= 1.0:
                wear.wear = 0.0  # of the new contactor, if this one is mended
                self.inject('contactor_welded', string, {'contactor': contactor}, now)

    def _see_fuses(self, now: float) -> None:
        if not isinstance(self.feed, ModelFeed) or not self.feed.path.open.any():
            return
        known = {str(fault.place) for fault in self.faults if fault.kind.name == 'fuse_open'}
        for string, blown in zip(self.pack.strings, self.feed.path.open, strict=True):
            if blown and string.name not in known:
                self.inject('fuse_open', string.name, now=now)

    def _see_bleeding(self, now: float) -> None:
        for name, board in self.boards.items():
            bits = [board.bleeding(now)]
            if name in self.intruders:
                bits.append(self.intruders[name].bleeding(now))
            if bits != self._bleeding_bits[name]:
                self._bleeding_bits[name] = bits
                cells = np.arange(board.module.cells)
                on = sum((one >> cells) & 1 for one in bits)
                self._bleeding[board.module.cell_slice] = on

    def _tell(self, text: str) -> None:
        self.told += 1
        self.events.append(Event(self.feed.position, text))

    def _make_receivers(self) -> dict[tuple[str, int], Callable[[bytes, float], None]]:
        receivers: dict[tuple[str, int], Callable[[bytes, float], None]] = {}
        for board in self.boards.values():
            receivers[board.module.bus, board.command_id] = board.receive
        for string in self.pack.strings:
            unit = self.units.get(string.name)
            if unit is not None:
                receivers[string.contactors.bus, unit.command_id] = unit.receive
        for string, heard in zip(self.pack.strings, self._heard, strict=False):
            receivers[string.current_sensor.bus, heard.current_id] = heard.receive_current
            receivers[string.contactors.bus, heard.feedback_id] = heard.receive_feedback
        return receivers


def _make_boards(
    pack: Pack, db: Database, modules: Collection[str] | None
) -> dict[str, VirtualBoard]:
    """Make the boards of `modules`, their scans spread evenly over the period.

    The place of a board in time does not depend on which others are played with it.
    """
    if modules is not None:
        for name in modules:
            pack.module(name)
    return {
        module.name: VirtualBoard(module, db, module.period * index / len(pack.modules))
        for index, module in enumerate(pack.modules)
        if modules is None or module.name in modules
    }
