# SPDX-License-Identifier: Apache-2.0
"""What is between a recording and the nodes of today in a live replay: operator and contactors.

As in a replay without nodes: the recorded states say what the operator wanted, and contactors
are shown as recorded as long as protection commands what it commanded then.
"""

import math

import numpy as np

from dbms_pack import Pack
from dbms_protection.contactors import CLOSING, Contacts, State
from dbms_protection.measurements import StringSample

from .contactors import ReplayedContactors, Wishes
from .decoding import Float32Array


class StandIn:
    """Stands in for operator and contactor drivers of one pack."""

    def __init__(self, pack: Pack, states_recorded: bool) -> None:
        self._pack = pack
        self._states_recorded = states_recorded
        self.begin()

    def begin(self) -> None:
        """Begin, also after recorded time has jumped: nothing is known, all is open."""
        strings = len(self._pack.strings)
        self._contactors = [ReplayedContactors() for _ in range(strings)]
        self._wishes = Wishes(strings, self._states_recorded)
        self._voltages = np.full(self._pack.cells, np.nan, np.float32)
        self._live = [State.OPEN] * strings

    def commanded(self, index: int, contacts: Contacts) -> None:
        """Take what protection commands the contactors of a string: minus, precharge, plus."""
        self._contactors[index].command = contacts

    def told(self, index: int, state: int) -> None:
        """Take the state that the protection of today tells of a string."""
        self._live[index] = State(state)
        if state == State.CONNECTED:
            self._wishes.connected(index)

    def recorded(self, index: int, state: int, disconnected: bool) -> list[str]:
        """Take the recorded state of a string; return the commands that it stands for."""
        then = State(state)
        self._contactors[index].recorded = then
        return self._wishes.state(index, then, disconnected)

    def unconnected(self) -> list[int]:
        """Return the strings that are to be connected now."""
        return [
            index
            for index, state in enumerate(self._live)
            if self._wishes.wanted(index) and state is State.OPEN
        ]

    def cells(self, index: int, voltages: Float32Array) -> None:
        """Take the cells of a module, for the sum of its string."""
        place = self._pack.modules[index].cell_slice
        if len(voltages) == place.stop - place.start:
            self._voltages[place] = voltages

    def shown(self, index: int, sample: StringSample, lease: float) -> StringSample:
        """Return the measurement of a string as the protection of today is to see it.

        `lease`: what the contactor unit had left of it, in s.
        """
        contactors, state = self._contactors[index], self._live[index]
        connecting = state in CLOSING or (state is State.OPEN and self._wishes.wanted(index))
        cells = self._voltages[self._pack.strings[index].cell_slice]
        total = float(cells.sum(dtype=np.float64)) if np.isfinite(cells).all() else math.nan
        return contactors.seen(sample, lease, connecting, total)
