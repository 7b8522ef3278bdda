# SPDX-License-Identifier: Apache-2.0
"""The quantities that a pack may limit beside the required ones: see dbms_pack.limits."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Pack
from dbms_pack.limits import QUANTITIES

from .contactors import State
from .limits import Derating
from .measurements import PERIODS_UNTIL_STALE, CellData, Contact, StringSample
from .plausibility import CurrentModel
from .quantity import Change, Quantity
from .signals import Jumps, MovingMean, Overload, Redundant, Rise, Skew, Stuck, middle
from .soa import cell_places, module_places, sensor_places, string_places
from .strings import StringGuard

Float32Array = npt.NDArray[np.float32]
Note = Callable[[Quantity, int, int, Sequence[Change], float], None]

# How often the warmth of a string, with which stuck sensors are compared, is taken.
WARMTH_PERIOD = 0.5  # s
# Communication runs in wall time, however fast a simulated battery is: what a debounce keeps out
# here are values that were not sampled at the same moment.
WALL_TIME = (
    'clock_skew', 'voltage_age', 'insulation_age', 'precharge_current', 'link_mismatch',
    'voltage_mismatch', 'voltage_spread', 'voltage_stuck', 'current_mismatch', 'open_current',
    'open_link',
)  # fmt: skip


class MoreTriggers:
    """Judges the further quantities of a pack. Times in s, never stepping back.

    `note(quantity, group, string, changes, now)` takes what changed. Only what the pack limits
    is calculated.
    """

    def __init__(
        self, pack: Pack, cells: CellData, strings: Sequence[StringGuard], note: Note,
        time_scale: float, now: float,
    ) -> None:  # fmt: skip
        self._pack = pack
        self._cells = cells
        self._strings = strings
        self._note = note
        self._names = {string.name: index for index, string in enumerate(pack.strings)}
        self._owner = [self._names[module.string] for module in pack.modules]
        self._series = [string.cells for string in pack.strings]
        counts = [0, *np.cumsum([len(string.modules) for string in pack.strings]).tolist()]
        self._modules = [slice(*pair) for pair in zip(counts, counts[1:], strict=False)]
        more = pack.limits.more
        self._quantities = {key: _quantity(pack, key, time_scale) for key in more}
        self._build_signals(time_scale)
        self._string_mean = [math.nan] * len(pack.strings)  # V per cell, by the sensor
        self._unexplained = [math.nan] * len(pack.strings)  # V, string less the sum of its cells
        self._warmth = [(math.nan, math.nan)] * len(pack.strings)  # degC, most of the sensors
        self._warmth_at = -math.inf
        self._voltage_at = [now] * len(pack.strings)
        self._models = (
            [CurrentModel(pack, time_scale) for _ in pack.strings]
            if 'current_mismatch' in more
            else []
        )
        self._insulation_at: list[float | None] = [None] * len(pack.strings)

    def _build_signals(self, time_scale: float) -> None:
        pack, more = self._pack, self._pack.limits.more
        self._voltage_jumps = Jumps(pack.cells, True, time_scale)
        self._temperature_jumps = Jumps(pack.temperatures, False, time_scale)
        scan = max(module.period for module in pack.modules)
        sensor = max(string.current_sensor.voltage_period for string in pack.strings)
        settle = PERIODS_UNTIL_STALE * max(scan, sensor)
        self._redundant = {
            index: Redundant(module.redundant)
            for index, module in enumerate(pack.modules)
            if module.redundant and 'temperature_mismatch' in more
        }
        self._voltage_stuck = Stuck(pack.cells, settle, 2)
        self._temperature_stuck = Stuck(pack.temperatures, scan + 2 * WARMTH_PERIOD, 2)
        jump = math.inf
        if 'temperature_jump' in more:
            jump = min(limit.at for limit in more['temperature_jump'].levels.values())
        rise, overload = more.get('temperature_rise'), more.get('overload')
        self._rise = Rise(pack, rise.window, jump, time_scale) if rise else None
        mismatch = more.get('voltage_mismatch')
        self._gaps = [MovingMean(mismatch.window) for _ in pack.strings] if mismatch else []
        self._skew = Skew(pack, pack.limits.module_lost.timeout)
        self._overload = (
            [Overload(overload.window, time_scale) for _ in pack.strings] if overload else []
        )

    # -- cells and sensors --------------------------------------------------------------------

    def scan(
        self, index: int, sequence: int, voltages: Float32Array, temperatures: Float32Array,
        low: float, cold: float, now: float,
    ) -> None:  # fmt: skip
        """Judge what follows from a scan of module `index`; `low`, `cold` NaN: one is missing."""
        owner, where = self._owner[index], self._pack.modules[index].cell_slice
        known = self._quantities
        if 'deep_discharge' in known:
            self._judge('deep_discharge', index, owner, low, lambda: voltages, now)
        if 'voltage_jump' in known:
            jumps = self._voltage_jumps
            worst = jumps.worst(where, voltages, low == low)
            self._judge('voltage_jump', index, owner, worst, jumps.values, now)
        if 'voltage_stuck' in known:
            stuck = self._voltage_stuck
            # The string has to move, and not by cells that are seen to move it.
            moves = self._string_mean[owner], self._unexplained[owner]
            worst = stuck.worst(where, voltages, low == low, moves, now)
            self._judge('voltage_stuck', index, owner, worst, stuck.values, now)
        if 'clock_skew' in known:
            skew = self._skew.update(index, sequence, now)
            self._judge_one('clock_skew', index, owner, skew, now)
        if temperatures.size:
            self._scan_temperatures(index, owner, temperatures, cold == cold, now)

    def _scan_temperatures(
        self, index: int, owner: int, values: Float32Array, complete: bool, now: float
    ) -> None:
        known, where = self._quantities, self._pack.modules[index].temperature_slice
        if self._rise is not None:
            worst = self._rise.worst(index, where, values, complete, now)
            self._judge('temperature_rise', index, owner, worst, self._rise.values, now)
        if 'temperature_jump' in known:
            jumps = self._temperature_jumps
            worst = jumps.worst(where, values, complete)
            self._judge('temperature_jump', index, owner, worst, jumps.values, now)
        if index in self._redundant:
            apart = self._redundant[index].worst(values)
            self._judge_one('temperature_mismatch', index, owner, apart, now)
        if 'temperature_stuck' in known:
            stuck = self._temperature_stuck
            worst = stuck.worst(where, values, complete, self._warmth[owner], now)
            self._judge('temperature_stuck', index, owner, worst, stuck.values, now)

    # -- strings ------------------------------------------------------------------------------

    def sample(self, index: int, sample: StringSample, current: float, now: float) -> None:
        """Judge what follows from a measurement of string `index`; `current` NaN: not known."""
        string, series = self._strings[index], self._series[index]
        reading = string.data.reading(now)
        voltage, link = reading.string_voltage, reading.link_voltage
        self._string_mean[index] = voltage / series
        if math.isfinite(voltage) and math.isfinite(link):
            self._voltage_at[index] = now - sample.voltage_age
        for key, value in (
            ('string_overvoltage', voltage / series),
            ('string_undervoltage', voltage / series),
            ('link_overvoltage', link / series),
        ):
            self._judge_one(key, index, index, value, now)
        connected = string.sequence.state in (State.CONNECTED, State.LEAVING)
        self._judge_one('link_mismatch', index, index, abs(voltage - link), now, connected)
        precharging = string.sequence.state is State.PRECHARGING
        self._judge_one('precharge_current', index, index, abs(current), now, precharging)
        if self._overload:
            mean = self._overload[index].update(current, now)
            self._judge_one('overload', index, index, mean, now)
        cells = self._cells.voltages[self._pack.strings[index].cell_slice]
        gap = self._unexplained[index] = voltage - float(cells.sum(dtype=np.float64))
        if self._gaps:
            mean = abs(self._gaps[index].update(gap, now)) / series
            self._judge_one('voltage_mismatch', index, index, mean, now)
        self._judge_insulation(index, sample, now)
        self._judge_open(index, current, now)
        if self._models:
            where = self._modules[index]
            cold = float(self._cells.temperature_low[where].min())
            hot = float(self._cells.temperature_high[where].max())
            off = self._models[index].update(voltage / series, current, cold, hot, now)
            self._judge_one('current_mismatch', index, index, off, now)

    def _judge_open(self, index: int, current: float, now: float) -> None:
        """Judge what is left when contactors have opened: a current, and the link's voltage."""
        string = self._strings[index]
        reading = string.data.reading(now)
        is_open = string.sequence.at_rest and reading.contacts == (Contact.OPEN,) * 3
        self._judge_one('open_current', index, index, abs(current), now, is_open)
        trigger = self._pack.limits.more.get('open_link')
        if trigger is not None:
            fed = any(not other.sequence.at_rest for other in self._strings)
            since = string.sequence.opened_at
            due = is_open and not fed and since is not None and now - since >= trigger.window
            share = reading.link_voltage / max(reading.string_voltage, 1e-9)
            self._judge_one('open_link', index, index, share, now, due)

    def _judge_insulation(self, index: int, sample: StringSample, now: float) -> None:
        value = sample.insulation if 0.0 <= sample.insulation_age < math.inf else math.nan
        if not math.isnan(value):
            self._insulation_at[index] = now - sample.insulation_age
        full = self._series[index] * self._pack.cell.voltage_max
        self._judge_one('insulation', index, index, value / full, now)

    def elapse(self, now: float) -> None:
        """Go on with time alone: spreads, ages and debounces."""
        known = self._quantities
        for index in range(len(self._strings)):
            if 'voltage_spread' in known or 'temperature_spread' in known:
                self._judge_spreads(index, now)
            self._judge_ages(index, now)
        if 'temperature_stuck' in known and now - self._warmth_at >= WARMTH_PERIOD:
            self._warmth_at = now
            for index, string in enumerate(self._pack.strings):
                self._warmth[index] = middle(self._cells.temperatures[string.temperature_slice])
        for quantity in known.values():
            if True in quantity.busy:
                for group, busy in enumerate(quantity.busy):
                    if busy:
                        owner = self._owner_of(quantity, group)
                        self._note(quantity, group, owner, quantity.elapse(group, now), now)

    def _judge_spreads(self, index: int, now: float) -> None:
        cells, where = self._cells, self._modules[index]
        for key, low, high in (
            ('voltage_spread', cells.voltage_low, cells.voltage_high),
            ('temperature_spread', cells.temperature_low, cells.temperature_high),
        ):
            if key in self._quantities:
                gap = float(high[where].max() - low[where].min())
                self._judge_one(key, index, index, gap, now)

    def _judge_ages(self, index: int, now: float) -> None:
        # With contactors open there is nothing to lose, and `connect` is refused anyway.
        closed = not self._strings[index].sequence.at_rest
        self._judge_one('voltage_age', index, index, now - self._voltage_at[index], now, closed)
        measured = self._insulation_at[index]
        if measured is not None:
            self._judge_one('insulation_age', index, index, now - measured, now, closed)

    # -- judging ------------------------------------------------------------------------------

    def _judge(
        self, key: str, index: int, owner: int, worst: float, values: Callable[[], Any], now: float
    ) -> None:
        """Judge the elements of one module, one by one only if the worst of them asks for it."""
        quantity = self._quantities[key]
        self.adapt(quantity, index, owner, index)
        if not quantity.quiet(index, worst):
            self._note(quantity, index, owner, quantity.update(index, values(), now), now)

    def _judge_one(
        self, key: str, index: int, owner: int, value: float, now: float, applies: bool = True
    ) -> None:
        """Judge a value of one string or module, if the pack limits it."""
        quantity = self._quantities.get(key)
        if quantity is None:
            return
        self.adapt(quantity, index, owner, None)
        if not applies:
            if quantity.busy[index]:
                changes = quantity.update(index, np.array([value]), now, False)
                self._note(quantity, index, owner, changes, now)
        elif not quantity.quiet(index, value) and (value == value or quantity.busy[index]):
            changes = quantity.update(index, np.array([value]), now)
            self._note(quantity, index, owner, changes, now)

    def adapt(self, quantity: Quantity, group: int, owner: int, module: int | None) -> None:
        """Set limits that depend on the temperatures of a module or string, or on its state."""
        if not quantity.variable:
            return
        where = self._modules[owner] if module is None else slice(module, module + 1)
        cold = float(self._cells.temperature_low[where].min())
        hot = float(self._cells.temperature_high[where].max())
        quantity.adapt(group, cold, hot, self._strings[owner].way(self._pack.limits.rest_current))

    def _owner_of(self, quantity: Quantity, group: int) -> int:
        return self._names[quantity.places[quantity.groups[group].start].string]

    def cause(self, name: str, module: int) -> str:
        """Say more about what a fault of a module is about; '' if there is no more to say."""
        return self._redundant[module].said if name == 'TEMPERATURE_MISMATCH' else ''

    @property
    def quantities(self) -> Iterable[Quantity]:
        """All quantities that the pack limits here."""
        return self._quantities.values()

    def deratings(self) -> Iterator[tuple[int, Derating]]:
        """Yield string and derating of every RSL that stands."""
        for key, quantity in self._quantities.items():
            if Level.RSL not in quantity.levels or True not in quantity.busy:
                continue
            factor = quantity.limits[Level.RSL].derate
            standing = quantity.active[quantity.levels.index(Level.RSL)]
            for element in np.flatnonzero(standing).tolist():
                place = quantity.places[element]
                if factor is not None:
                    yield self._names[place.string], Derating(factor, f'{key.upper()} RSL {place}')


def _quantity(pack: Pack, key: str, time_scale: float) -> Quantity:
    what = QUANTITIES[key]
    groups: list[slice]
    if what.place == 'string':
        groups, places = [slice(i, i + 1) for i in range(len(pack.strings))], string_places(pack)
    elif what.place == 'module':
        groups, places = [slice(i, i + 1) for i in range(len(pack.modules))], module_places(pack)
    elif what.place == 'cell':
        groups, places = [module.cell_slice for module in pack.modules], cell_places(pack)
    else:
        groups = [module.temperature_slice for module in pack.modules]
        places = sensor_places(pack)
    unit = 'of its period' if key == 'clock_skew' else what.unit
    return Quantity(
        key.upper(), unit, pack.limits.more[key].levels, groups, places,
        under=what.under, time_scale=1.0 if key in WALL_TIME else time_scale,
    )  # fmt: skip
