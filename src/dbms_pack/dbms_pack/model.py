# SPDX-License-Identifier: Apache-2.0
"""What a pack description says, as immutable values.

Every node reads the same description. Units are SI-near: V, A, degC, Ah, s, Ohm; SOC is 0..1 and
current is positive while charging. Limits of current are magnitudes in their direction.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .limits import Limits

FloatArray = npt.NDArray[np.float64]
_NO_TABLE = (np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class AgeingModel:
    """How a cell wears at 25 degC, as parts of its capacity and of its resistances."""

    calendar_fade: float = 0.0  # of capacity in the first year; grows with the root of time
    cycle_fade: float = 0.0  # of capacity per full equivalent cycle
    calendar_growth: float = 0.0  # of resistance in the first year
    cycle_growth: float = 0.0  # of resistance per full equivalent cycle
    doubling: float = 10.0  # K that double the pace


@dataclass(frozen=True)
class CellModel:
    """Electrical and thermal model of one cell: OCV, R0 and two RC pairs as tables.

    The tables `r0`, `r1`, `tau1`, `r2`, `tau2` have the shape (len(temperatures), len(socs));
    between their points they are linear, outside they hold the edge value.
    The voltage of R0 is saturation * asinh(R0 * i / saturation): R0 * i for small currents i.
    """

    name: str
    chemistry: str
    source: str
    capacity: float  # Ah, from SOC 1 to SOC 0 of the OCV table
    voltage_min: float  # V, lowest voltage in service
    voltage_max: float  # V, highest voltage in service
    voltage_nominal: float  # V
    ocv_soc: FloatArray  # ascending, 0..1
    ocv_voltage: FloatArray  # V, strictly ascending
    temperatures: FloatArray  # degC, ascending
    socs: FloatArray  # ascending, 0..1
    r0: FloatArray  # Ohm
    r1: FloatArray  # Ohm
    tau1: FloatArray  # s
    r2: FloatArray  # Ohm
    tau2: FloatArray  # s
    heat_capacity: float  # J/K
    thermal_resistance: float  # K/W, from cell to ambient
    path: Path | None = None
    # V, at each point of ocv_soc: half the gap between the OCV after charge and after discharge
    hysteresis_voltage: FloatArray = field(default_factory=lambda: np.zeros(1))
    hysteresis_soc: float = 0.05  # change of SOC from the middle to one of both
    # V/K, at each point of ocv_soc: change of the OCV with temperature, from 25 degC on
    entropic: FloatArray = field(default_factory=lambda: np.zeros(1))
    r0_charge: FloatArray | None = None  # Ohm while charging, where it differs from r0
    r1_charge: FloatArray | None = None
    r2_charge: FloatArray | None = None
    saturation: float = math.inf  # V, at which the voltage of R0 bends; inf: it never does
    neighbour_resistance: float = math.inf  # K/W, between neighbours in a module
    self_discharge: float = 0.0  # part of the capacity in 30 days at 25 degC
    ageing: AgeingModel = AgeingModel()
    # (degC, Ah), (degC, V): empty where one capacity does and where the error is not known
    capacities: tuple[FloatArray, FloatArray] = _NO_TABLE
    model_errors: tuple[FloatArray, FloatArray] = _NO_TABLE
    # SOC, and V at each temperature of model_errors and SOC; empty where it is alike everywhere
    model_errors_by_soc: tuple[FloatArray, FloatArray] = _NO_TABLE
    load_error: float | None = None  # relative, of what the current adds to the voltage


@dataclass(frozen=True)
class Bus:
    """A CAN bus as python-can opens it."""

    name: str
    interface: str  # a python-can interface: socketcan, virtual, socketcand, slcan, ...
    channel: str
    bitrate: int = 500_000
    options: Mapping[str, Any] = field(default_factory=dict)

    def can_arguments(self) -> dict[str, Any]:
        """Arguments for `can.Bus`."""
        arguments = {'interface': self.interface, 'channel': self.channel, **self.options}
        if self.interface not in ('virtual', 'socketcand', 'udp_multicast'):
            arguments['bitrate'] = self.bitrate
        return arguments

    def redirected(self, interface: str, prefix: str, **options: Any) -> 'Bus':
        """Return the bus on another interface, its channel named after the pack and the bus.

        This is how a simulation plays a pack whose file names real hardware.
        """
        channel = f'{prefix}_{self.name}'
        return replace(self, interface=interface, channel=channel, options=options)


@dataclass(frozen=True)
class Module:
    """Cells in series behind one monitoring board."""

    name: str
    string: str
    bus: str
    address: int  # 0..63, unique on its bus
    cells: int  # 1..24
    temperatures: int  # 0..12 sensors
    first_cell: int  # index of its first cell in pack order
    first_temperature: int  # index of its first temperature sensor in pack order
    period: float  # s, between scans
    # Sensors that measure the same spot, 1-based, in groups of two or more.
    redundant: tuple[tuple[int, ...], ...] = ()

    @property
    def cell_slice(self) -> slice:
        """Where its cells are in arrays over all cells of the pack."""
        return slice(self.first_cell, self.first_cell + self.cells)

    @property
    def temperature_slice(self) -> slice:
        """Where its sensors are in arrays over all temperature sensors of the pack."""
        return slice(self.first_temperature, self.first_temperature + self.temperatures)


@dataclass(frozen=True)
class CurrentSensor:
    """Sensor of the string's current and voltages."""

    bus: str
    address: int  # 0..15, unique on its bus
    period: float  # s, between current frames
    voltage_period: float  # s, between voltage frames
    range: float  # A, magnitude


@dataclass(frozen=True)
class Precharge:
    """When precharge is done, and when it has failed."""

    voltage: float  # V, |string - link| at most this when done
    current: float  # A, |string current| at most this when done
    min_time: float  # s, not before
    timeout: float  # s, failed after
    attempts: int  # before the string is faulted
    pause: float  # s, between attempts: the precharge resistor cools
    energy: float | None = None  # J, that the resistor takes up at once; None: not counted
    cool_down: float = 60.0  # s, time constant of its cooling


@dataclass(frozen=True)
class ContactorUnit:
    """Contactors of one string and how they are to be worked."""

    bus: str
    address: int  # 0..15, unique on its bus
    lease: float  # s, contactors open this long after the last renewal
    feedback_timeout: float  # s, a contactor has followed its command by then
    break_current: float  # A, may be opened at once below this
    grace: float  # s, from the announcement (limits zero) to opening under load
    join_voltage: float  # V, |string - link| at most this to join an energised link
    precharge: Precharge
    join_current: float | None = None  # A, predicted when joining; None: MOL of the current
    coil_pause: float = 0.0  # s, between two coils that pull in: the first is on hold by then
    expected_cycles: float = math.inf  # closings of a contactor until it counts as worn ...
    expected_arcs: float = math.inf  # ... and (current broken / break_current) squared, summed


@dataclass(frozen=True)
class String:
    """Modules in series with a current sensor and contactors of their own."""

    name: str
    modules: tuple[Module, ...]
    current_sensor: CurrentSensor
    contactors: ContactorUnit

    @property
    def cells(self) -> int:
        """Cells in series."""
        return sum(module.cells for module in self.modules)

    @property
    def cell_slice(self) -> slice:
        """Where its cells are in arrays over all cells of the pack."""
        return slice(self.modules[0].first_cell, self.modules[0].first_cell + self.cells)

    @property
    def temperature_slice(self) -> slice:
        """Where its sensors are in arrays over all temperature sensors of the pack."""
        first = self.modules[0].first_temperature
        return slice(first, first + sum(module.temperatures for module in self.modules))


@dataclass(frozen=True)
class Pack:
    """A whole pack: strings in parallel of modules in series of cells."""

    name: str
    description: str
    cell: CellModel
    parallel: int  # cells in parallel at each cell position
    buses: Mapping[str, Bus]
    strings: tuple[String, ...]
    limits: Limits
    path: Path
    digest: str  # sha256 over the pack file and its cell file, hex

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        """All modules in pack order."""
        return tuple(module for string in self.strings for module in string.modules)

    @property
    def cells(self) -> int:
        """Cell positions in the whole pack."""
        return sum(module.cells for module in self.modules)

    @property
    def temperatures(self) -> int:
        """Temperature sensors in the whole pack."""
        return sum(module.temperatures for module in self.modules)

    @property
    def string_capacity(self) -> float:
        """Capacity of one string in Ah, by its cell model."""
        return self.cell.capacity * self.parallel

    @property
    def capacity(self) -> float:
        """Capacity of the pack in Ah: its strings are in parallel."""
        return self.string_capacity * len(self.strings)

    def string(self, name: str) -> String:
        """Return the string of that name, or raise KeyError."""
        for string in self.strings:
            if string.name == name:
                return string
        raise KeyError(name)

    def module(self, name: str) -> Module:
        """Return the module of that name, or raise KeyError."""
        for module in self.modules:
            if module.name == name:
                return module
        raise KeyError(name)

    def redirected(self, interface: str, **options: Any) -> 'Pack':
        """Return the pack with all its buses on another interface, see `Bus.redirected`."""
        buses = {
            name: bus.redirected(interface, self.name, **options)
            for name, bus in self.buses.items()
        }
        return replace(self, buses=buses)
