# SPDX-License-Identifier: Apache-2.0
"""What the virtual units measure: a cell model under load, or a recording.

A feed is stepped in wall time; its cells live in battery time, `time_scale` times as fast. The
link (precharge, joining) stays in wall time.
"""

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dbms_pack.model import CellModel, Pack
from dbms_sim.link import CONTACT_RESISTANCE, Contacts, Link
from dbms_sim.loads import Allowed, Load, Obeying, PackView
from dbms_sim.plant import Plant
from dbms_sim.playback import Recording
from dbms_sim.string_path import StringPath

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int_]

MAX_STEP = 2.0  # s of battery time: an RC pair is exact for any, the OCV is not
BLEED_RESISTANCE = 33.0  # Ohm, balancing resistor of a board


class Feed(Protocol):
    """A source of what is measured. Arrays are in pack order; NaN is not measured."""

    position: float  # s, battery time
    currents: FloatArray  # (strings,) A, positive = charging

    @property
    def voltages(self) -> FloatArray:
        """Cell voltages in V, (cells,)."""

    @property
    def temperatures(self) -> FloatArray:
        """Sensor temperatures in degC, (sensors,)."""

    @property
    def string_voltages(self) -> FloatArray:
        """Voltages of the strings in V, on the battery side of the contactors, (strings,)."""

    @property
    def link_voltage(self) -> float:
        """Voltage of the link in V."""

    def advance(
        self, dt: float, time_scale: float, contacts: Contacts, bleeding: IntArray
    ) -> list[str]:
        """Go on by `dt` s of wall time as the contacts are; return what is worth telling.

        `bleeding` (cells,) says how many balancing resistors are on at each cell.
        """

    def follow(
        self,
        dt: float,
        time_scale: float,
        currents: FloatArray,
        bleeding: IntArray,
        connected: bool,
    ) -> list[str]:
        """Go on with string currents that were measured by somebody else."""

    def describe(self) -> dict[str, str]:
        """Return what a person wants to see of it."""


class ModelFeed:
    """A cell model under a load profile."""

    def __init__(
        self,
        pack: Pack,
        load: Load,
        initial_soc: float = 0.8,
        seed: int = 0,
        cell: CellModel | None = None,
    ) -> None:
        """Feed `pack` from cells as its file says, or from others, as in life: `cell`."""
        self._plant = Plant(pack, initial_soc, seed, cell=cell)
        self._load = load
        self._link = Link(pack.cell.voltage_nominal * pack.strings[0].cells)
        self.path = StringPath(pack)
        self.path_resistance: FloatArray = np.full(len(pack.strings), np.inf)  # Ohm, to the link
        self.leakage: FloatArray = np.zeros(len(pack.strings))  # A, lost through the chassis
        self._load_current = 0.0
        self._limits = Allowed()
        self._limits_left = 0.0  # s of wall time for which they are valid
        self.obey = False  # whatever the load is, it keeps to the limits
        self.position = 0.0
        self.currents: FloatArray = np.zeros(len(pack.strings))

    def set_load(self, load: Load) -> None:
        """Put another machine on the pack."""
        self._load = load

    def hear_limits(self, allowed: Allowed, valid_for: float) -> None:
        """Take what protection allows for `valid_for` s of wall time."""
        self._limits = allowed
        self._limits_left = valid_for if valid_for > 0.0 else 0.0

    @property
    def plant(self) -> Plant:
        """The cells themselves: what an estimator would like to know."""
        return self._plant

    @property
    def voltages(self) -> FloatArray:
        return self._plant.voltages

    @property
    def temperatures(self) -> FloatArray:
        return self._plant.sensor_temperatures

    @property
    def string_voltages(self) -> FloatArray:
        return self._plant.string_voltages + self.currents * self.path.resistance

    @property
    def link_voltage(self) -> float:
        return self._link.voltage

    def advance(
        self, dt: float, time_scale: float, contacts: Contacts, bleeding: IntArray
    ) -> list[str]:
        """Step cells, link and load, in as many steps as the time scale needs."""
        self._limits_left -= dt
        count, part = _steps(dt * time_scale)
        for _ in range(count):
            live = contacts.without(self.path.open)
            step = self._plant.prepare(part)
            emf, resistance = self._plant.sources(step)
            resistance = resistance + self.path.resistance
            self.path_resistance = resistance + CONTACT_RESISTANCE
            self._load_current = self._demand(live, emf) if live.any_main else 0.0
            self.currents = self._link.solve(dt / count, live, emf, resistance, self._load_current)
            self.path.step(self.currents, part)
            self._plant.advance(step, self.currents - self.leakage, self._bleed(bleeding))
            self.position += part
        return []

    def follow(
        self,
        dt: float,
        time_scale: float,
        currents: FloatArray,
        bleeding: IntArray,
        connected: bool,
    ) -> list[str]:
        """Step the cells with given string currents; there is no link here."""
        count, part = _steps(dt * time_scale)
        self.currents = np.nan_to_num(currents)
        for _ in range(count):
            self._plant.advance(self._plant.prepare(part), self.currents, self._bleed(bleeding))
            self.position += part
        return []

    def describe(self) -> dict[str, str]:
        return {
            'feed': 'cell model',
            'load_current': f'{self._load_current:.3f}',
            'soc_mean': f'{self._plant.soc.mean():.4f}',
        }

    def _demand(self, live: Contacts, emf: FloatArray) -> float:
        plant = self._plant
        # What feeds the link is one source: that of all connected strings in parallel.
        conductance = np.where(live.main, 1.0 / self.path_resistance, 0.0)
        total = float(conductance.sum())
        view = PackView(
            float(plant.soc.mean()),
            float(plant.soc.min()),
            float(plant.voltages.max()),
            self._limits if self._limits_left > 0.0 else Allowed(),
            self._link.voltage,
            float(conductance @ emf) / total,
            1.0 / total,
        )
        load = Obeying(self._load) if self.obey else self._load
        return load.current(self.position, view)

    def _bleed(self, bleeding: IntArray) -> FloatArray:
        current: FloatArray = bleeding * self._plant.voltages / BLEED_RESISTANCE
        return current


class RecordingFeed:
    """A recording as it was measured, sample by sample, never interpolated.

    It runs while a string is connected and is frozen while none is: the cells then show the row
    it stopped at, and no current flows. After its last row likewise.
    """

    def __init__(self, recording: Recording, pack: Pack) -> None:
        self._recording = recording
        self._starts = np.array([string.cell_slice.start for string in pack.strings])
        self._link = Link(pack.cell.voltage_nominal * pack.strings[0].cells)
        self._running = False
        self.ended = False
        self.position = float(recording.time[0])
        self.currents: FloatArray = np.zeros(len(pack.strings))

    @property
    def _row(self) -> int:
        return self._recording.row(self.position)

    @property
    def voltages(self) -> FloatArray:
        return self._recording.voltages[self._row]

    @property
    def temperatures(self) -> FloatArray:
        return self._recording.temperatures[self._row]

    @property
    def string_voltages(self) -> FloatArray:
        return np.add.reduceat(self.voltages, self._starts)

    @property
    def link_voltage(self) -> float:
        return self._link.voltage

    def advance(
        self, dt: float, time_scale: float, contacts: Contacts, bleeding: IntArray
    ) -> list[str]:
        """Play on while a string is connected; bleeding changes nothing that was measured."""
        told = self._play(dt * time_scale, contacts.any_main)
        emf = np.nan_to_num(self.string_voltages)
        if contacts.any_main:
            recorded = self._current() if self._running else np.zeros(len(emf))
            self.currents = np.where(contacts.main, recorded, 0.0)
            self._link.voltage = float(emf[contacts.main].mean())
        else:
            self.currents = self._link.solve(dt, contacts, emf, np.zeros(len(emf)), 0.0)
        return told

    def follow(
        self,
        dt: float,
        time_scale: float,
        currents: FloatArray,
        bleeding: IntArray,
        connected: bool,
    ) -> list[str]:
        """Play on while somebody else's contactors are closed."""
        self.currents = currents
        return self._play(dt * time_scale, connected)

    def describe(self) -> dict[str, str]:
        state = 'ended' if self.ended else 'running' if self._running else 'frozen'
        return {
            'feed': f'recording {self._recording.path.name}',
            'recording': state,
            'recording_end': f'{self._recording.time[-1]:.1f}',
        }

    def _current(self) -> FloatArray:
        return self._recording.current[self._row]

    def _play(self, dt: float, connected: bool) -> list[str]:
        if self.ended:
            return []
        if connected and not self._running:
            self._running = True
            return [f'recording runs from t={self.position:.1f} s']
        if not connected:
            if not self._running:
                return []
            self._running = False
            return [f'recording stopped at t={self.position:.1f} s because the contactors opened']
        end = float(self._recording.time[-1])
        self.position = min(self.position + dt, end)
        if self.position < end:
            return []
        self.ended, self._running = True, False
        return [f'recording ended at t={end:.1f} s']


def _steps(dt: float) -> tuple[int, float]:
    """Return in how many steps of what length `dt` is to be gone."""
    count = max(1, math.ceil(dt / MAX_STEP))
    return count, dt / count
