# SPDX-License-Identifier: Apache-2.0
"""Judging measurements: each against its limits as it arrives, and what is pending as time goes.

What a judgement changes is written into the fault book; what trips acts before the rest of the
book-keeping.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Pack

from .degraded import Bridge
from .faults import Fault, FaultBook
from .limits import NO_DERATING, Derating
from .localise import Localiser
from .measurements import CellData, StringSample
from .more import MoreTriggers
from .quantity import Change, Quantity
from .soa import SafeOperatingArea, string_values
from .strings import StringGuard
from .watchdog import Loss, Watchdog

Float32Array = npt.NDArray[np.float32]

# A unit of a string that was heard within this time says that its bus works.
HEARD = 0.15  # s


class Judge:
    """Holds the measurements of a pack against its limits. Times in s, never stepping back.

    `trip(string index, now)` is called when a new MSL fault of that string stands in the book.
    """

    def __init__(
        self,
        pack: Pack,
        book: FaultBook,
        strings: Sequence[StringGuard],
        trip: Callable[[int, float], None],
        time_scale: float,
        now: float,
    ) -> None:
        self.cells = CellData(pack)
        self.soa = SafeOperatingArea(pack, time_scale)
        self.watchdog = Watchdog(pack, time_scale)
        self.watchdog.start(now)
        self.refused: Counter[str] = Counter()  # input that was not used, by reason
        self._pack = pack
        self._book = book
        self._strings = strings
        self._trip = trip
        self._names = {string.name: index for index, string in enumerate(pack.strings)}
        self._module_names = {module.name: n for n, module in enumerate(pack.modules)}
        self._owner = [self._names[module.string] for module in pack.modules]
        self.more = MoreTriggers(pack, self.cells, strings, self._note, time_scale, now)
        self.bridge = Bridge(pack, self.cells, strings, book, self._note, time_scale)
        self._localiser = Localiser(pack, now)

    def scan(
        self,
        index: int,
        sequence: int,
        voltages: Float32Array,
        temperatures: Float32Array,
        status: int,
        now: float,
    ) -> None:
        """Judge a scan of module `index`: voltages (cells,) in V, temperatures (sensors,) degC."""
        module = self._pack.modules[index]
        if voltages.shape != (module.cells,) or temperatures.shape != (module.temperatures,):
            self.refused['scan of wrong size'] += 1
            return
        if self.cells.sequence[index] == sequence:
            self.refused['scan repeated'] += 1
            return
        self.cells.sequence[index] = sequence
        voltages, temperatures = _measured(voltages), _measured(temperatures)
        voltages = self.bridge.screen(index, self._owner[index], voltages, now)
        self.watchdog.heard[index] = now
        self._localiser.scan(index, status, now)
        low, high, cold, hot = self.cells.put(index, voltages, temperatures)
        self.bridge.scanned(index, voltages, low == low)
        self._judge_cells(index, voltages, low, high, now)
        self._judge_temperatures(index, temperatures, cold, hot, now)
        self._judge_losses(index, (voltages, temperatures), (low, cold), status, now)
        self.more.scan(index, sequence, voltages, temperatures, low, cold, now)

    def _judge_cells(
        self, index: int, values: Float32Array, low: float, high: float, now: float
    ) -> None:
        for quantity, worst in zip(self.soa.voltages, (high, low), strict=True):
            self.more.adapt(quantity, index, self._owner[index], index)
            if not quantity.quiet(index, worst):
                changes = quantity.update(index, values, now)
                self._note(quantity, index, self._owner[index], changes, now)

    def _judge_temperatures(
        self, index: int, values: Float32Array, cold: float, hot: float, now: float
    ) -> None:
        if not values.size:
            return
        owner = self._owner[index]
        current, rest = self._strings[owner].reading.current, self._pack.limits.rest_current
        # At rest the wider limits of discharge hold; with no current known both do.
        charging = not current <= rest
        discharging = not current > rest
        for quantities, applies in (
            (self.soa.charge_temperatures, charging),
            (self.soa.discharge_temperatures, discharging),
        ):
            for quantity, worst in zip(quantities, (hot, cold), strict=True):
                self.more.adapt(quantity, index, owner, index)
                if applies and quantity.quiet(index, worst):
                    continue
                if applies or quantity.busy[index]:
                    changes = quantity.update(index, values, now, applies)
                    self._note(quantity, index, owner, changes, now)

    def _judge_losses(
        self,
        index: int,
        measured: tuple[Float32Array, Float32Array],
        lowest: tuple[float, float],  # NaN: one is missing
        status: int,
        now: float,
    ) -> None:
        dog = self.watchdog
        for loss, values, low in zip((dog.cells, dog.sensors), measured, lowest, strict=True):
            if values.size and (low != low or loss.busy(index)):
                self._judge_loss(loss, index, np.isnan(values).astype(np.float64), now)
        for bit, loss in dog.boards.items():
            if status & bit or loss.busy(index):
                self._judge_loss(loss, index, np.array([float(bool(status & bit))]), now)
        if dog.module_lost.busy(index):
            self._judge_loss(dog.module_lost, index, np.zeros(1), now)

    def _judge_loss(
        self,
        loss: Loss,
        group: int,
        values: npt.NDArray[np.float64],
        now: float,
        owner: int | None = None,
    ) -> None:
        owner = self._owner[group] if owner is None else owner
        closed = not self._strings[owner].sequence.at_rest
        for quantity, changes in loss.judge(group, values, now, closed):
            self._note(quantity, group, owner, changes, now)

    def sample(self, index: int, sample: StringSample, now: float) -> None:
        """Judge the current of string `index`."""
        current = math.nan if sample.sensor_fault else sample.current
        if not 0.0 <= sample.current_age <= self._pack.limits.string_lost.timeout:
            current = math.nan
        range_ = self._pack.strings[index].current_sensor.range
        values = string_values(current, range_, sample.over_range)
        for quantity, value in zip(self.soa.currents, values, strict=True):
            self.more.adapt(quantity, index, index, None)
            if quantity.quiet(index, value):
                continue
            if value == value or quantity.busy[index]:
                changes = quantity.update(index, np.array([value]), now)
                self._note(quantity, index, index, changes, now)
        self.more.sample(index, sample, current, now)
        self.bridge.update(index, self.watchdog.silent(now), now)

    def elapse(self, now: float) -> None:
        """Go on with time alone: silence and debounces."""
        self._watch_modules(now)
        self._watch_strings(now)
        self.more.elapse(now)
        self.bridge.elapse(now)

    def unready(self, modules: Iterable[int], now: float) -> str:
        """Say which cells and sensors of some modules are not known; '' if all are."""
        dog = self.watchdog
        timeout = self._pack.limits.module_lost.timeout
        for number in modules:
            name = self._pack.modules[number].name
            if self.cells.sequence[number] is None or now - dog.heard[number] >= timeout:
                return f'module {name} is silent'
            missing = self.cells.missing(number)
            if missing:
                return missing
            for loss in dog.boards.values():
                if loss.busy(number):
                    return f'module {name} reports {loss.name}'
        return ''

    def pending(self, owner: int) -> str:
        """Say what of a string is beyond an MSL, confirmed or not; empty if nothing is."""
        name = self._pack.strings[owner].name
        for quantity in (*self.soa.per_module, *self.soa.currents, *self.more.quantities):
            for element in quantity.begun(Level.MSL) if True in quantity.busy else ():
                place = quantity.places[element]
                if place.string == name:
                    value = quantity.values[element]
                    return f'{quantity.name} MSL at {place}: {value:.4g} {quantity.unit}'
        return ''

    def losses(self) -> list[Derating]:
        """Return per string what derates it most: a loss, or an RSL with a factor."""
        worst = [NO_DERATING] * len(self._strings)
        for loss in (self.watchdog.string_lost, *self.watchdog.per_module):
            for element in np.flatnonzero(loss.warn.active[0]).tolist():
                place = loss.warn.places[element]
                owner = self._names[place.string]
                if loss.derate <= worst[owner].factor:
                    worst[owner] = Derating(loss.derate, f'{loss.name} RSL {place}')
        for owner, derating in self.more.deratings():
            if derating.factor <= worst[owner].factor:
                worst[owner] = derating
        return worst

    def _watch_modules(self, now: float) -> None:
        dog = self.watchdog
        for index in dog.silent_modules(now):
            self._judge_loss(dog.module_lost, index, now - dog.heard[index : index + 1], now)
        for quantity in self.soa.per_module:
            for index in _busy(quantity):
                changes = quantity.elapse(index, now)
                self._note(quantity, index, self._owner[index], changes, now)
        for loss in dog.per_module:
            for index in sorted({*_busy(loss.warn), *_busy(loss.open)}):
                for quantity, changes in loss.elapse(index, now):
                    self._note(quantity, index, self._owner[index], changes, now)

    def _watch_strings(self, now: float) -> None:
        lost = self.watchdog.string_lost
        for index, string in enumerate(self._strings):
            age = now - string.data.current_time
            if lost.busy(index) or not lost.warn.quiet(index, age):
                self._judge_loss(lost, index, np.array([age]), now, index)
            for quantity in self.soa.currents:
                self._note(quantity, index, index, quantity.elapse(index, now), now)

    def _note(
        self, quantity: Quantity, group: int, owner: int, changes: Iterable[Change], now: float
    ) -> None:
        """Write changes into the fault book; the first thing that trips acts before the rest."""
        for change in changes:
            place = quantity.places[change.element]
            if not change.active:
                self._book.end(quantity.name, change.level, place)
                continue
            fault = _fault(quantity, change, now)
            fault.cause = self._cause(quantity, change.element, fault.cause, now)
            self._book.put(fault)
            if change.level is Level.MSL:
                self._trip(owner, now)
        if quantity.busy[group]:
            for level, element in quantity.standing(group):
                known = self._book.get(quantity.name, level, quantity.places[element])
                if known is not None and quantity.unit:
                    known.measure(float(quantity.values[element]))

    def _cause(self, quantity: Quantity, element: int, cause: str, now: float) -> str:
        """Say more about the cause than its number does: where it is."""
        if quantity.name == 'MODULE_LOST':
            known = self.cells.sequence[element] is not None
            heard = np.array([now - string.data.heard < HEARD for string in self._strings])
            where = self._localiser.where(element, heard, now) if known else 'never heard'
            return f'{cause}; {where}'
        if quantity.name == 'CELL_NOT_MEASURED':
            place = quantity.places[element]
            index = self._module_names[place.module]
            return self.bridge.cause(index, place.cell) or cause
        return self.more.cause(quantity.name, element) or cause


def _measured(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the values with everything that is no number as NaN."""
    if math.isfinite(float(np.add.reduce(values))):
        return values
    return np.where(np.isfinite(values), values, np.float32(np.nan))


def _busy(quantity: Quantity) -> list[int]:
    if True not in quantity.busy:
        return []
    return [index for index, busy in enumerate(quantity.busy) if busy]


def _fault(quantity: Quantity, change: Change, now: float) -> Fault:
    limit = quantity.limits[change.level]
    numbered = bool(quantity.unit)
    cause = f'nothing heard for {limit.at:.3g} s' if quantity.unit == 's' else ''
    return Fault(
        quantity.name,
        change.level,
        quantity.places[change.element],
        value=float(quantity.values[change.element]) if numbered else math.nan,
        limit=change.at if numbered else math.nan,
        unit=quantity.unit,
        since=change.since,
        raised=now,
        under=quantity.under,
        latched=limit.latch,
        action=limit.action,
        reset=limit.reset,
        cause=cause,
    )
