# SPDX-License-Identifier: Apache-2.0
"""Bridging: what the rest of a string knows of its cells that are not measured.

The string voltage less the sum of the known cells is the sum of the missing ones; an open sense
wire leaves the sum of the two cells beside it. From the mean and from how far the cells lay apart
when they were measured last follows between which voltages they are, with a margin that doubles
until the string is opened. These are held against the limits of the cells.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Pack

from .faults import FaultBook
from .measurements import CellData
from .quantity import Change, Quantity
from .slopes import Resistances
from .soa import module_places
from .strings import StringGuard

Float32Array = npt.NDArray[np.float32]
Note = Callable[[Quantity, int, int, Sequence[Change], float], None]

# No cell is at less than this share of its lowest voltage, or at more than that of its highest,
# and still part of a string: such readings come from a wire.
DEAD = 0.25
DOUBLE = 1.5
# The offset of the string voltage against its cells is learnt over this time.
LEARNING = 5.0  # s


class Bridge:
    """Guards the cells of a pack that are not measured. Times in s, never stepping back.

    `note(quantity, module, string, changes, now)` takes what changed. Without a margin in the
    pack (`module_lost.bridge`) nothing is bridged: then only losses themselves act.
    """

    def __init__(
        self, pack: Pack, cells: CellData, strings: Sequence[StringGuard], book: FaultBook,
        note: Note, time_scale: float,
    ) -> None:  # fmt: skip
        limits, count = pack.limits, len(pack.modules)
        self.margin = limits.module_lost.bridge
        self._pack, self._cells, self._strings = pack, cells, strings
        self._book, self._note, self._scale = book, note, time_scale
        self._last = np.full(pack.cells, np.nan)  # V, each cell as it was measured last
        self._pairs: list[dict[int, float]] = [{} for _ in pack.modules]
        self._offset = [0.0] * len(pack.strings)  # V, string voltage over the sum of its cells
        self._blind_since: list[float | None] = [None] * len(pack.strings)
        self._since = [math.nan] * count  # s, when bridging of a module began
        self._at = [0.0] * len(pack.strings)
        self._resistances = Resistances(pack)
        firsts = np.cumsum([0, *(len(string.modules) for string in pack.strings)]).tolist()
        self._modules = [range(*pair) for pair in zip(firsts, firsts[1:], strict=False)]
        singles = [slice(index, index + 1) for index in range(count)]
        self._over, self._under = (
            Quantity(f'BRIDGED_{name}', 'V', levels, singles, module_places(pack), under=under,
                     time_scale=time_scale)
            for name, levels, under in (
                ('OVERVOLTAGE', limits.cell_overvoltage, False),
                ('UNDERVOLTAGE', limits.cell_undervoltage, True),
            )
        )  # fmt: skip

    # -- scans --------------------------------------------------------------------------------

    def screen(self, index: int, owner: int, values: Float32Array, now: float) -> Float32Array:
        """Return the scan of a module with what an open sense wire makes of it as NaN."""
        self._pairs[index] = {}
        if self.margin is None or not np.fmin.reduce(values) < DEAD * self._pack.cell.voltage_min:
            return values
        cell, screened = self._pack.cell, values.copy()
        for k in np.flatnonzero(values < DEAD * cell.voltage_min).tolist():
            above = float(values[k + 1]) if k + 1 < len(values) else math.nan
            both = float(values[k]) + above
            if above > DOUBLE * cell.voltage_max and self._believable(both / 2.0):
                self._pairs[index][k] = both
                screened[k : k + 2] = np.nan
            elif self._believable(self._left_for(index, owner, k, values, now)):
                screened[k] = np.nan
        return screened

    def _believable(self, volts: float) -> bool:
        """Tell whether a cell may well be at a voltage: within its limits by the margin."""
        limits, margin = self._pack.limits, self.margin or 0.0
        low = limits.cell_undervoltage[Level.MSL].at + margin
        return low < volts < limits.cell_overvoltage[Level.MSL].at - margin

    def _left_for(self, index: int, owner: int, k: int, values: Float32Array, now: float) -> float:
        """Return what the string leaves for cell `k` of a module in V; NaN: not known."""
        string, module = self._pack.strings[owner], self._pack.modules[index]
        volts = self._cells.voltages[string.cell_slice].astype(np.float64)
        first = module.first_cell - string.cell_slice.start
        volts[first : first + module.cells] = values
        volts[first + k] = 0.0
        reading = self._strings[owner].data.reading(now)
        return reading.string_voltage - self._offset[owner] - float(volts.sum())

    def scanned(self, index: int, values: Float32Array, complete: bool) -> None:
        """Remember the scan of a module as far as it was measured."""
        where = self._pack.modules[index].cell_slice
        if complete:
            self._last[where] = values
        else:
            np.copyto(self._last[where], values, where=~np.isnan(values))

    def cause(self, index: int, cell: int) -> str:
        """Say which sense wire is off, if one is why a cell (1-based) is not measured."""
        for k in self._pairs[index]:
            if cell in (k + 1, k + 2):
                return f'the sense wire between cells {k + 1} and {k + 2} is off'
        return ''

    # -- strings ------------------------------------------------------------------------------

    def update(self, owner: int, silent: npt.NDArray[np.bool_], now: float) -> None:
        """Judge what is not measured of a string; `silent` (modules,) of the pack."""
        if self.margin is None:
            return
        elapsed, self._at[owner] = now - self._at[owner], now
        string, modules = self._strings[owner], self._modules[owner]
        where = self._pack.strings[owner].cell_slice
        volts = self._cells.voltages[where].astype(np.float64)
        start = where.start
        for index in modules:
            if silent[index]:
                first = self._pack.modules[index].first_cell - start
                volts[first : first + self._pack.modules[index].cells] = np.nan
        missing = np.isnan(volts)
        voltage = string.data.reading(now).string_voltage
        if not missing.any():
            gap = voltage - float(volts.sum()) - self._offset[owner]
            if math.isfinite(gap):
                share = -math.expm1(-max(elapsed, 0.0) / LEARNING)
                most = self.margin * len(volts)
                self._offset[owner] = min(max(self._offset[owner] + share * gap, -most), most)
        if not missing.any() or string.sequence.at_rest:
            self._over_with(owner, now)
            return
        self._warm(owner, silent, elapsed, now)
        self._bridge(owner, volts, missing, voltage - self._offset[owner], now)

    def _bridge(
        self, owner: int, volts: npt.NDArray[np.float64], missing: npt.NDArray[np.bool_],
        voltage: float, now: float,
    ) -> None:  # fmt: skip
        start = self._pack.strings[owner].cell_slice.start
        mean = np.full(len(volts), np.nan)
        known = float(np.nansum(volts))
        for index in self._modules[owner]:
            first = self._pack.modules[index].first_cell - start
            for k, both in self._pairs[index].items():
                pair = slice(first + k, first + k + 2)
                if missing[pair].all():
                    mean[pair] = both / 2.0
                    known += both
        rest = missing & np.isnan(mean)
        if rest.any():
            mean[rest] = (voltage - known) / float(rest.sum())
        self._watch(owner, bool(np.isnan(mean[missing]).any()), now)
        for index in self._modules[owner]:
            module = self._pack.modules[index]
            own = slice(module.first_cell - start, module.first_cell - start + module.cells)
            if missing[own].any():
                self._judge(owner, index, mean[own], missing[own], rest, now)
            else:
                self._over_with(owner, now, index)

    def _judge(
        self, owner: int, index: int, mean: npt.NDArray[np.float64],
        missing: npt.NDArray[np.bool_], rest: npt.NDArray[np.bool_], now: float,
    ) -> None:  # fmt: skip
        """Judge the missing cells of one module by their means in V, NaN: not to be had."""
        assert self.margin is not None
        if math.isnan(self._since[index]):
            self._since[index] = now
        whole = max(self._pack.limits.module_lost.open_after / self._scale, 1e-9)
        margin = self.margin * (1.0 + min((now - self._since[index]) / whole, 1.0))
        start = self._pack.strings[owner].cell_slice.start
        last = self._last[self._pack.modules[index].cell_slice]
        from_string = self._last[start : start + len(rest)][rest]
        # A mean is one over all cells that share it: two beside a wire, or all that are missing.
        centre = np.full(len(mean), from_string.mean() if from_string.size else np.nan)
        for k in self._pairs[index]:
            centre[k : k + 2] = last[k : k + 2].mean()
        estimate = mean + (last - centre)
        low, high = estimate[missing].min() - margin, estimate[missing].max() + margin
        present = self._cells.voltages[self._pack.modules[index].cell_slice][~missing]
        self._cells.bridged_low[index] = min(low, *present.tolist(), math.inf)
        self._cells.bridged_high[index] = max(high, *present.tolist(), -math.inf)
        for quantity, value in ((self._over, high), (self._under, low)):
            if not quantity.quiet(index, value):
                changes = quantity.update(index, np.array([value]), now)
                self._note(quantity, index, owner, changes, now)

    def _watch(self, owner: int, blind: bool, now: float) -> None:
        """Open when the cells that are not measured are not known from anything else either."""
        string = self._strings[owner]
        if not blind:
            self._blind_since[owner] = None
            self._book.end('BRIDGE_LOST', Level.MSL, string.place)
            return
        since = self._blind_since[owner]
        if since is None:
            since = self._blind_since[owner] = now
        if now - since >= self._pack.limits.module_lost.timeout:
            text = 'cells are not measured, and no string voltage tells of them'
            string.trouble('BRIDGE_LOST', text, now)

    def _warm(self, owner: int, silent: npt.NDArray[np.bool_], elapsed: float, now: float) -> None:
        """Let silent modules warm up as if no heat left their cells: the most that can be."""
        current, cell = self._strings[owner].reading.current, self._pack.cell
        if math.isnan(current) or not elapsed > 0.0:
            return
        heat = self._cells.temperature_high
        ohms = self._resistances.of(self._cells.temperature_low)
        for index in self._modules[owner]:
            if silent[index]:
                watts = current * current * float(ohms[index]) / self._pack.parallel
                heat[index] += watts / cell.heat_capacity * min(elapsed, 1.0) * self._scale

    def _over_with(self, owner: int, now: float, only: int | None = None) -> None:
        """End bridging of a string, or of one module of it."""
        for index in self._modules[owner] if only is None else (only,):
            if math.isnan(self._since[index]):
                continue
            self._since[index] = math.nan
            self._cells.bridged_low[index] = self._cells.bridged_high[index] = math.nan
            for quantity in (self._over, self._under):
                if quantity.busy[index]:
                    changes = quantity.update(index, np.array([math.nan]), now, False)
                    self._note(quantity, index, owner, changes, now)
        if only is None:
            self._blind_since[owner] = None
            self._book.end('BRIDGE_LOST', Level.MSL, self._strings[owner].place)

    def elapse(self, now: float) -> None:
        """Go on with time alone: debounces."""
        for quantity in (self._over, self._under):
            if True in quantity.busy:
                for index, busy in enumerate(quantity.busy):
                    if busy:
                        owner = self._owner(index)
                        self._note(quantity, index, owner, quantity.elapse(index, now), now)

    def _owner(self, index: int) -> int:
        return next(n for n, modules in enumerate(self._modules) if index in modules)
