# SPDX-License-Identifier: Apache-2.0
"""Writes what happened in a scenario run: samples.csv of the truth, events.csv of the rest."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np

from dbms_sim.scenario import Scenario

from .story import LEVELS
from .verdicts import View

SAMPLES = 2000  # rows per run at most
SHORTEST = 0.05  # s of wall time between two rows


class Recorder:
    """The recording of one run. Times in s of the scenario."""

    def __init__(self, directory: Path, scenario: Scenario) -> None:
        pack = scenario.pack
        self._files = [
            (directory / name).open('w', newline='', encoding='utf-8')
            for name in ('samples.csv', 'events.csv')
        ]
        self._samples, self._events = (csv.writer(file) for file in self._files)
        self._period = max(scenario.duration / SAMPLES, SHORTEST * scenario.time_scale)
        self._next = -math.inf
        self._told: dict[Any, Any] = {}
        cells = [f'{one.name}:{cell + 1}' for one in pack.modules for cell in range(one.cells)]
        self._samples.writerow([
            'time',
            *(f'voltage {cell}' for cell in cells),
            *(f'measured {cell}' for cell in cells),
            *(f'temperature {cell}' for cell in cells),
            *(f'current {string.name}' for string in pack.strings),
            'soc', 'soc_estimate', 'charge_limit', 'discharge_limit', 'link_voltage',
        ])  # fmt: skip
        self._events.writerow(['time', 'kind', 'text'])

    def sample(self, now: float, view: View) -> None:
        """Write a row, unless the last one is too near."""
        if now < self._next:
            return
        self._next = now + self._period
        arrays = np.concatenate(
            [view.voltages, view.measured, view.temperatures, view.currents,
             [view.soc, view.soc_estimate, *view.limits, view.link_voltage]]
        )  # fmt: skip
        self._samples.writerow([f'{now:.3f}', *(f'{value:.6g}' for value in arrays)])

    def changes(self, now: float, view: View) -> None:
        """Write what is new of states and faults."""
        for name, (state, reason) in view.strings.items():
            self._tell_new(now, 'state', name, state, f'string {name}: {state}, {reason}')
        current = {fault.key: fault for fault in view.faults}
        for key, fault in current.items():
            word = 'fault' if fault.active else 'latched'
            self._tell_new(now, word, key, fault.active, f'{fault.text}')
        for key in [key for key in self._told if isinstance(key, tuple) and key not in current]:
            name, level, *_ = key
            del self._told[key]
            self._events.writerow([f'{now:.3f}', 'over', f'{name} {LEVELS[level]}'])

    def note(self, now: float, kind: str, text: str) -> None:
        """Write an event."""
        self._events.writerow([f'{now:.3f}', kind, text])

    def close(self) -> None:
        """End the files."""
        for file in self._files:
            file.close()

    def _tell_new(self, now: float, kind: str, key: Any, value: Any, text: str) -> None:
        if self._told.get(key) != value:
            self._told[key] = value
            self.note(now, kind, text)
