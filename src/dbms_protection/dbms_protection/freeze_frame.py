# SPDX-License-Identifier: Apache-2.0
"""The last seconds of all measurements, to be kept when something trips."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dbms_pack import Pack

from .measurements import CellData, Reading

PERIOD = 0.1  # s, between two samples
SPAN = 10.0  # s, before and after the trip


class Recorder:
    """A ring of samples of all cells, sensors and strings, of twice SPAN."""

    def __init__(self, pack: Pack) -> None:
        size = round(2 * SPAN / PERIOD) + 1
        strings = len(pack.strings)
        self._time = np.full(size, np.nan)
        self._voltages = np.full((size, pack.cells), np.nan, dtype=np.float32)
        self._temperatures = np.full((size, pack.temperatures), np.nan, dtype=np.float32)
        self._strings = np.full((size, strings, 3), np.nan, dtype=np.float32)
        self._next = 0

    def sample(self, cells: CellData, readings: Sequence[Reading], now: float) -> None:
        """Take a sample, unless the last one is too young."""
        last = self._time[self._next - 1]
        if now - last < PERIOD - 1e-6:
            return
        place = self._next
        self._time[place] = now
        self._voltages[place] = cells.voltages
        self._temperatures[place] = cells.temperatures
        for index, reading in enumerate(readings):
            self._strings[place, index] = (
                reading.current, reading.string_voltage, reading.link_voltage,
            )  # fmt: skip
        self._next = (place + 1) % len(self._time)

    def cut(self, tripped: float) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the samples around a trip, oldest first; `time` 0 is the trip."""
        order = np.roll(np.arange(len(self._time)), -self._next)
        time = self._time[order] - tripped
        order = order[(time >= -SPAN - 1e-6) & (time <= SPAN + 1e-6)]
        return {
            'time': self._time[order] - tripped,
            'voltages': self._voltages[order],
            'temperatures': self._temperatures[order],
            'strings': self._strings[order],
        }


def packed(frame: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return a frame as the bytes of an npz file; packing it would take the processor."""
    content = io.BytesIO()
    np.savez(content, **frame)  # type: ignore[arg-type]
    return content.getvalue()


def unpacked(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return a frame; raises ValueError or OSError if the bytes are none."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def csv_lines(frame: Mapping[str, npt.NDArray[Any]]) -> list[str]:
    """Return a frame as lines of CSV: time, strings, cells, sensors; not measured is empty."""
    strings = frame['strings'].shape[1]
    head = ['time_s']
    for index in range(strings):
        head += [f'current_{index + 1}', f'voltage_{index + 1}', f'link_{index + 1}']
    head += [f'cell_{index + 1}' for index in range(frame['voltages'].shape[1])]
    head += [f'temperature_{index + 1}' for index in range(frame['temperatures'].shape[1])]
    rows = np.hstack([
        frame['time'][:, None], frame['strings'].reshape(len(frame['time']), -1),
        frame['voltages'], frame['temperatures'],
    ])  # fmt: skip
    told = [','.join('' if np.isnan(v) else f'{v:.4f}' for v in row) for row in rows]
    return [','.join(head), *told]
