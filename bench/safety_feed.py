# SPDX-License-Identifier: Apache-2.0
"""Cells as their boards and sensors really see them: with noise, errors and dropouts.

The physics goes in steps of 0.1 s as long as nothing switches: what is measured in between
differs by its noise. That keeps a day of 50 Hz measurements affordable.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbms_pack import Pack
from dbms_sim.feeds import IntArray, ModelFeed
from dbms_sim.link import Contacts
from dbms_sim.loads import Load, PackView

FloatArray = npt.NDArray[np.float64]

PHYSICS_PERIOD = 0.1  # s


@dataclass(frozen=True)
class Noise:
    """How boards and sensors measure. Standard deviations, but for the shares."""

    cell: float = 0.0  # V, of each value
    cell_error: float = 0.0  # V, of each cell, for ever
    temperature: float = 0.0  # K
    temperature_error: float = 0.0  # K
    string: float = 0.0  # V, of string and link voltage
    string_error: float = 0.0  # share, of string and link voltage, for ever
    load: float = 0.0  # share of the load current that comes and goes
    dropouts: float = 0.0  # share of the cell and temperature values that are not measured


QUIET = Noise()
# A monitor chip with its filter on, and one without; both within what datasheets promise.
FILTERED = Noise(5e-5, 1e-3, 0.02, 0.5, 2e-3, 1e-3, 0.0, 0.0)
USUAL = Noise(1e-3, 2e-3, 0.1, 1.0, 0.02, 2e-3, 0.05, 1e-5)
POOR = Noise(3e-3, 3e-3, 0.3, 1.5, 0.05, 3e-3, 0.2, 1e-4)


class Rippled:
    """A load whose current is never quite that of its profile."""

    def __init__(self, load: Load, random: np.random.Generator) -> None:
        self.share = 0.0
        self._load = load
        self._random = random

    def current(self, time: float, pack: PackView) -> float:
        """Return the current in A; what nobody draws has no ripple."""
        return self._load.current(time, pack) * (1.0 + self.share * self._random.normal())


class NoisyFeed(ModelFeed):
    """A cell model whose measurements are no better than those of real boards."""

    def __init__(self, pack: Pack, load: Load, initial_soc: float, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._rippled = Rippled(load, np.random.default_rng((seed, 1)))
        super().__init__(pack, self._rippled, initial_soc, seed)
        self._cell_error = self._random.standard_normal(pack.cells)
        self._sensor_error = self._random.standard_normal(pack.temperatures)
        self._string_error = self._random.standard_normal(len(pack.strings))
        self._link_error = self._random.standard_normal()
        self._due = 0.0
        self._contacts = b''
        self.noise = QUIET
        self._measure()

    def set_load(self, load: Load) -> None:
        """Put another machine on the pack."""
        self._rippled._load = load

    def set_noise(self, noise: Noise) -> None:
        """Measure with this noise from now on; errors that stay keep their signs."""
        self.noise = noise
        self._rippled.share = noise.load

    @property
    def voltages(self) -> FloatArray:
        return self._cells

    @property
    def temperatures(self) -> FloatArray:
        return self._sensors

    @property
    def string_voltages(self) -> FloatArray:
        return self._strings

    @property
    def link_voltage(self) -> float:
        return self._link_measured

    def advance(
        self, dt: float, time_scale: float, contacts: Contacts, bleeding: IntArray
    ) -> list[str]:
        """Step cells, link and load when it is time, or at once when something switched."""
        self._due += dt
        key = contacts.main.tobytes() + contacts.precharge.tobytes()
        steady = contacts.main.all() or not contacts.precharge.any()
        if steady and key == self._contacts and self._due < PHYSICS_PERIOD - 1e-3:
            return []
        self._contacts = key
        due, self._due = self._due, 0.0
        told = super().advance(due, time_scale, contacts, bleeding)
        self._measure()
        return told

    def _measure(self) -> None:
        noise, random = self.noise, self._random
        cells = super().voltages + noise.cell_error * self._cell_error
        sensors = super().temperatures + noise.temperature_error * self._sensor_error
        if noise.cell:
            cells += noise.cell * random.standard_normal(cells.size)
            sensors += noise.temperature * random.standard_normal(sensors.size)
        if noise.dropouts:
            cells[random.random(cells.size) < noise.dropouts] = np.nan
            sensors[random.random(sensors.size) < noise.dropouts] = np.nan
        self._cells, self._sensors = cells, sensors
        gain = 1.0 + noise.string_error * self._string_error
        strings = super().string_voltages
        self._strings = strings * gain + noise.string * random.standard_normal(strings.size)
        link = super().link_voltage * (1.0 + noise.string_error * self._link_error)
        self._link_measured = max(link + noise.string * random.standard_normal(), 0.0)
