# SPDX-License-Identifier: Apache-2.0
"""Estimates every cell of a pack from scans of its modules and currents of its strings.

Scans are only noted as they arrive. `tick` then advances all cells of the pack in one pass over
arrays, whatever the number of modules: numpy calls cost microseconds each, so a pass per module
would spend most of its time on calls. Cells without a new scan take part with a time step of 0
and are left as they are. A module that sends more scans than there are ticks loses the voltages
of the older ones; the charge of their time is counted all the same.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dbms_pack.model import FloatArray, Module, Pack

from .arrays import Floats
from .charge import STEPPED, StringCharge
from .coulomb import CoulombCounter
from .current_model import LONGEST, LOST, Estimated, cell_currents, string_current
from .ecm import CellTables
from .filter_options import FilterOptions
from .health import PackHealth
from .hypotheses import HypothesisFilter

RESTART = 600.0  # s of battery time without scan and current, after which a cell starts anew
STILL = (
    0.01  # change of current per capacity, 1/h, that a recording may not have found worth a row
)
FROZEN = 60.0  # s, after which a reading that has not moved is no longer asked for a current
VOLTAGE_MARGIN = 1.0  # V outside of the cell's range that no cell has: the reading is refused
TEMPERATURE_RANGE = (-50.0, 125.0)  # degC, outside of it the reading is refused
OFFSET_PER_RANGE = 0.001  # offset error of a current sensor per its range


class PackEstimator:
    """SOC of all cells of a pack, in pack order.

    Stamps are in s and tell when something was measured; arrivals are in s of a steady clock and
    tell whether the source is alive. `counters` tells how much of what input was refused.
    """

    def __init__(
        self,
        pack: Pack,
        options: FilterOptions | None = None,
        time_scale: float = 1.0,
        recorded: bool = False,
    ) -> None:
        """Take `recorded` for a recording whose logger may have left out what did not change."""
        self.pack = pack
        self.time_scale = time_scale
        self.counters: Counter[str] = Counter()
        modules = pack.modules
        count = len(modules)
        self.voltages = np.full(pack.cells, np.nan)  # V, as last scanned
        self.temperatures = np.full(pack.temperatures, np.nan)  # degC, as last scanned
        self.stamps = np.full(count, np.nan)  # s, of the last scan of each module
        self._arrivals = np.full(count, -np.inf)
        self.news = np.zeros(count, dtype=bool)  # modules that sent a scan since the last tick
        self._module_of_cell = np.repeat(np.arange(count), [m.cells for m in modules])
        self._sensor_of_cell = _sensors_of_cells(modules)
        self._stepped_stamps = np.full(count, np.nan)  # s, of the scan last gone into the filter
        self._stepped_charge = np.full(count, np.nan)  # As, of its string up to that scan
        self._stepped_blind = np.full(count, np.nan)  # s
        self._stepped_current = np.full(count, np.nan)  # A
        self.rest = np.zeros(count)  # s of battery time without current, per module
        self._period = np.array([m.period for m in modules])
        capacity = pack.string_capacity
        self._strings = [
            StringCharge(s.current_sensor.period, STILL * capacity if recorded else 0.0)
            for s in pack.strings
        ]
        # What the cells say about the current of strings whose sensor is lost.
        self.estimated: list[Estimated | None] = [None] * len(pack.strings)
        self._before: FloatArray = np.full(
            pack.cells, np.nan
        )  # V, the last reading without a current
        self._guessed = np.zeros(count, dtype=bool)  # modules stepped with such a current
        self._still: FloatArray = np.zeros(pack.cells)  # s for which it has been the same
        self.modules_of_string = _modules_of_strings(pack)
        offsets = [
            np.full(s.cells, OFFSET_PER_RANGE * s.current_sensor.range) for s in pack.strings
        ]
        tables = self.tables = CellTables(pack.cell, pack.parallel)
        self.filter = HypothesisFilter(
            tables, pack.cells, capacity, np.concatenate(offsets), options
        )
        self.coulomb = CoulombCounter(pack.cells, capacity)
        self.health = PackHealth(pack, tables, np.concatenate(offsets))
        self._ages = not recorded  # a recording of some hours tells nothing of ageing

    def add_scan(
        self,
        module: int,
        stamp: float,
        arrival: float,
        voltages: Floats,
        temperatures: Floats,
    ) -> bool:
        """Note a scan of the module of that index; return False if it is refused and counted."""
        place = self.pack.modules[module]
        if len(voltages) != place.cells or len(temperatures) != place.temperatures:
            self.counters['scans of wrong length'] += 1
            return False
        if not np.isfinite(stamp):
            self.counters['scans without stamp'] += 1
            return False
        last = self.stamps[module]
        if last - STEPPED <= stamp <= last:
            self.counters['scans out of order'] += 1
            return False
        if stamp < last:
            self.counters['clock steps'] += 1
            # The scan before was one period ago on the new clock: nothing else is known.
            self._stepped_stamps[module] = stamp - self._period[module]
        self.stamps[module] = stamp
        self._arrivals[module] = arrival
        self.news[module] = True
        self.voltages[place.cell_slice] = voltages
        self.temperatures[place.temperature_slice] = temperatures
        return True

    def add_current(self, string: int, stamp: float, current: float) -> bool:
        """Note a current in A of the string of that index, NaN if it was not measured."""
        if not (np.isfinite(stamp) and np.isfinite(current)):
            self.counters['currents not measured'] += 1
            return False
        sensor = self.pack.strings[string].current_sensor
        if abs(current) > 1.5 * sensor.range:
            self.counters['currents beyond range'] += 1
            return False
        return self._strings[string].add(stamp, current)

    def tick(self) -> None:
        """Advance the cells of all modules that sent a scan since the last tick."""
        if not self.news.any():
            return
        elapsed, charge, blind, current = self._since_last_scan()
        cells = self._module_of_cell
        news = self.news[cells]
        voltage = np.where(news, self.plausible_voltages(), np.nan)
        temperature = self.cell_temperatures()
        dt, charge, blind, current = (x[cells] for x in (elapsed, charge, blind, current))
        lost = news & self.filter.started & (blind > RESTART)
        self.filter.started[lost] = False
        self.filter.set_capacity(self.health.learnt)
        charge, unsure = self._without_sensor(dt, charge, blind, voltage, current, temperature)
        self.filter.step(dt, charge, unsure, voltage, current, temperature)
        fresh = ~self.filter.started & np.isfinite(voltage)
        if fresh.any():
            filled = np.where(fresh, voltage, self.pack.cell.voltage_nominal)
            self.filter.start(fresh, filled, current, temperature)
        self.coulomb.add(charge, np.where(news, blind, 0.0))
        recount = self.filter.started & news & np.isfinite(current)
        recount &= fresh | np.isnan(self.coulomb.soc)
        self.coulomb.start(recount, self.filter.soc)
        if self._ages:
            soc = np.where(self.filter.started, self.filter.soc, np.nan)
            self.health.tick(
                dt, charge, blind, voltage, current, temperature, soc, self.filter.sigma
            )
        self.news[:] = False

    def _without_sensor(
        self,
        dt: FloatArray,
        charge: FloatArray,
        blind: FloatArray,
        voltage: FloatArray,
        current: FloatArray,
        temperature: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Return `charge` and `blind` with what the cells say where the sensor is lost.

        A time with an estimated current counts as blind by as much as that is unsure.
        """
        if np.isfinite(current[self.news[self._module_of_cell]]).all():
            self.estimated = [None] * len(self.pack.strings)
            return charge, blind
        capacity, options = self.pack.string_capacity, self.filter.options
        # A reading that stands still tells nothing, least of all that no current flows.
        self._still = np.where(voltage == self._before, self._still + dt, 0.0)
        self._before = np.where(np.isfinite(voltage), voltage, self._before)
        moving = np.where(self._still > FROZEN, np.nan, voltage)
        told = cell_currents(self.tables, self.filter, options, capacity, dt, moving, temperature)
        charge, blind = charge.copy(), blind.copy()
        for index, string in enumerate(self.pack.strings):
            own = string.cell_slice
            newest = np.nanmax(self.stamps[self.modules_of_string[index]], initial=-np.inf)
            hold = self._strings[index].hold
            if self._strings[index].silence(float(newest)) <= max(LOST, hold):
                self.estimated[index] = None
                continue
            found = string_current(told, own, 1.5 * string.current_sensor.range)
            self.estimated[index] = found
            if found is None:
                continue
            lost = np.isnan(current[own]) & (dt[own] > 0) & (blind[own] <= LONGEST)
            self._guessed[self._module_of_cell[own][lost]] = True
            charge[own] += np.where(lost, found.current * blind[own], 0.0)
            unsure = min(found.sigma / (options.unknown_current * capacity), 1.0)
            # The voltages hold the SOC, within what they are wrong by themselves.
            share = np.square(self.filter.sigma[own] / told.settles[own])
            held = blind[own] * unsure * np.maximum(1.0 - share, 0.0)
            blind[own] = np.where(lost, held, blind[own])
        return charge, blind

    def begin(self, where: np.ndarray, soc: FloatArray, sigma: FloatArray) -> None:
        """Start the cells `where` (a mask) from an SOC that is known with `sigma`."""
        self.filter.reset(where, soc, sigma)
        self.coulomb.start(where, soc)

    def believe(self, where: np.ndarray, soc: FloatArray) -> None:
        """Start the cells `where` (a mask) from an SOC that was said, and may be wrong."""
        self.filter.believe(where, soc)
        self.coulomb.start(where, soc)

    def resume(
        self,
        where: np.ndarray,
        state: FloatArray,
        covariance: FloatArray,
        hysteresis: FloatArray,
    ) -> None:
        """Go on with the cells `where` (a mask) from a state (6, n) of the filter."""
        if not where.any():
            return
        self.filter.reset(where, state[0], np.sqrt(covariance[0, 0]))
        columns = self.filter.columns
        mine = where[self.filter.owner]
        cell = self.filter.owner[mine]
        columns.state[:, mine] = state[:, cell]
        columns.covariance[:, :, mine] = covariance[:, :, cell]
        columns.fresh[mine] = False
        columns.hysteresis[mine] = hysteresis[cell]
        self.coulomb.start(where, state[0])

    def forget(self, where: np.ndarray) -> None:
        """Forget all about the cells `where` (a mask): they are others now."""
        self.filter.started[where] = False
        self.coulomb.soc[where] = np.nan
        self.health.forget(where)

    def cell_stamps(self) -> FloatArray:
        """Return the stamp in s of the last scan of each cell, NaN if there was none."""
        return self.stamps[self._module_of_cell]

    def cell_currents(self, at_scan: bool = False) -> FloatArray:
        """Return the current in A through each cell at the last tick, or at its last scan."""
        current = self._charge_at_stamps(self.stamps)[2] if at_scan else self._stepped_current
        return current[self._module_of_cell]

    def fresh_modules(self, now: float) -> np.ndarray:
        """Return a mask of the modules heard of within the pack's timeout; now on their clock."""
        return now - self._arrivals <= self.pack.limits.module_lost.timeout

    def fresh_cells(self, now: float) -> np.ndarray:
        """Return the same mask for every cell."""
        return self.fresh_modules(now)[self._module_of_cell]

    def cell_temperatures(self) -> FloatArray:
        """Return the temperature in degC of the sensor nearest to each cell, NaN if unknown.

        Where that sensor says nothing, the mean of the others of the module stands in: cells of
        one module differ by little, and the filter widens its noise where there is none at all.
        """
        low, high = TEMPERATURE_RANGE
        # The last place is that of modules without a sensor.
        values = np.append(self.temperatures, np.nan)
        values[~((values >= low) & (values <= high))] = np.nan
        nearest = values[self._sensor_of_cell]
        missing = np.isnan(nearest)
        if missing.any():
            mean = self._module_means(values[:-1])
            nearest[missing] = mean[self._module_of_cell][missing]
        return nearest

    def _module_means(self, values: FloatArray) -> FloatArray:
        modules = self.pack.modules
        of_sensor = np.repeat(np.arange(len(modules)), [m.temperatures for m in modules])
        known = np.isfinite(values)
        sums = np.bincount(of_sensor[known], values[known], len(modules))
        counts = np.bincount(of_sensor[known], minlength=len(modules))
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def plausible_voltages(self) -> FloatArray:
        """Return the voltages last scanned in V, NaN where no cell can have that."""
        cell = self.pack.cell
        low, high = cell.voltage_min - VOLTAGE_MARGIN, cell.voltage_max + VOLTAGE_MARGIN
        plausible = (self.voltages >= low) & (self.voltages <= high)
        return np.where(plausible, self.voltages, np.nan)

    def _since_last_scan(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return, per module, time, charge and blind time since its last scan, and its current.

        In battery time; 0 for a module without a new scan or on its first.
        """
        news = self.news
        elapsed = np.where(news, self.stamps - self._stepped_stamps, 0.0)
        elapsed[np.isnan(elapsed)] = 0.0
        charge, blind, current = self._charge_at_stamps(self.stamps)
        again = news & self._guessed
        if again.any():
            # The sensor may be back: what it bridges now has been counted with a guess.
            before = self._charge_at_stamps(self._stepped_stamps)
            self._stepped_charge[again] = before[0][again]
            self._stepped_blind[again] = before[1][again]
            self._guessed[news] = False
        known = news & np.isfinite(charge) & np.isfinite(self._stepped_charge)
        gained = np.where(known, charge - self._stepped_charge, 0.0)
        lost = np.where(known, blind - self._stepped_blind, elapsed)
        lost = np.minimum(np.maximum(lost, 0.0), elapsed)
        self._stepped_stamps[news] = self.stamps[news]
        self._stepped_charge[news] = charge[news]
        self._stepped_blind[news] = blind[news]
        self._stepped_current[news] = current[news]
        scale = self.time_scale
        still = np.abs(current[news]) <= self.pack.limits.rest_current
        self.rest[news] = np.where(still, self.rest[news] + elapsed[news] * scale, 0.0)
        return elapsed * scale, gained * scale, lost * scale, current

    def _charge_at_stamps(self, stamps: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        charge, blind, current = (np.full(len(stamps), np.nan) for _ in range(3))
        for string, modules in zip(self._strings, self.modules_of_string, strict=True):
            reading = string.at(stamps[modules])
            if reading is not None:
                charge[modules], blind[modules], current[modules] = reading
        return charge, blind, current


def _sensors_of_cells(modules: Sequence[Module]) -> np.ndarray:
    """Return for each cell the index of the temperature sensor taken to be nearest to it.

    The sensors of a module are taken as spread evenly along its cells.
    """
    none = sum(module.temperatures for module in modules)
    places = [
        m.first_temperature + np.arange(m.cells) * m.temperatures // m.cells
        if m.temperatures
        else np.full(m.cells, none)
        for m in modules
    ]
    return np.concatenate(places)


def _modules_of_strings(pack: Pack) -> list[slice]:
    slices, first = [], 0
    for string in pack.strings:
        slices.append(slice(first, first + len(string.modules)))
        first += len(string.modules)
    return slices
