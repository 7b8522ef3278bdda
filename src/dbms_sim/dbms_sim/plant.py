# SPDX-License-Identifier: Apache-2.0
"""The cells of a pack in strings: cells that differ a little, and what their sensors sit on.

The physics is that of `cell_physics.Cells`. Currents are A, positive = charging.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbms_pack.model import CellModel, Pack
from dbms_sim.cell_physics import Cells, Step, require_finite

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Standard deviations of what differs from cell to cell."""

    soc: float = 0.008
    capacity: float = 0.01  # relative
    resistance: float = 0.03  # relative


class Plant(Cells):
    """All cells of a pack. Arrays are in pack order, one entry per group of parallel cells."""

    def __init__(
        self,
        pack: Pack,
        initial_soc: float = 0.8,
        seed: int = 0,
        spread: Spread = Spread(),  # noqa: B008  (frozen)
        ambient: float = 25.0,
        cell: CellModel | None = None,
    ) -> None:
        """Make the cells of `pack`, or others than its file says, as in life: `cell`.

        Raise ValueError for a number that is not finite.
        """
        require_finite('initial SOC', initial_soc)
        random = np.random.default_rng(seed)
        count = pack.cells
        super().__init__(
            cell or pack.cell,
            initial_soc + spread.soc * _normal(random, count),
            [module.cells for module in pack.modules],
            parallel=pack.parallel,
            capacity=1 + spread.capacity * _normal(random, count),
            resistance=1 + spread.resistance * _normal(random, count),
            ambient=ambient,
        )
        self._starts = np.array([string.cell_slice.start for string in pack.strings])
        self._of_string = np.repeat(
            np.arange(len(pack.strings)), [string.cells for string in pack.strings]
        )
        self._sensors = _sensor_cells(pack)

    @property
    def sensor_temperatures(self) -> FloatArray:
        """Temperatures in degC at the sensors of the pack, (temperatures,)."""
        return self.temperature[self._sensors]

    @property
    def string_voltages(self) -> FloatArray:
        """Sum of the cell voltages of each string in V, (strings,)."""
        return np.add.reduceat(self.voltages, self._starts)

    def sources(self, step: Step) -> tuple[FloatArray, FloatArray]:
        """Return each string as a source: V without current and Ohm, both (strings,)."""
        return (
            np.add.reduceat(step.emf, self._starts),
            np.add.reduceat(step.resistance, self._starts),
        )

    def advance(self, step: Step, currents: FloatArray, bleed: FloatArray | float = 0.0) -> None:
        """Let `currents` (strings,) A flow for the prepared step, less `bleed` (cells,) A.

        Raise ValueError for a current that is not finite; the cells are then as before.
        """
        current = currents[self._of_string]
        current -= bleed
        self.carry(step, current)


def _normal(random: np.random.Generator, count: int) -> FloatArray:
    """Normally distributed numbers without the tails: a seed shall not make a broken cell."""
    return np.clip(random.standard_normal(count), -2.5, 2.5)


def _sensor_cells(pack: Pack) -> npt.NDArray[np.intp]:
    """Return the cell that each temperature sensor sits on.

    They lie evenly along their module; redundant ones all sit on the cell of the first of them.
    """
    cells: list[int] = []
    for module in pack.modules:
        count = module.temperatures
        spots = list(range(count))
        for group in module.redundant:
            for number in group:
                spots[number - 1] = group[0] - 1
        cells += [module.first_cell + int((spot + 0.5) * module.cells / count) for spot in spots]
    return np.array(cells, dtype=np.intp)
