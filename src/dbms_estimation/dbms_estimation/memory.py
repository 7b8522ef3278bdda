# SPDX-License-Identifier: Apache-2.0
"""What is known of each cell from before a stop: kept as records, and taken up again.

A cell goes on with the SOC, the covariance, the polarisation and the health it had, all of them
aged by the time that went by. Then its first voltage is held against that. A cell that has moved
although most of its neighbours have not is another cell; where all have moved, they were charged
or discharged meanwhile. In both cases the voltage counts and not the memory, and it is said.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dbms_pack.model import FloatArray, Pack

from .ageing import Aged, aged, plausible
from .arrays import part
from .columns import STATES
from .ekf import CellFilter
from .health import PackHealth
from .pack_estimator import PackEstimator
from .store import Record

SANE = (1.6e9, 4.1e9)  # s since 1970: from 2020 to 2099; without a clock of its own it is 1970
LONGEST = 10 * 365 * 86400.0  # s, of an absence that is believed
DOUBT = 4.0  # sigmas between memory and voltage
APART = 0.05  # SOC by which another cell differs at least
CHANGES = 10  # scans in a row with another serial number before another board is believed in
LISTED = 8  # events in a report
UPPER = np.triu_indices(STATES)
_CELL = ('state', 'covariance', 'hysteresis', 'voltage', 'current')


class Snapshot(NamedTuple):
    """What is to be kept, copied from the estimator in an instant; any thread may write it."""

    pack: Pack
    serials: tuple[int | None, ...]
    stamps: FloatArray  # s, per module
    known: np.ndarray  # per cell, whether there is something to be kept
    arrays: dict[str, FloatArray]  # whose last axis is the cells
    usual_power: float  # W

    def records(self) -> Iterable[Record]:
        """Return it as records."""
        pack = self.pack
        layout = ' '.join(f'{k}:{v.size // pack.cells}' for k, v in self.arrays.items())
        rows = np.concatenate([v.reshape(-1, pack.cells) for v in self.arrays.values()])
        content = np.ascontiguousarray(rows.T, dtype='<f8')
        for module, serial, stamp in zip(pack.modules, self.serials, self.stamps, strict=True):
            if serial is None:
                continue
            for k in range(module.cells):
                cell = module.cell_slice.start + k
                if self.known[cell]:
                    key = (pack.name, module.string, module.name, serial, k)
                    yield Record(*key, float(stamp), layout, content[cell].tobytes())
        power = np.array([self.usual_power]).astype('<f8').tobytes()
        latest = float(np.nanmax(self.stamps, initial=0.0))
        yield Record(pack.name, '', '', 0, 0, latest, identity(pack), power)


def identity(pack: Pack) -> str:
    """Return what cells of a pack have to have in common with those that are remembered."""
    return f'{pack.cell.name} {pack.string_capacity:.6g} Ah'


def contents(record: Record) -> dict[str, FloatArray] | None:
    """Return the arrays of a record, None if they are not what its layout says."""
    arrays, place = {}, 0
    values = np.frombuffer(record.content[: len(record.content) // 8 * 8], dtype='<f8')
    for word in record.layout.split():
        name, _, size = word.rpartition(':')
        if not (name and size.isdigit()):
            return None
        arrays[name] = values[place : place + int(size)]
        place += int(size)
    return arrays if place * 8 == len(record.content) else None


class Memory:
    """What was kept of the cells of a pack, and what became of it.

    `events` holds a line for each thing worth telling; who tells it takes it out. `last_events`
    holds the last LISTED of them, for a report of how it stands.
    """

    def __init__(self, estimator: PackEstimator, records: Iterable[Record] = ()) -> None:
        self._estimator = estimator
        self.pack = pack = estimator.pack
        self.events: list[str] = []
        self.last_events: deque[str] = deque(maxlen=LISTED)
        self.restored = np.zeros(pack.cells, dtype=bool)
        self._asked = np.zeros(len(pack.modules), dtype=bool)
        self._other: list[tuple[int | None, int]] = [(None, 0)] * len(pack.modules)
        own = [record for record in records if record.pack == pack.name]
        whole = [record for record in own if not record.module]
        if whole and whole[0].layout != identity(pack):
            self._tell(
                f'the state kept is of {whole[0].layout} cells, these are {identity(pack)}: '
                'not used'
            )
            own = []
        elif whole:
            self._take_power(whole[0])
        self._boards: dict[tuple[str, str], dict[int, dict[int, Record]]] = {}
        for record in own:
            boards = self._boards.setdefault((record.string, record.module), {})
            boards.setdefault(record.serial, {})[record.cell] = record

    def snapshot(self, serials: Iterable[int | None]) -> Snapshot:
        """Copy what is to be kept."""
        estimator, cells = self._estimator, self._estimator.filter
        covariance = cells.covariance[UPPER]
        health = estimator.health.state()
        arrays = {
            'state': cells.state.copy(),
            'covariance': covariance,
            'hysteresis': cells.hysteresis.copy(),
            'voltage': estimator.voltages.copy(),
            'current': estimator.cell_currents(),
        }
        own = {k: v for k, v in health.items() if v.shape[-1:] == (self.pack.cells,)}
        arrays.update({f'health_{k}': v for k, v in own.items()})
        known = cells.started & np.isfinite(estimator.cell_stamps())
        usual = float(estimator.health.meter.usual)
        return Snapshot(
            self.pack, tuple(serials), estimator.stamps.copy(), known, arrays, usual
        )  # fmt: skip

    def heard(self, module: int, before: int | None, serial: int) -> bool:
        """Note the serial number of a scan; return whether it is that of another board now.

        Its cells are then forgotten. Two boards on one address show both numbers in turn, and
        that is no change: the number has to stay for CHANGES scans.
        """
        if before is None or serial == before:
            self._other[module] = (None, 0)
            return before is None
        candidate, count = self._other[module]
        count = count + 1 if candidate == serial else 1
        self._other[module] = (serial, count)
        if count < CHANGES:
            return False
        place = self.pack.modules[module]
        self._tell(f'module {place.name}: board {serial:#06x} instead of {before:#06x}, its cells '
                   'start afresh')  # fmt: skip
        where = np.zeros(self.pack.cells, dtype=bool)
        where[place.cell_slice] = True
        self._estimator.forget(where)
        self._asked[module] = False
        return True

    def recall(self, serials: list[int | None]) -> None:
        """Take up the cells of the modules that are heard for the first time.

        To be called before the estimator's tick.
        """
        estimator = self._estimator
        new = estimator.news & ~self._asked
        new &= np.array([serial is not None for serial in serials])
        if not new.any():
            return
        self._asked |= new
        found: dict[int, tuple[dict[str, FloatArray], float]] = {}
        for index in np.flatnonzero(new):
            for cell, record in self._records(int(index), serials[index]).items():
                content = contents(record)
                if content is not None:
                    found[cell] = (content, self._age(record, float(estimator.stamps[index])))
        found = {k: v for k, v in found.items() if self._fits(v[0])}
        if found:
            self._resume(found)

    def _records(self, index: int, serial: int | None) -> dict[int, Record]:
        """Return the records of the cells of a module, by their number in the pack."""
        module = self.pack.modules[index]
        boards = self._boards.get((module.string, module.name), {})
        if serial is None or (boards and serial not in boards):
            latest = max(boards, key=lambda s: max(r.stamp for r in boards[s].values()))
            self._tell(f'module {module.name}: board {serial:#06x} instead of {latest:#06x}, its '
                       'cells start afresh')  # fmt: skip
            return {}
        first = module.cell_slice.start
        own = boards.get(serial, {})
        return {first + k: record for k, record in own.items() if 0 <= k < module.cells}

    def _age(self, record: Record, now: float) -> float:
        """Return the time since the record in s; NaN if a clock was not right."""
        low, high = SANE
        if not (low < record.stamp < high and low < now < high):
            return math.nan
        age = now - record.stamp
        if age < -1.0:
            self._tell('what was kept has a stamp of the future: its age is not known')
            return math.nan
        return max(age, 0.0) if age < LONGEST else math.nan

    def _fits(self, content: dict[str, FloatArray]) -> bool:
        """Tell whether a filter could have been in that state."""
        sizes = (STATES, len(UPPER[0]), 1, 1, 1)
        if any(len(content.get(k, ())) != n for k, n in zip(_CELL, sizes, strict=True)):
            return False
        return plausible(content['state'], content['covariance'], content['hysteresis'])

    def _resume(self, found: dict[int, tuple[dict[str, FloatArray], float]]) -> None:
        estimator, count = self._estimator, self.pack.cells
        where = np.zeros(count, dtype=bool)
        where[list(found)] = True
        state = {k: np.zeros((n, count)) for k, n in zip(_CELL, (6, 21, 1, 1, 1), strict=True)}
        age = np.full(count, np.nan)
        for cell, (content, old) in found.items():
            age[cell] = old
            for name, array in state.items():
                array[:, cell] = content[name]
        temperature = estimator.cell_temperatures()
        now = aged(
            estimator.tables, estimator.filter.options, self.pack.string_capacity,
            state['state'], state['covariance'], state['hysteresis'][0], state['current'][0],
            age, temperature, estimator.pack.limits.rest_current,
        )  # fmt: skip
        moved, changed = self._compare(where, now, temperature)
        keep = where & ~moved
        estimator.resume(keep, now.state, now.covariance, now.hysteresis)
        self.restored |= keep
        self._take_health(where & ~changed, found, age)

    def _compare(
        self, where: np.ndarray, now: Aged, temperature: FloatArray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return masks of the cells whose SOC is another, and of those that are other cells."""
        estimator = self._estimator
        voltage, current = estimator.plausible_voltages(), estimator.cell_currents(at_scan=True)
        seen = where & np.isfinite(voltage)
        nothing = np.zeros(len(where), dtype=bool)
        if not seen.any():
            return nothing, nothing
        probe = CellFilter(
            estimator.tables, len(where), self.pack.string_capacity,
            np.zeros(len(where)), estimator.filter.options,
        )  # fmt: skip
        relaxed = np.where(seen, voltage - now.state[1] - now.state[2], 3.7)
        probe.start(seen, relaxed, current, temperature)
        slope = np.maximum(estimator.tables.ocv(np.clip(probe.soc, 0, 1))[1], 0.05)
        sigma = np.hypot(probe.sigma, now.left / slope)
        sigma = np.hypot(sigma, np.sqrt(now.covariance[0, 0]))
        off = np.where(seen, probe.soc - now.state[0], np.nan)
        common = np.nanmedian(off) if seen.sum() > 2 else 0.0
        # Cells that went along with the others have moved as those have: less is needed to say so.
        alone = np.abs(off - common) > np.maximum(DOUBT * sigma, APART)
        moved = alone | (np.abs(off) > np.maximum(DOUBT * sigma, APART))
        changed = alone if seen.sum() > 2 else nothing
        self._say(moved & ~changed, changed, now.state[0], probe.soc)
        return moved, changed

    def _say(
        self, moved: np.ndarray, changed: np.ndarray, before: FloatArray, after: FloatArray
    ) -> None:
        for cell in np.flatnonzero(changed):
            self._tell(
                f'{self._name(int(cell))}: {before[cell]:.0%} before the stop and '
                f'{after[cell]:.0%} now, unlike the others: another cell, starts afresh'
            )
        if moved.any():
            worst = int(np.argmax(np.where(moved, np.abs(after - before), -1.0)))
            self._tell(f'{int(moved.sum())} cells have another SOC than before the stop, '
                       f'{self._name(worst)} {before[worst]:.0%} then and '
                       f'{after[worst]:.0%} now: their voltage counts')  # fmt: skip

    def _take_health(
        self,
        where: np.ndarray,
        found: dict[int, tuple[dict[str, FloatArray], float]],
        age: FloatArray,
    ) -> None:
        """Give the cells `where` the health they had."""
        live = self._estimator.health
        health = PackHealth(self.pack, self._estimator.tables, np.zeros(self.pack.cells))
        state = health.state()
        taken = np.zeros_like(where)
        for cell in np.flatnonzero(where):
            kept = part(found[int(cell)][0], 'health_')
            own = {k: v for k, v in state.items() if v.shape[-1:] == where.shape}
            whole = all(kept.get(k, v[..., :0]).size == v[..., 0].size for k, v in own.items())
            if whole and all(_sane(k, kept[k]) for k in own):
                taken[cell] = True
                for name, value in own.items():
                    value[..., cell] = kept[name].reshape(value[..., cell].shape)
        try:
            health.restore(state, float(np.max(age[taken])) if taken.any() else 0.0)
        except ValueError as error:
            self._tell(f'the health kept cannot be used: {error}')
            return
        old, new = health.state(), live.state()
        for name, value in new.items():
            if value.shape[-1:] == where.shape:
                value[..., taken] = old[name][..., taken]
        live.restore(new, 0.0)

    def _take_power(self, record: Record) -> None:
        value = np.frombuffer(record.content[:8], dtype='<f8')
        if len(value) and 0 < value[0] < np.inf:
            self._estimator.health.meter.usual = float(value[0])

    def _name(self, cell: int) -> str:
        module = next(m for m in self.pack.modules if cell < m.cell_slice.stop)
        return f'module {module.name} cell {cell - module.cell_slice.start + 1}'

    def _tell(self, line: str) -> None:
        if line not in self.events:
            self.events.append(line)
            self.last_events.append(line)


def _sane(name: str, value: FloatArray) -> bool:
    """Tell whether what is kept of the health of one cell may be so."""
    low, high = -1e9, 1e9
    if name.endswith(('inverse', 'ratio', 'health')):
        low, high = 0.1, 20.0
    elif name.endswith(('settled', 'seen', 'edges', 'windows', 'refused')):
        low = 0.0
    elif (
        name.endswith(('covariance', 'variance'))
        and (value[:1] < 0).any() | (value[-1:] < 0).any()
    ):
        return False
    return bool((np.isnan(value) | ((value >= low) & (value <= high))).all())
