# SPDX-License-Identifier: Apache-2.0
"""What is not measured: silent modules and strings, missing values, boards that doubt themselves.

Each follows the loss rule of the pack: named and derated at once (RSL), and when it has lasted
for `open_after` the string is opened (MSL). That second step only concerns a string that is not
open already: with contactors open there is nothing to bridge, and connecting is refused anyway.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Limit, LossRule, Pack

from .faults import Place
from .quantity import Change, FloatArray, Quantity
from .soa import cell_places, sensor_places

# Bits of dbms_msgs/ModuleCells.status after which the values of a board cannot be relied on.
BOARD_FAULTS = {
    'OPEN_WIRE': 1,
    'SELF_TEST_FAILED': 2,
    'REFERENCE_FAILED': 4,
}


class Loss:
    """One way of not being measured, over all its elements, judged by a loss rule."""

    def __init__(
        self,
        name: str,
        unit: str,
        rule: LossRule,
        groups: Sequence[slice],
        places: Sequence[Place],
        *,
        at: float,
        debounce: float,
        time_scale: float,
    ) -> None:
        self.name = name
        self.derate = rule.derate
        until_open = debounce + rule.open_after / time_scale
        self.warn = Quantity(
            name, unit, {Level.RSL: Limit(at, debounce, 0.0, False)}, groups, places
        )
        self.open = Quantity(
            name, unit, {Level.MSL: Limit(at, until_open, 0.0, True)}, groups, places
        )

    def judge(
        self, group: int, values: FloatArray, now: float, closed: bool
    ) -> Iterator[tuple[Quantity, Sequence[Change]]]:
        """Judge one group; `closed`: the contactors of its string are not open."""
        yield self.open, self.open.update(group, values, now, applies=closed)
        yield self.warn, self.warn.update(group, values, now)

    def busy(self, group: int) -> bool:
        """Tell whether anything of the group is or begins to be missing."""
        return self.warn.busy[group] or self.open.busy[group]

    def elapse(self, group: int, now: float) -> Iterator[tuple[Quantity, Sequence[Change]]]:
        """Go on with time alone."""
        yield self.open, self.open.elapse(group, now)
        yield self.warn, self.warn.elapse(group, now)


class Watchdog:
    """Age of every measurement, and the losses of a pack."""

    def __init__(self, pack: Pack, time_scale: float = 1.0) -> None:
        limits = pack.limits
        modules, strings = pack.modules, pack.strings
        each_module = [slice(index, index + 1) for index in range(len(modules))]
        each_string = [slice(index, index + 1) for index in range(len(strings))]
        at_modules = [Place(module.string, module.name) for module in modules]
        at_strings = [Place(string.name) for string in strings]
        self.heard = np.zeros(len(modules))  # s, last scan of each module
        self._timeout = limits.module_lost.timeout
        self.module_lost = Loss(
            'MODULE_LOST', 's', limits.module_lost, each_module, at_modules,
            at=limits.module_lost.timeout, debounce=0.0, time_scale=time_scale,
        )  # fmt: skip
        self.string_lost = Loss(
            'STRING_LOST', 's', limits.string_lost, each_string, at_strings,
            at=limits.string_lost.timeout, debounce=0.0, time_scale=time_scale,
        )  # fmt: skip

        def flag(name: str, groups: Sequence[slice], places: Sequence[Place]) -> Loss:
            # 1.0 is bad. A single scan without a value is no loss: as long as for a whole module.
            return Loss(
                name, '', limits.module_lost, groups, places,
                at=0.5, debounce=limits.module_lost.timeout, time_scale=time_scale,
            )  # fmt: skip

        self.cells = flag(
            'CELL_NOT_MEASURED', [module.cell_slice for module in modules], cell_places(pack)
        )
        self.sensors = flag(
            'TEMPERATURE_NOT_MEASURED',
            [module.temperature_slice for module in modules],
            sensor_places(pack),
        )
        self.boards = {
            bit: flag(name, each_module, at_modules) for name, bit in BOARD_FAULTS.items()
        }

    @property
    def per_module(self) -> tuple[Loss, ...]:
        """Losses whose groups are modules."""
        return (self.module_lost, self.cells, self.sensors, *self.boards.values())

    def start(self, now: float) -> None:
        """Begin to wait for everybody: who never speaks is lost after the timeout too."""
        self.heard[:] = now

    def silent(self, now: float) -> npt.NDArray[np.bool_]:
        """Tell which modules are silent beyond their timeout, shape (modules,)."""
        return now - self.heard >= self._timeout

    def silent_modules(self, now: float) -> Iterable[int]:
        """Return the modules that are silent beyond their timeout."""
        return np.flatnonzero(now - self.heard >= self._timeout).tolist()
