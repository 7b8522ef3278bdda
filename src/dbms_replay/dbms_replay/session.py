# SPDX-License-Identifier: Apache-2.0
"""A replay: recorded messages through the cores of the nodes, in recorded time.

Everything happens in one thread and in the order of the recording; the steady timers of the nodes
are ticks on a grid of recorded time. The same recording gives the same result, to the bit.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dbms_estimation.battery_state import BatteryView
from dbms_estimation.estimation import Estimation
from dbms_estimation.pack_estimator import PackEstimator
from dbms_pack import Pack
from dbms_protection import conversions
from dbms_protection.contactors import CLOSING, State
from dbms_protection.faults import Fault
from dbms_protection.guard import Guard
from dbms_protection.lease import ContactorCommand

from .contactors import ReplayedContactors, Wishes
from .decoding import Measurement, Scan
from .outcome import Event, Outcome, level_name, place_name

GUARD_PERIOD = 0.02  # s, as the node has it by default
ESTIMATION_PERIOD = 0.1  # s
TICKS_PER_LEASE = 6  # as in the node
BEGUN = ('raised', 'again')  # what the book says of a fault that begins


class Session:
    """The cores of one pack, and what comes of them.

    `watch` is called after each tick of the estimator with the time and what it knows, for those
    who want outputs of the nodes; `told` after each change of what protection tells.
    """

    def __init__(
        self,
        pack: Pack,
        outcome: Outcome,
        *,
        states_recorded: bool,
        time_scale: float = 1.0,
    ) -> None:
        self.pack = pack
        self.outcome = outcome
        self.guard = Guard(pack, self._send, time_scale=time_scale)
        self.estimation = Estimation(pack, PackEstimator(pack, time_scale=time_scale))
        self.watch: Callable[[float, BatteryView], None] | None = None
        self.told: Callable[[float], None] | None = None
        self._states_recorded = states_recorded
        self._contactors = [ReplayedContactors() for _ in pack.strings]
        self._wishes = Wishes(len(pack.strings), states_recorded)
        self._answers: list[ContactorCommand] = []
        self._refusals: dict[str, str] = {}  # by string, why it could not be connected at last
        self._seen: tuple[int, int] = (-1, -1)
        self._changes: list[Event] = []  # of faults, since they were noted
        self.guard.book.listener = self._on_fault
        self._states: list[State] = [State.OPEN] * len(pack.strings)
        self._currents = np.full(len(pack.strings), np.nan)
        shortest = min(string.contactors.lease for string in pack.strings)
        self._guard_period = min(GUARD_PERIOD, shortest / TICKS_PER_LEASE)
        self._ticks = self._estimates = 0  # done since `begin`
        self._begun = 0.0
        self._due = 0.0

    def begin(self, now: float) -> None:
        """Begin to guard, with nothing known; also after a gap in the recording."""
        self.guard.activate(now)
        self._begun, self._ticks, self._estimates = now, 0, 0
        self._due = now
        self._wishes = Wishes(len(self.pack.strings), self._states_recorded)
        self._after(now)

    # -- messages -----------------------------------------------------------------------------

    def cells(self, index: int, scan: Scan, now: float) -> None:
        """Take a scan of the module of that index."""
        self.estimation.on_scan(
            index, scan.stamp, now, scan.voltages, scan.temperatures, scan.serial
        )
        self.guard.on_cells(
            index, scan.sequence, scan.voltages, scan.temperatures, scan.status, now
        )
        self._after(now)

    def string(self, index: int, measured: Measurement, now: float) -> None:
        """Take a measurement of the string of that index."""
        self.estimation.on_measurement(index, measured, measured.stamp, now)
        self._currents[index] = measured.current
        sample, lease = conversions.sample(measured), measured.lease_remaining
        string, contactors = self.guard.strings[index], self._contactors[index]
        if not contactors.agree(sample, lease):
            state = string.sequence.state
            connecting = state in CLOSING or (state is State.OPEN and self._wishes.wanted(index))
            cells = self.guard.judge.cells.voltages[string.string.cell_slice]
            total = float(cells.sum(dtype=np.float64))
            sample = contactors.seen(sample, lease, connecting, total)
        self.guard.on_string(index, measured.sequence, sample, now)
        self._after(now)

    def state(self, index: int, state: int, last_command: str, now: float) -> None:
        """Take the recorded state of the string of that index, and what was commanded then."""
        try:
            recorded = State(state)
        except ValueError:
            self.outcome.problems['states that are none'] += 1
            return
        self._contactors[index].recorded = recorded
        disconnected = last_command.startswith('disconnect')
        for command in self._wishes.state(index, recorded, disconnected):
            self._command(command, index, now)

    # -- time ---------------------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Do what the nodes' timers would have done up to `now`."""
        while self._due <= now:
            at = self._due
            self._answer(at)
            self.guard.tick(at)
            self._ticks += 1
            if at >= self._begun + self._estimates * ESTIMATION_PERIOD:
                self._estimates += 1
                self._estimate(at)
            self._connect(at)
            self._after(at)
            # Multiples: sums would drift.
            self._due = self._begun + self._ticks * self._guard_period

    def unconnected(self) -> list[str]:
        """Say which strings were to be connected at the end and are not, and why."""
        return [
            f'not connected: {self._refusals.get(string.string.name, string.reason)}'
            for index, string in enumerate(self.guard.strings)
            if self._wishes.wanted(index) and string.state is not State.CONNECTED
        ]

    # -- inside -------------------------------------------------------------------------------

    def _send(self, command: ContactorCommand) -> None:
        self._contactors[command.string].command = command.contacts
        self._answers.append(command)

    def _answer(self, now: float) -> None:
        """Answer as a driver does that lives: a moment later, and yes."""
        answers, self._answers = self._answers, []
        for command in answers:
            self.guard.on_answer(command.string, command.sequence, True, '', now)

    def _connect(self, now: float) -> None:
        for index, string in enumerate(self.guard.strings):
            if self._wishes.wanted(index):
                if string.state is State.CONNECTED:
                    self._wishes.connected(index)
                elif string.sequence.at_rest:
                    self._command('connect', index, now)

    def _command(self, kind: str, index: int, now: float) -> None:
        name = self.pack.strings[index].name
        taken, answer = self.guard.command(kind, 'replay', 'as recorded', [name], now)
        if kind == 'connect' and not taken:
            self._refusals[name] = answer

    def _estimate(self, now: float) -> None:
        series = self.outcome.series
        view = self.estimation.tick(now)
        if self.watch is not None:
            self.watch(now, view)
        if series.due(now):
            series.add(now, self._numbers(view))

    def _numbers(self, view: BatteryView) -> dict[str, float]:
        limits = self.guard.limits
        soc, volts = view.soc, view.voltages
        return {
            'soc': float(soc.mean()),
            'soc_min': float(soc.min()),
            'soc_max': float(soc.max()),
            'soc_sigma': float(view.sigma.max()),
            'charge_limit': float(limits.charge_current),
            'discharge_limit': float(limits.discharge_current),
            'cell_min': float(volts.min()),
            'cell_max': float(volts.max()),
            'temperature_max': float(view.temperatures.max(initial=-np.inf)),
            'current': float(self._currents.sum()),
        }

    def _after(self, now: float) -> None:
        """Note what has changed."""
        guard = self.guard
        seen = (guard.revision, guard.book.version)
        if seen == self._seen:
            return
        self._seen = seen
        self._note_faults(now)
        for index, string in enumerate(guard.strings):
            state = string.state
            if state is not self._states[index]:
                self._states[index] = state
                self.outcome.events.append(
                    Event(now, 'state', state.name, string.string.name, '', string.reason)
                )
        if self.told is not None:
            self.told(now)

    def _on_fault(self, what: str, fault: Fault) -> None:
        """Take a change of the book at once: a fault may be over before its tick is."""
        place, level = place_name(fault.place), level_name(fault.level)
        if what in BEGUN:
            self._changes.append(Event(0.0, 'fault', fault.name, place, level, fault.text))
        elif what.startswith('over'):
            self._changes.append(Event(0.0, 'over', fault.name, place, level))

    def _note_faults(self, now: float) -> None:
        self.outcome.events += [replace(event, time=now) for event in self._changes]
        self._changes.clear()
