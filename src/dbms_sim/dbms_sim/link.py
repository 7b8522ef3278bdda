# SPDX-License-Identifier: Apache-2.0
"""The link between contactors and load: where strings in parallel meet.

Its capacitor is charged through a precharge resistor and discharges by itself when all
contactors are open. It runs in wall time, as the contactor sequence does.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

PRECHARGE_PEAK = 5.0  # A, first current through the precharge resistor of an empty link
PRECHARGE_TAU = 0.1  # s
DISCHARGE_TAU = 1.0  # s
CONTACT_RESISTANCE = 0.0004  # Ohm, of two closed contactors


@dataclass(frozen=True)
class Contacts:
    """Which strings are on the link, each (strings,) bool."""

    main: BoolArray  # minus and plus closed
    precharge: BoolArray  # minus and precharge closed

    @property
    def any_main(self) -> bool:
        """Whether a string feeds the link without a resistor."""
        return bool(self.main.any())

    def without(self, cut: BoolArray) -> 'Contacts':
        """Return the contacts with the strings of `cut` (strings,) off the link."""
        return Contacts(self.main & ~cut, self.precharge & ~cut)


class Link:
    """The capacitor, the resistors and the load of a pack of that `voltage`."""

    def __init__(self, voltage: float) -> None:
        self._precharge_resistance = voltage / PRECHARGE_PEAK
        self._capacitance = PRECHARGE_TAU / self._precharge_resistance
        self.voltage = 0.0

    def solve(
        self,
        dt: float,
        contacts: Contacts,
        emf: FloatArray,
        resistance: FloatArray,
        load: float,
    ) -> FloatArray:
        """Return the current into each string in A; `voltage` is then the link's.

        Strings are sources of `emf` V behind `resistance` Ohm. `load` A (positive = charging)
        flows only where contactors are closed without precharge resistor.
        """
        path = np.full(emf.shape, np.inf)
        path[contacts.precharge] = self._precharge_resistance
        path[contacts.main] = CONTACT_RESISTANCE
        conductance = 1.0 / (resistance + path)
        total = float(conductance.sum())
        if total == 0.0:
            self.voltage *= float(np.exp(-dt / DISCHARGE_TAU))
            return np.zeros(emf.shape)
        settled = float(conductance @ emf) / total
        if contacts.any_main:
            self.voltage = settled + load / total
        else:
            keep = float(np.exp(-dt * total / self._capacitance))
            self.voltage = settled + (self.voltage - settled) * keep
        return (self.voltage - emf) * conductance
