# SPDX-License-Identifier: Apache-2.0
"""What came of a replay: what happened when, and some numbers over time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dbms_pack import Level
from dbms_protection.faults import Place

FloatArray = npt.NDArray[np.float64]

# Numbers of the pack, with the words that --expect uses for them.
NUMBERS = {
    'soc': '0..1, mean of the cells',
    'soc_min': '0..1, of the weakest cell',
    'soc_max': '0..1, of the strongest cell',
    'soc_sigma': '0..1, of the cell least known',
    'charge_limit': 'A',
    'discharge_limit': 'A',
    'cell_min': 'V',
    'cell_max': 'V',
    'temperature_max': 'degC',
    'current': 'A, sum of the strings',
}
CAPACITY = 4096  # samples that are kept


@dataclass(frozen=True)
class Event:
    """Something that happened. Times in s from the beginning of the recording."""

    time: float
    kind: str  # 'fault', 'over', 'state'
    what: str  # name of a fault; name of a state
    place: str  # 'm1:3', 'm1:t2', 'm1', 'a'
    level: str = ''  # MOL, RSL, MSL
    text: str = ''

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two events the same, but for their time."""
        return self.kind, self.what, self.place, self.level

    def __str__(self) -> str:
        level = f' {self.level}' if self.level else ''
        words = {'fault': '', 'over': 'over: ', 'state': 'string '}
        if self.kind == 'state':
            return f'string {self.place}: {self.what}'
        return f'{words[self.kind]}{self.what}{level} at {self.place}'


def place_name(place: Place) -> str:
    """Return a place as scenarios write it: m1:3, m1:t2, m1, a."""
    if place.cell:
        return f'{place.module}:{place.cell}'
    if place.sensor:
        return f'{place.module}:t{place.sensor}'
    return place.module or place.string


def level_name(level: int) -> str:
    """Return MOL, RSL or MSL."""
    return Level(level).name


class Series:
    """Numbers over time, thinned out as the time gets long: memory stays what it is."""

    def __init__(self, period: float = 0.1) -> None:
        self._period = period
        self._due = 0.0
        self._rows = np.full((CAPACITY, 1 + len(NUMBERS)), np.nan)
        self._count = 0

    def due(self, now: float) -> bool:
        """Tell whether a sample is to be taken now."""
        return now >= self._due

    def add(self, now: float, values: Mapping[str, float]) -> None:
        """Take a sample."""
        if self._count == CAPACITY:
            half = self._rows[::2].copy()
            self._count = len(half)
            self._rows[: self._count] = half
            self._period *= 2.0
        self._rows[self._count] = (now, *(values[name] for name in NUMBERS))
        self._count += 1
        self._due = now + self._period

    @property
    def time(self) -> FloatArray:
        """Times of the samples in s."""
        return self._rows[: self._count, 0]

    def __getitem__(self, name: str) -> FloatArray:
        return self._rows[: self._count, 1 + list(NUMBERS).index(name)]

    def at(self, name: str, time: float) -> float:
        """Return the last value at `time` or before it, NaN if there is none."""
        index = int(np.searchsorted(self.time, time + 1e-9, side='right')) - 1
        return float(self[name][index]) if index >= 0 else float('nan')


@dataclass
class Outcome:
    """All of it."""

    events: list[Event] = field(default_factory=list)
    series: Series = field(default_factory=Series)
    duration: float = 0.0  # s
    start: int = 0  # ns, log time of the first message
    messages: Counter[str] = field(default_factory=Counter)  # used, by topic type
    problems: Counter[str] = field(default_factory=Counter)  # what was wrong with the input
    notes: list[str] = field(default_factory=list)
