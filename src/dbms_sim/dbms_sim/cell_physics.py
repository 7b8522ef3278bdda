# SPDX-License-Identifier: Apache-2.0
"""Cells as an equivalent circuit, with their heat and their wear; all cells are one array.

OCV with hysteresis, R0 and two RC pairs over SOC, temperature and direction; the voltage of R0 may
bend as charge transfer does, saturation * asinh(R0 * i / saturation). A step solves the RC
pairs, the hysteresis and the heat exactly for a constant current, which is stable for any length.
Currents are A, positive = charging; temperatures degC. Arrays are changed in place: copy what is
to be kept.

Of the energy that enters at the terminals the part of the OCV is stored, all else becomes heat in
the same step. For a moment after the current has turned that may be below zero: the polarisation
gives back what was counted before. The sum over time is right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbms_pack.model import CellModel
from dbms_sim.ageing import Ageing
from dbms_sim.cell_tables import REFERENCE, Place, Tables
from dbms_sim.thermal import ThermalNetwork

FloatArray = npt.NDArray[np.float64]

# Resistances, time constants and wear change slowly: they are looked up this often.
LOOK_UP = 0.5  # s

_MONTH = 30 * 86400.0  # s
_KELVIN = 273.15


@dataclass(frozen=True)
class Step:
    """What the cells will do in a step of `dt` s, apart from the current."""

    dt: float
    emf: FloatArray  # V, of each cell without current
    resistance: FloatArray  # Ohm, of each cell for a current that lasts the step


class Cells:
    """Groups of `parallel` cells each. `rows` are the cells that stand side by side in a module.

    `soc`, `capacity` and `resistance` (parts of the model's) are (cells,) and may differ.
    """

    def __init__(
        self,
        model: CellModel,
        soc: FloatArray,
        rows: Sequence[int],
        *,
        parallel: int = 1,
        capacity: FloatArray | float = 1.0,
        resistance: FloatArray | float = 1.0,
        ambient: float = 25.0,
    ) -> None:
        require_finite('SOC', soc)
        count = len(soc)
        self._new_capacity = np.broadcast_to(model.capacity * parallel * capacity, count)
        self._new_resistance = np.broadcast_to(resistance / np.float64(parallel), count)
        self.capacity: FloatArray = self._new_capacity.copy()  # Ah
        self.tables = Tables(model)
        self._saturation = model.saturation
        self.ageing = Ageing(model.ageing, count)
        self._self_discharge = model.self_discharge / _MONTH
        self._thermal = ThermalNetwork(
            rows,
            model.heat_capacity * parallel,
            model.thermal_resistance / parallel,
            model.neighbour_resistance / parallel,
        )
        self._soc: FloatArray = np.array(soc, dtype=np.float64)
        self.ambient = ambient
        self._temperature: FloatArray = np.full(count, ambient, dtype=np.float64)
        self._allocate(count)
        self._settle()

    def _allocate(self, count: int) -> None:
        def zeros() -> FloatArray:
            return np.zeros(count)

        self.hysteresis = zeros()  # -1 after a long discharge .. 1 after a long charge
        self._v1, self._v2, self._over = zeros(), zeros(), zeros()
        self._charging: npt.NDArray[np.bool_] = np.zeros(count, dtype=bool)
        # R0 as a line that touches its curve at the last current: share of R0, V without current
        self._bend: FloatArray = np.ones(count)
        self._beside: FloatArray = zeros()
        self._leak = zeros()  # A, self-discharge
        self._moved = zeros()  # A, sum since wear was counted
        self._looked_up = math.inf  # s ago
        self._worn = 0.0  # s since wear was counted
        self._keep_dt = math.nan
        self._shorted = False
        self._short = zeros()
        self.extra_heat = zeros()  # W, into each cell, of a fault; may be set
        self.heat = zeros()  # W, of the last step, without extra_heat
        self.energy = zeros()  # J, that came in at the terminals since the start
        self.lost_charge = zeros()  # As, that leaked or faded away since the start

    @property
    def soc(self) -> FloatArray:
        """State of charge, (cells,); may be set."""
        return self._soc

    @soc.setter
    def soc(self, values: npt.ArrayLike) -> None:
        require_finite('SOC', values)
        self._soc[:] = values
        self._settle()

    @property
    def temperature(self) -> FloatArray:
        """Temperature of each cell in degC, (cells,); may be set."""
        return self._temperature

    @temperature.setter
    def temperature(self, values: npt.ArrayLike) -> None:
        require_finite('temperature', values)
        self._temperature[:] = values
        self._settle()

    @property
    def ambient(self) -> float | FloatArray:
        """Temperature of the air or the coolant in degC; one, or one per cell."""
        return self._ambient

    @ambient.setter
    def ambient(self, value: float | FloatArray) -> None:
        require_finite('ambient', value)
        self._ambient = value

    @property
    def short_conductance(self) -> FloatArray:
        """Internal short of each cell in S, 0: none, (cells,); set it as a whole."""
        return self._short

    @short_conductance.setter
    def short_conductance(self, values: npt.ArrayLike) -> None:
        require_finite('short', values)
        if np.any(np.asarray(values) < 0.0):
            raise ValueError('a short conducts, it has 0 S or more')
        self._short = np.broadcast_to(np.asarray(values, np.float64), self._soc.shape).copy()
        self._shorted = bool(self._short.any())

    @property
    def ocv(self) -> FloatArray:
        """Voltage in V that each cell settles at, (cells,)."""
        voltage = self._rest
        return voltage + self._gap * self.hysteresis if self.tables.has_hysteresis else voltage

    def _settle(self) -> None:
        """Look everything up anew; the voltage is the OCV with what polarisation there is."""
        self._looked_up = math.inf
        self._locate()
        self.voltages: FloatArray = self.ocv + self._v1 + self._v2

    def _locate(self) -> None:
        """Look up what depends on SOC at once."""
        place = Place(self._soc)
        self._rest = self.tables.ocv(place, self._temperature)
        if self.tables.has_hysteresis:
            self._gap = self.tables.hysteresis(place)
        if self.tables.has_entropy:
            self._entropic = self.tables.entropic(place)

    def _look_up(self) -> None:
        """Look up what changes slowly, and count the wear."""
        self._looked_up = 0.0
        temperature = self._temperature
        if self.ageing.active and self._worn > 0.0:
            self.ageing.add(self._worn, self._moved / (3600.0 * self.capacity), temperature)
            before = self.capacity
            self.capacity = self._new_capacity * self.ageing.capacity
            self.lost_charge += (before - self.capacity) * self._soc * 3600.0
            self._moved[:] = 0.0
            self._worn = 0.0
        self._maps = self.tables.impedance(temperature, self._soc)
        scale = self._new_resistance * self.ageing.resistance
        self._maps[[0, 1, 3]] *= scale
        if self.tables.directed:
            self._maps[5:] *= scale
        self._resistances: tuple[FloatArray, ...] = tuple(self._maps[[0, 1, 3]])
        self._keep_dt = math.nan
        if self._self_discharge:
            # The law ends where a cell burns: it would empty it, and beyond, within a step.
            pace = np.exp2((np.minimum(temperature, 100.0) - REFERENCE) / 10.0)
            self._leak = pace * self.capacity * (3600.0 * self._self_discharge)

    def prepare(self, dt: float) -> Step:
        """Return how the cells answer to a current over the next `dt` s, 0 or more."""
        if not 0.0 <= dt < math.inf:
            raise ValueError(f'a step of {dt} s')
        self._looked_up += dt
        if self._looked_up > LOOK_UP:
            self._look_up()
        if self.tables.directed:
            # A change of direction counts from the next step: a step is a line over the current.
            maps = self._maps
            self._resistances = tuple(np.where(self._charging, maps[5:], maps[[0, 1, 3]]))
        if dt != self._keep_dt or self.tables.directed:
            self._discretise(dt)
        emf = self.ocv + self._keep1 * self._v1
        emf += self._keep2 * self._v2
        resistance = self._lasting
        if self._saturation < math.inf:
            emf += self._beside
            resistance = resistance - self._resistances[0] * (1.0 - self._bend)
        if self._shorted:
            shunt = 1.0 / (1.0 + self._short * resistance)
            return Step(dt, emf * shunt, resistance * shunt)
        return Step(dt, emf, resistance)

    def _discretise(self, dt: float) -> None:
        r0, r1, r2 = self._resistances
        if dt != self._keep_dt:
            self._keep1 = np.exp(-dt / np.maximum(self._maps[2], 1e-6))
            self._keep2 = np.exp(-dt / np.maximum(self._maps[4], 1e-6))
            self._keep_dt = dt
        self._gain1 = r1 * (1.0 - self._keep1)
        self._gain2 = r2 * (1.0 - self._keep2)
        self._lasting = r0 + self._gain1 + self._gain2

    def carry(self, step: Step, terminal: FloatArray) -> None:
        """Let `terminal` A, (cells,), flow for the prepared step.

        Raise ValueError for a current that is not finite; the cells are then as before.
        """
        require_finite('current', terminal)
        current = terminal
        if self._shorted:
            shorted = self._short * (step.emf + step.resistance * terminal)
            current = terminal - shorted
        ohmic = self._resistances[0] * current
        if self._saturation < math.inf:
            ohmic = self._bent(ohmic)
        begin = ohmic + self._v1
        begin += self._v2
        self._v1 *= self._keep1
        self._v1 += self._gain1 * current
        self._v2 *= self._keep2
        self._v2 += self._gain2 * current
        end = ohmic
        end += self._v1
        end += self._v2
        rest = self._rest
        if self.tables.has_hysteresis:
            begin += self._gap * self.hysteresis
        self._move(current, step.dt)
        if self.tables.has_hysteresis:
            end += self._gap * self.hysteresis
        self.voltages = self._rest + end
        # The mean over the step, of what is lost and of what is stored.
        begin += end
        begin *= 0.5
        self._account(step.dt, terminal, current, (rest + self._rest) * 0.5, begin)
        self._thermal.step(self._temperature, self.heat + self.extra_heat, self._ambient, step.dt)
        if self.tables.directed:
            self._charging = np.where(current == 0.0, self._charging, current > 0.0)

    def _bent(self, linear: FloatArray) -> FloatArray:
        """Return the voltage of R0 from R0 * i, and keep the line for the next step."""
        bent = linear / self._saturation
        voltage: FloatArray = self._saturation * np.arcsinh(bent)
        bent *= bent
        bent += 1.0
        self._bend = 1.0 / np.sqrt(bent)
        self._beside = voltage - linear * self._bend
        return voltage

    def _move(self, current: FloatArray, dt: float) -> None:
        """Carry charge."""
        gained = (current - self._leak) if self._self_discharge else current
        gained = gained * (dt / 3600.0)
        gained /= self.capacity
        self._soc += gained
        if self.tables.has_hysteresis:
            self.hysteresis += gained * (1.0 / self.tables.hysteresis_soc)
            np.clip(self.hysteresis, -1.0, 1.0, out=self.hysteresis)
        if self.ageing.active:
            self._moved += np.abs(current) * dt
            self._worn += dt
        if self.tables.has_entropy:
            self._entropic_before = self._entropic
        self._locate()

    def _account(
        self,
        dt: float,
        terminal: FloatArray,
        current: FloatArray,
        rest: FloatArray,
        over: FloatArray,
    ) -> None:
        """Count energy, heat and losses; `rest` and `over` V are means over the step."""
        np.multiply(over, current, out=self.heat)
        voltage = over
        voltage += rest
        self.energy += (terminal * dt) * voltage
        if self._shorted:
            shorted = terminal - current
            self.heat += shorted * voltage
            self.lost_charge += shorted * dt
        if self._self_discharge:
            self.heat += self._leak * rest
            self.lost_charge += self._leak * dt
        if self.tables.has_entropy:
            slope = 0.5 * (self._entropic + self._entropic_before)
            gained = current - self._leak
            self.heat += gained * slope * (self._temperature + _KELVIN)


def require_finite(what: str, values: npt.ArrayLike) -> None:
    """Raise ValueError, naming `what`, unless all values are finite."""
    if not np.isfinite(values).all():
        raise ValueError(f'{what}: not a finite number')
