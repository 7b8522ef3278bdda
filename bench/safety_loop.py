# SPDX-License-Identifier: Apache-2.0
"""A pack and its guard in one process, in simulated time, over the real wire protocol.

The cores that the nodes run: virtual units of dbms_sim, frames, decoders and contactor leases of
dbms_drivers, the guard of dbms_protection. What is left out is what carries messages: buses,
DDS, threads. Time is a number that this module advances; the same seed gives the same run.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dbms_drivers import codec
from dbms_drivers.assembler import ModuleAssembler, ModuleScan
from dbms_drivers.decoder import BusDecoder
from dbms_drivers.lease import Command, ContactorLease
from dbms_drivers.strings import StringTracker, StringValues
from dbms_pack import Level, Pack
from dbms_protection.contactors import State
from dbms_protection.faults import Place
from dbms_protection.guard import Guard
from dbms_protection.lease import ContactorCommand
from dbms_protection.measurements import StringSample
from dbms_sim.loads import Allowed
from dbms_sim.wire import Frame
from dbms_sim.world import World

STEP = 0.01  # s, as the simulator node has it
CYCLE = 0.02  # s, of protection, as its node has it by default
TICKS_PER_LEASE = 6
VALID_FOR = 1.5  # s, limits hold without a new message
HEARTBEAT = 0.5  # s


@dataclass(frozen=True)
class Raised:
    """A fault that was confirmed, at a simulated time in s."""

    time: float
    name: str
    level: Level
    place: Place
    text: str


class Loop:
    """A world and the guard of its pack. Times in s of simulated time."""

    def __init__(
        self, pack: Pack, world: World, step: float = STEP, jitter: float = 0.0, seed: int = 0
    ) -> None:
        """Begin at 0 s. `jitter` (s): a step is late by up to that much, as in life."""
        self.loss = 0.0  # share of the frames that never arrive, either way
        self.dropped: Callable[[Frame], bool] = lambda frame: False  # these never do
        self.held_up = False  # protection does nothing
        self.driver_mute = False  # the contactor driver acts and does not answer
        self.driver_refuses = False
        self.pack = pack
        self.world = world
        self.now = 0.0
        self.raised: list[Raised] = []
        self.states: list[tuple[float, int, State]] = []
        self.guard = Guard(pack, self._send, time_scale=world.time_scale)
        self.guard.book.listener = self._on_fault
        self._step = step
        self._jitter = jitter
        self._random = random.Random(seed)
        self.steps = 0
        self.frames = 0  # heard
        self._names = {module.name: index for index, module in enumerate(pack.modules)}
        self._strings = {string.name: index for index, string in enumerate(pack.strings)}
        assemblers = [ModuleAssembler(module) for module in pack.modules]
        self.trackers = [StringTracker(string) for string in pack.strings]
        self.decoders = {bus: BusDecoder(bus, assemblers, self.trackers) for bus in pack.buses}
        self._leases = [ContactorLease(string.contactors.lease) for string in pack.strings]
        self._counters = [0] * len(pack.strings)
        self._sequences = [0] * len(pack.strings)
        self._answers: list[tuple[ContactorCommand, bool, str]] = []
        self._seen = [State.OPEN] * len(pack.strings)
        shortest = min(string.contactors.lease for string in pack.strings)
        self._cycle = min(CYCLE, shortest / TICKS_PER_LEASE)
        self._cycles = 0
        self._told: object = None
        self._told_at = -math.inf
        self.guard.activate(0.0)

    def run(self, until: float, watch: Callable[[], bool] | None = None) -> bool:
        """Go on to a time; with `watch` only until it returns true. Tell whether it did."""
        while self.now < until:
            self.advance()
            if watch is not None and watch():
                return True
        return False

    def advance(self) -> None:
        """Go on by one step of the world."""
        # The first one is punctual, and the sensors' schedules begin with it.
        late = self._jitter * (1e-6 + self._random.random()) if self.steps else 0.0
        self.steps += 1
        now = self.now = self.steps * self._step + late
        answers, self._answers = self._answers, []
        for command, accepted, message in answers:
            self.guard.on_answer(command.string, command.sequence, accepted, message, now)
        for frame in self.world.step(now):
            lost = self.loss and self._random.random() < self.loss
            if not (lost or self.dropped(frame)):
                self._hear(frame, now)
        if now >= self._cycles * self._cycle:
            self._cycles += 1
            if not self.held_up:
                self.guard.tick(now)
                self._tell_limits(now)
        for index, lease in enumerate(self._leases):
            due = lease.poll(now) if lease.closed else None
            if due is not None:
                self._transmit(index, due, now)
        for index, string in enumerate(self.guard.strings):
            if string.state is not self._seen[index]:
                self._seen[index] = string.state
                self.states.append((now, index, string.state))

    def _hear(self, frame: Frame, now: float) -> None:
        self.frames += 1
        output = self.decoders[frame.bus].feed(frame.can_id, frame.data, now)
        if output is None or self.held_up:
            return
        if isinstance(output, ModuleScan):
            self.guard.on_cells(
                self._names[output.module], output.sequence, output.voltages,
                output.temperatures, output.status, now,
            )  # fmt: skip
            return
        index = self._strings[output.string.name]
        self._sequences[index] += 1
        self.guard.on_string(index, self._sequences[index], _sample(output.compose(now)), now)

    def _tell_limits(self, now: float) -> None:
        limits = self.guard.limits
        if limits is not self._told or now - self._told_at >= HEARTBEAT:
            self._told, self._told_at = limits, now
            allowed = Allowed(
                limits.charge_current, limits.discharge_current,
                limits.charge_voltage, limits.discharge_voltage,
            )  # fmt: skip
            self.world.feed.hear_limits(allowed, VALID_FOR)

    def _send(self, command: ContactorCommand) -> None:
        now, index = self.now, command.string
        if self.driver_refuses and any(command.contacts):
            self._answers.append((command, False, 'as the case wants it'))
            return
        lease = self._leases[index]
        refusal = lease.ask(command.contacts, command.lease, command.sequence, now)
        if not self.driver_mute:
            self._answers.append((command, not refusal, refusal))
        if not refusal:
            self._transmit(index, lease.command(now), now)

    def _transmit(self, index: int, command: Command, now: float) -> None:
        unit = self.pack.strings[index].contactors
        counter = self._counters[index]
        self._counters[index] = (counter + 1) & 0xF
        can_id, data = codec.encode_contactor_command(
            unit.address, counter, command.contacts, command.lease, command.sequence
        )
        if not (self.loss and self._random.random() < self.loss):
            self.world.receive(Frame(unit.bus, can_id, data), now)

    def _on_fault(self, what: str, fault) -> None:
        if what in ('raised', 'again'):
            self.raised.append(Raised(self.now, fault.name, fault.level, fault.place, fault.text))


def connected(loop: Loop) -> bool:
    """Tell whether all strings of a pack are."""
    return all(string.state is State.CONNECTED for string in loop.guard.strings)


def _sample(values: StringValues) -> StringSample:
    """Return a measurement as it arrives at the guard: floats of a message have 32 bits."""
    status = values.status
    f = np.float32
    return StringSample(
        float(f(values.current)), values.current_age, float(f(values.string_voltage)),
        float(f(values.link_voltage)), values.voltage_age,
        (values.minus, values.precharge, values.plus), values.contactor_age, values.interlock,
        bool(status & 1), bool(status & 2), bool(status & 4), bool(status & 8),
        bool(status & 16), values.insulation, values.insulation_age,
    )  # fmt: skip
