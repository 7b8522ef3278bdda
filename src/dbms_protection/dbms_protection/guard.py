# SPDX-License-Identifier: Apache-2.0
"""The guard of a pack: measurements in, contactor commands, faults and limits out.

Knows neither ROS nor a clock: every call hands in the steady time in s. Commands leave through
the function `send` in the middle of the call that made them necessary, before any book-keeping,
so that a trip is on its way as early as possible.
"""

import math
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Pack, String

from .contactors import Sequence as ContactorSequence
from .contactors import State
from .derating import Derater, Estimates
from .faults import FaultBook
from .judge import Judge
from .lease import LeaseKeeper, Send
from .limits import LimitCalculator, PowerLimits
from .measurements import PERIODS_UNTIL_STALE, StringData, StringSample
from .resistor import PrechargeResistor
from .slopes import Resistances
from .strings import StringGuard
from .timebase import Timebase

LIMITS_PERIOD = 0.1  # s, between calculations of the limits without a reason to hurry


class PackState(IntEnum):
    """State of the whole; numbers of dbms_msgs/ProtectionState."""

    UNCONFIGURED = 0
    INACTIVE = 1
    STANDBY = 2
    CONNECTING = 3
    CONNECTED = 4
    DISCONNECTING = 5
    FAULT = 6


class Guard:
    """Protects one pack. Begins inactive: then it drives nothing and takes no measurement."""

    def __init__(
        self, pack: Pack, send: Send, *, time_scale: float = 1.0, first_sequence: int = 0
    ) -> None:
        self.pack = pack
        self.active = False
        self.book = FaultBook()
        self.last_command = ''
        self.revision = 0  # +1 whenever something was commanded or asked for
        self._time = Timebase()
        self._scale = time_scale
        self._keepers = [
            LeaseKeeper(index, string.contactors.lease, send, first_sequence)
            for index, string in enumerate(pack.strings)
        ]
        self._names = {string.name: index for index, string in enumerate(pack.strings)}
        firsts = np.cumsum([0, *(len(string.modules) for string in pack.strings)]).tolist()
        self._modules = [range(*pair) for pair in zip(firsts, firsts[1:], strict=False)]
        self._calculator = LimitCalculator(pack, time_scale)
        self._estimates = Estimates(pack)
        self._derater = Derater(pack, self._estimates)
        self._ohmic = Resistances(pack, ohmic=True)
        self.resistors = [
            PrechargeResistor(string.contactors.precharge, 0.0) for string in pack.strings
        ]
        self._begin(0.0)

    def _begin(self, now: float) -> None:
        """Know nothing of the pack yet; faults that stand latched stay."""
        pack = self.pack
        timeout = pack.limits.string_lost.timeout
        self.strings = [
            StringGuard(
                string,
                self.book,
                keeper,
                StringData(string, timeout, now),
                ContactorSequence(string.contactors, now, self._join_current(string), resistor),
            )
            for string, keeper, resistor in zip(
                pack.strings, self._keepers, self.resistors, strict=True
            )
        ]
        self.judge = Judge(pack, self.book, self.strings, self._trip, self._scale, now)
        self._calculator.follow(self.judge.soa)
        for fault in list(self.book.active()):
            self.book.end(fault.name, fault.level, fault.place)
        self._queue: list[int] = []
        self._gathering = False  # no load yet: the first string waits for the others
        self._joined_at = -math.inf  # when a string was connected last
        self._heard: list[int | None] = [None] * len(self.strings)
        self._limits_at = now
        self._limits_of: object = None
        self.limits = self._calculate_limits(now)

    # -- life ---------------------------------------------------------------------------------

    def activate(self, now: float) -> None:
        """Begin to guard: all contactors open, everything still to be measured."""
        now = self._time.advance(now)
        self._begin(now)
        self.active = True
        for string in self.strings:
            string.shut(now, 'not connected yet')
        self.revision += 1

    def deactivate(self, now: float, reason: str) -> None:
        """Open everything at once and renew nothing any more."""
        now = self._time.advance(now)
        self.active = False
        self._queue.clear()
        for string in self.strings:
            string.stop(now, reason)
        self.limits = self._calculate_limits(now)
        self.revision += 1

    def fail(self, now: float, text: str) -> None:
        """Open everything at once because the guard itself went wrong; latched."""
        now = self._time.advance(now)
        for string in self.strings:
            string.trouble('INTERNAL_ERROR', text, now)
            string.shut(now, text)
        self._queue.clear()
        self.revision += 1

    # -- measurements -------------------------------------------------------------------------

    def on_cells(
        self,
        index: int,
        sequence: int,
        voltages: npt.NDArray[np.float32],
        temperatures: npt.NDArray[np.float32],
        status: int,
        now: float,
    ) -> None:
        """Judge a scan of module `index`: voltages (cells,) in V, temperatures (sensors,) degC."""
        if self.active:
            now = self._time.advance(now)
            self.judge.scan(index, sequence, voltages, temperatures, status, now)

    def on_string(self, index: int, sequence: int, sample: StringSample, now: float) -> None:
        """Judge a measurement of string `index` and go on with its contactor sequence."""
        if not self.active:
            return
        now = self._time.advance(now)
        if self._heard[index] == sequence:
            self.judge.refused['string measurement repeated'] += 1
            return
        self._heard[index] = sequence
        string = self.strings[index]
        string.receive(sample, now)
        self.judge.sample(index, sample, now)
        self._run(index, now, renew=False)

    def on_soc(self, soc: Sequence[float], sigma: Sequence[float], now: float) -> None:
        """Take the estimated SOC of all cells and its sigma; it may lower limits."""
        if not self._estimates.on_soc(soc, sigma, self._time.advance(now)):
            self.judge.refused['SOC not to be used'] += 1

    def on_power(
        self, horizons: Sequence[float], charge: Sequence[float], discharge: Sequence[float],
        now: float,
    ) -> None:  # fmt: skip
        """Take the estimated currents in A for horizons in s; they may lower limits."""
        if not self._estimates.on_power(horizons, charge, discharge, self._time.advance(now)):
            self.judge.refused['power not to be used'] += 1

    def on_answer(
        self, index: int, sequence: int, accepted: bool, message: str, now: float
    ) -> None:
        """Take what the contactor driver of string `index` answered to a command."""
        now = self._time.advance(now)
        self.strings[index].answer(sequence, accepted, message, now)
        if self.active:
            self._run(index, now, renew=False)

    def tick(self, now: float) -> None:
        """Go on with time alone: silence, debounces, sequences, leases, limits.

        Only here leases are renewed, after everything that could forbid it was looked at: a
        guard that hangs renews nothing.
        """
        if not self.active:
            return
        now = self._time.advance(now)
        for string in self.strings:
            string.check_lease(now)
        self.judge.elapse(now)
        for index in range(len(self.strings)):
            self._run(index, now, renew=True)
        self._start_next(now)
        signature = [(self.book.version, string.state) for string in self.strings]
        if signature != self._limits_of or now - self._limits_at >= LIMITS_PERIOD:
            self._limits_of = signature
            self.limits = self._calculate_limits(now)

    # -- strings ------------------------------------------------------------------------------

    def _trip(self, index: int, now: float) -> None:
        if self.strings[index].trip(now):
            self.revision += 1

    def _run(self, index: int, now: float, renew: bool) -> None:
        string = self.strings[index]
        cell_sum, obstacle = math.nan, ''
        if string.sequence.state is not State.CONNECTED:
            cells = self.judge.cells.voltages[string.string.cell_slice]
            cell_sum = float(cells.sum(dtype=np.float64))
        if string.sequence.connecting:
            obstacle = self.judge.unready(self._modules[index], now)
        before = string.state
        joining = self._joining(index) if string.sequence.connecting else 0.0
        sent = string.run(now, joining, cell_sum, obstacle, renew)
        if sent or string.state is not before:
            self.revision += 1
            if string.state is State.CONNECTED:
                self._joined_at = now

    def _join_current(self, string: String) -> float:
        if string.contactors.join_current is not None:
            return string.contactors.join_current
        limits = self.pack.limits
        return min(
            limits.overcurrent_charge[Level.MOL].at, limits.overcurrent_discharge[Level.MOL].at
        )

    def _joining(self, index: int) -> float:
        """Return the Ohm between a string and those on the link by their cells; 0: none there."""
        held = [
            number
            for number, other in enumerate(self.strings)
            if number != index and other.sequence.state in (State.CONNECTED, State.LEAVING)
        ]
        if not held:
            return 0.0
        # The warmest sensor: the lower the resistance, the more flows.
        ohms = self._ohmic.of(self.judge.cells.temperature_high, warmest=True)
        counts = [module.cells for module in self.pack.modules]
        strings = [sum(ohms[n] * counts[n] for n in modules) for modules in self._modules]
        together = 1.0 / sum(1.0 / strings[number] for number in held)
        return max(float(strings[index] + together), 1e-9)

    def _refusal(self, index: int, now: float) -> str:
        string = self.strings[index]
        obstacle = self.judge.unready(self._modules[index], now) or string.unready()
        return string.refusal(self._joining(index), obstacle or self.judge.pending(index))

    def _start_next(self, now: float) -> None:
        """Connect the next string that waits, one at a time."""
        while self._queue and not any(string.sequence.connecting for string in self.strings):
            string = self.strings[self._queue[0]]
            settle = PERIODS_UNTIL_STALE * string.string.current_sensor.voltage_period
            if now - self._joined_at < settle:
                return  # its own sensor has not seen the link yet as the last string left it
            index = self._queue.pop(0)
            refusal = self._refusal(index, now)
            self.revision += 1
            if refusal:
                if string.sequence.at_rest:
                    string.sequence.reason = f'not connected: {refusal}'
                continue
            string.sequence.connect(now, self.last_command)
            self._run(index, now, renew=False)

    # -- commands -----------------------------------------------------------------------------

    def command(
        self, kind: str, origin: str, reason: str, strings: Sequence[str], now: float
    ) -> tuple[bool, str]:
        """Take a request of a person or a planner: connect, disconnect or reset_faults.

        Returns whether it was taken up, and a sentence that says what happens or why nothing
        does. `strings` empty: all of them.
        """
        if not self.active:
            return False, 'protection is not active'
        unknown = [name for name in strings if name not in self._names]
        if unknown:
            return False, f'no string {", ".join(unknown)}; there are {", ".join(self._names)}'
        now = self._time.advance(now)
        chosen = [self._names[name] for name in dict.fromkeys(strings)] or list(
            range(len(self.strings))
        )
        self.last_command = f'{kind} by {origin or "unknown"}: {reason or "no reason given"}'
        self.revision += 1
        if kind == 'connect':
            return self._connect(chosen, now)
        if kind == 'disconnect':
            return self._disconnect(chosen, now)
        if kind == 'reset_faults':
            return self._reset(chosen, reason)
        return False, f'no command {kind}'

    def _connect(self, chosen: list[int], now: float) -> tuple[bool, str]:
        refusals = {index: self._refusal(index, now) for index in chosen}
        able = [index for index in chosen if not refusals[index] and index not in self._queue]
        # The highest voltage first: under load the others come within reach of joining.
        able.sort(key=lambda index: -self.strings[index].reading.string_voltage)
        states = [string.sequence.state for string in self.strings]
        self._gathering |= bool(able) and State.CONNECTED not in states
        self._queue += able
        self._start_next(now)
        said = []
        for index in chosen:
            if refusals[index]:
                said.append(f'string {self._name(index)}: {refusals[index]}')
            elif index in self._queue:
                said.append(f'string {self._name(index)} waits for its turn')
            else:
                said.append(f'string {self._name(index)} is being connected')
        return bool(able), '; '.join(said)

    def _disconnect(self, chosen: list[int], now: float) -> tuple[bool, str]:
        self._queue = [index for index in self._queue if index not in chosen]
        said = []
        for index in chosen:
            string = self.strings[index]
            if string.sequence.at_rest:
                said.append(f'string {self._name(index)} is open')
                continue
            string.sequence.leave(now, self.last_command, string.reading)
            self._run(index, now, renew=False)
            said.append(f'string {self._name(index)} is {string.state.name.lower()}')
        return True, '; '.join(said)

    def _reset(self, chosen: list[int], reason: str) -> tuple[bool, str]:
        gone, stay = self.book.reset({self._name(index) for index in chosen}, reason)
        said = f'{gone} faults reset'
        active = [fault.text for fault in stay if fault.active]
        unnamed = [fault.name for fault in stay if not fault.active]
        if active:
            said += f'; still active: {"; ".join(active[:3])}'
        if unnamed:
            said += f'; the reason has to name {", ".join(unnamed[:3])}'
        return not stay, said

    def _name(self, index: int) -> str:
        return self.pack.strings[index].name

    # -- what is told -------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Time of the guard's own base in s, in which faults are dated."""
        return self._time.now

    @property
    def state(self) -> PackState:
        """State of the whole."""
        if not self.active:
            return PackState.INACTIVE
        states = [string.state for string in self.strings]
        if State.LEAVING in states or State.OPENING in states:
            if not any(string.sequence.connecting for string in self.strings):
                return PackState.DISCONNECTING
        if self._connecting:
            return PackState.CONNECTING
        if any(string.faulted for string in self.strings):
            return PackState.FAULT
        return PackState.CONNECTED if State.CONNECTED in states else PackState.STANDBY

    @property
    def _connecting(self) -> bool:
        return bool(self._queue) or any(string.sequence.connecting for string in self.strings)

    def _calculate_limits(self, now: float) -> PowerLimits:
        elapsed, self._limits_at = now - self._limits_at, now
        states = [string.state for string in self.strings]
        self._gathering &= self._connecting
        # A load on the first string would pull the link away from those that are still to join.
        ready = self.active and not self._gathering
        connected = np.array([ready and state is State.CONNECTED for state in states])
        why = 'strings are being connected' if self.active else 'protection is not active'
        if ready:
            why = '; '.join(
                f'string {string.string.name}: {string.reason}' for string in self.strings
            )
        cells, count = self.judge.cells, int(connected.sum())
        lowered = [self._derater.factors(way, cells, now) for way in (0, 1)]
        news, self._derater.news = self._derater.news, []
        self.book.events += [(Level.MOL if 'missing' in text else None, text) for text in news]
        return self._calculator.update(
            cells, self.judge.losses(), connected, why, elapsed,
            [string.data.reading(now).current for string in self.strings],
            lowered, [self._derater.peaks(way, count, now) for way in (0, 1)],
        )  # fmt: skip
