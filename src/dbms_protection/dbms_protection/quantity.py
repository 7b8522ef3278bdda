# SPDX-License-Identifier: Apache-2.0
"""One measured quantity against its levels, for all its elements at once.

A condition begins when a value reaches its limit, is confirmed after its debounce and ends when
the value is back by more than the hysteresis. What is not measured (NaN) is never taken for
fine: it begins nothing, it ends nothing, and a debounce that runs goes on running.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbms_pack import Level, Limit

from .faults import Place

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    """A level of one element was confirmed, or has ended."""

    level: Level
    element: int  # index over all elements of the quantity
    active: bool
    since: float  # s, when the condition began; of a leaking debounce as if in one piece
    at: float  # the limit in force


class Quantity:
    """One quantity of all elements of a pack, judged at each of its levels.

    Elements come in groups (the cells of a module): a group is judged when its measurement
    arrives. `groups[g]` is where group g is in the arrays over all elements, `places` names every
    element. Times are in s and never step back (see timebase); debounces are divided by
    `time_scale`.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        limits: Mapping[Level, Limit],
        groups: Sequence[slice],
        places: Sequence[Place],
        *,
        under: bool = False,
        time_scale: float = 1.0,
    ) -> None:
        self.name = name
        self.unit = unit
        self.under = under
        self.limits = dict(limits)
        self.groups = tuple(groups)
        self.places = tuple(places)
        self.levels = tuple(sorted(limits))
        self._sign = -1.0 if under else 1.0
        chosen = [limits[level] for level in self.levels]
        # What depends on temperature or state has thresholds that are set anew: see `adapt`.
        self.variable = any(limit.by_temperature or limit.by_state for limit in chosen)
        self._back = np.array([limit.hysteresis for limit in chosen])[:, None]
        self._wait = np.array([limit.debounce for limit in chosen])[:, None] / time_scale
        self._leak = np.array([limit.leak for limit in chosen])[:, None]
        self._leaks = bool(self._leak.any())
        shape = (len(self.levels), len(self.groups))
        self._enter = np.empty(shape)  # signed: reached when signed value >= this
        self._first = [0.0] * len(self.groups)
        self._adapted: list[object] = [None] * len(self.groups)
        for group in range(len(self.groups)):
            self._set(group, [limit.at for limit in chosen])
        size = len(self.places)
        self._since = np.full((len(self.levels), size), np.nan)
        self._counting: BoolArray = np.zeros((len(self.levels), size), dtype=bool)
        self._judged = [0.0] * len(self.groups)  # s, when each group was judged last
        self.active: BoolArray = np.zeros((len(self.levels), size), dtype=bool)
        self.values = np.full(size, np.nan)  # as judged last
        self.busy = [False] * len(self.groups)  # a condition of the group holds or is debounced

    # -- thresholds ---------------------------------------------------------------------------

    def adapt(self, group: int, cold: float, hot: float, state: str) -> None:
        """Set the limits of a group by its temperatures in degC and the state of its string.

        Where one of these is not known (NaN, '') the limit of the pack's `at` holds.
        """
        if not self.variable or self._adapted[group] == (cold, hot, state):
            return
        self._adapted[group] = (cold, hot, state)
        self._set(group, [self._limit(self.limits[lv], cold, hot, state) for lv in self.levels])

    def _limit(self, limit: Limit, cold: float, hot: float, state: str) -> float:
        if limit.by_state:
            return limit.by_state.get(state, limit.at)
        if limit.by_temperature is None or not (math.isfinite(cold) and math.isfinite(hot)):
            return limit.at
        ends = np.interp([cold, hot], *limit.by_temperature)
        return float(ends.max() if self.under else ends.min())

    def _set(self, group: int, at: Sequence[float]) -> None:
        # Measurements are float32: a limit of 4.22 V is reached by the float32 nearest to it.
        self._enter[:, group] = self._sign * np.array(at, dtype=np.float32).astype(np.float64)
        self._first[group] = float(self._enter[:, group].min())

    def at(self, level: Level) -> FloatArray:
        """Return the limit of a level that is in force in each group, shape (groups,)."""
        return self._sign * self._enter[self.levels.index(level)]

    # -- judging ------------------------------------------------------------------------------

    def quiet(self, group: int, worst: float) -> bool:
        """Tell whether a scan with this worst value can be passed over: nothing is or begins.

        `worst` is the largest value of the group, the smallest for an under-quantity; NaN, when
        one is missing, is never quiet.
        """
        return not self.busy[group] and self._sign * worst < self._first[group]

    def update(
        self, group: int, values: FloatArray, now: float, applies: bool = True
    ) -> Sequence[Change]:
        """Judge the values of one group, shape (elements of the group,), and tell what changed.

        With `applies` false the quantity is of no concern now: its conditions end.
        """
        where = self.groups[group]
        since, active = self._since[:, where], self.active[:, where]
        counting = self._counting[:, where]
        before = active.copy()
        self.values[where] = values
        if applies:
            signed = self._sign * self.values[where]
            enter = self._enter[:, group, None]
            reached = signed >= enter  # False for NaN
            fine = np.where(active, signed < enter - self._back, signed < enter)
            ended = self._drain(group, fine, now) if self._leaks else fine
            since[reached & np.isnan(since)] = now
            counting[:] = ~fine
            active |= counting & (now - since >= self._wait)  # False where since is NaN
        else:
            ended = np.ones_like(active)
            counting[:] = False
        starts = since.copy()
        active &= ~ended
        since[ended] = np.nan
        self._judged[group] = now
        self.busy[group] = not bool(np.isnan(since).all())
        return self._changes(group, before, active, starts)

    def _drain(self, group: int, fine: BoolArray, now: float) -> BoolArray:
        """Tell what has ended, when what was gathered drains while the value is back.

        What is gathered is the time since `since`; draining moves that on. The time before this
        value belongs to the last one.
        """
        where = self.groups[group]
        since, counting = self._since[:, where], self._counting[:, where]
        leaky = self._leak > 0.0
        elapsed = now - self._judged[group]
        # Not more than a whole debounce is gathered: else it would not end for long.
        capped = np.where(counting, np.maximum(since, now - self._wait), since)
        moved = np.where(counting, 0.0, (1.0 + self._leak) * elapsed)
        since[:] = np.where(leaky & fine | leaky & ~counting, capped + moved, since)
        empty = leaky & (since >= now) & ~counting
        since[empty] = np.nan
        return np.where(leaky, fine & np.isnan(since), fine)

    def standing(self, group: int) -> list[tuple[Level, int]]:
        """Return level and element of every confirmed condition of a group."""
        where = self.groups[group]
        rows, columns = np.nonzero(self.active[:, where])
        return [
            (self.levels[row], where.start + column)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ]

    def begun(self, level: Level) -> list[int]:
        """Return the elements whose condition at a level has begun, confirmed or not yet."""
        if level not in self.levels:
            return []
        row = self.levels.index(level)
        begun = self._counting[row] & ~np.isnan(self._since[row])
        return np.flatnonzero(begun).tolist()

    def elapse(self, group: int, now: float) -> Sequence[Change]:
        """Confirm what has been pending for its debounce without a new measurement."""
        if not self.busy[group]:
            return ()
        where = self.groups[group]
        since, active = self._since[:, where], self.active[:, where]
        before = active.copy()
        active |= self._counting[:, where] & (now - since >= self._wait)
        return self._changes(group, before, active, since)

    def _changes(
        self, group: int, before: BoolArray, after: BoolArray, since: FloatArray
    ) -> Sequence[Change]:
        differs = before != after
        if not differs.any():
            return ()
        # Worst level first: what opens contactors is handled before what only warns.
        return [
            Change(
                level=self.levels[row],
                element=self.groups[group].start + int(column),
                active=bool(after[row, column]),
                since=float(since[row, column]),
                at=float(self._sign * self._enter[row, group]),
            )
            for row in range(len(self.levels) - 1, -1, -1)
            for column in np.flatnonzero(differs[row])
        ]
