# SPDX-License-Identifier: Apache-2.0
"""From values to messages."""

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from dbms_msgs.msg import CellsHealth, CellsState, EnergyEstimate, PowerEstimate
from dbms_msgs.srv import PlanEnergy
from sensor_msgs.msg import BatteryState

from dbms_pack import Pack
from dbms_pack.model import FloatArray

from .battery_state import BatteryValues, BatteryView
from .energy import Plan
from .health import CellsTold, PackEnergy, PackPower
from .sop import CHARGE, DISCHARGE, HORIZONS


def floats(values: FloatArray) -> array:
    """Convert to what a float32[] field takes without looking at each element."""
    result = array('f')
    result.frombytes(np.ascontiguousarray(values, dtype=np.float32).tobytes())
    return result


def battery_state(values: BatteryValues, stamp: Time) -> BatteryState:
    """Return the message that says `values`."""
    message = BatteryState()
    message.header.stamp = stamp
    message.header.frame_id = values.location
    message.voltage = values.voltage
    message.temperature = values.temperature
    message.current = values.current
    message.charge = values.charge
    message.capacity = values.capacity
    message.design_capacity = values.design_capacity
    message.percentage = values.percentage
    message.power_supply_status = int(values.status)
    message.power_supply_health = int(values.health)
    message.power_supply_technology = int(values.technology)
    message.present = values.present
    message.cell_voltage = floats(values.cell_voltage)
    message.cell_temperature = floats(values.cell_temperature)
    message.location = values.location
    message.serial_number = values.serial_number
    return message


class CellsStateWriter:
    """Writes cells/state: what does not change is prepared once."""

    def __init__(self, pack: Pack) -> None:
        self._name = pack.name
        self._modules = [module.name for module in pack.modules]
        self._cells = array('H', [module.cells for module in pack.modules])
        self._sequence = 0

    def write(self, view: BatteryView, stamp: Time) -> CellsState:
        """Return the message of what `view` knows."""
        message = CellsState()
        message.header.stamp = stamp
        message.header.frame_id = self._name
        message.sequence = self._sequence
        self._sequence = (self._sequence + 1) % 2**32
        message.modules = self._modules
        message.module_cells = self._cells
        message.soc = floats(view.soc)
        message.soc_sigma = floats(view.sigma)
        message.soc_coulomb = floats(view.soc_coulomb)
        message.innovation = floats(view.innovation)
        message.soh = floats(view.soh)
        message.soh_sigma = floats(view.soh_sigma)
        message.resistance = floats(view.resistance)
        return message


class HealthWriter:
    """Writes health, power and energy: what does not change is prepared once."""

    def __init__(self, pack: Pack, reserve: float) -> None:
        """Take the energy in Wh that no plan may count on."""
        self._pack = pack
        self._reserve = reserve
        self._modules = [module.name for module in pack.modules]
        self._cells = array('H', [module.cells for module in pack.modules])
        self._names = [f'{m.name} cell {i + 1}' for m in pack.modules for i in range(m.cells)]
        self._sequences: dict[str, int] = {}

    def _stamp(self, message: CellsHealth | PowerEstimate | EnergyEstimate, stamp: Time) -> None:
        message.header.stamp = stamp
        message.header.frame_id = self._pack.name
        sequence = self._sequences.get(type(message).__name__, 0)
        message.sequence = sequence
        self._sequences[type(message).__name__] = (sequence + 1) % 2**32

    def health(self, told: CellsTold, stamp: Time) -> CellsHealth:
        """Return the message of what was learnt of the cells."""
        message = CellsHealth()
        self._stamp(message, stamp)
        weakest = [
            s.cell_slice.start + int(np.argmin(told.soh[s.cell_slice])) for s in self._pack.strings
        ]
        one = self._pack.string_capacity
        message.capacity = one * float(told.soh[weakest].sum())
        message.capacity_sigma = one * float(told.soh_sigma[weakest].sum())
        message.soh = message.capacity / self._pack.capacity
        message.modules, message.module_cells = self._modules, self._cells
        message.soh_cells = floats(told.soh)
        message.soh_sigma = floats(told.soh_sigma)
        message.resistance_ratio = floats(told.ratio)
        message.resistance_sigma = floats(told.ratio_sigma)
        message.resistance_25 = floats(told.resistance_25)
        message.windows = array('I', told.windows.astype(np.uint32).tobytes())
        message.edges = array('I', told.edges.astype(np.uint32).tobytes())
        return message

    def power(self, power: PackPower, stamp: Time) -> PowerEstimate:
        """Return the message of what the pack can do."""
        message, pack = PowerEstimate(), power.pack
        self._stamp(message, stamp)
        message.horizons = list(HORIZONS)
        message.charge_current = floats(pack.current[CHARGE])
        message.discharge_current = floats(pack.current[DISCHARGE])
        message.charge_power = floats(pack.power[CHARGE])
        message.discharge_power = floats(pack.power[DISCHARGE])
        message.charge_limited_by = [self._name(cell) for cell in pack.cell[CHARGE].tolist()]
        message.discharge_limited_by = [self._name(cell) for cell in pack.cell[DISCHARGE].tolist()]
        message.cell_charge_current = floats(power.cells.current[CHARGE].ravel())
        message.cell_discharge_current = floats(power.cells.current[DISCHARGE].ravel())
        return message

    def _name(self, cell: int) -> str:
        return self._names[cell] if cell >= 0 else ''

    def energy(self, energy: PackEnergy, stamp: Time) -> EnergyEstimate:
        """Return the message of what is left."""
        message = EnergyEstimate()
        self._stamp(message, stamp)
        message.power = energy.power
        message.expected_power = energy.expected_power
        message.energy, message.energy_low = energy.empty.energy, energy.empty_low.energy
        message.reserve = self._reserve
        # Written so that NaN stays NaN.
        left, left_low = (x.energy - self._reserve for x in (energy.empty, energy.empty_low))
        message.energy_to_return = 0.0 if left < 0 else left
        message.energy_to_return_low = 0.0 if left_low < 0 else left_low
        message.time_to_empty = energy.time_to_empty
        message.time_to_empty_low = energy.time_to_empty_low
        message.time_to_full = energy.time_to_full
        message.time_to_full_high = energy.time_to_full_high
        message.energy_to_full = energy.full.energy
        return message


def plan_response(response: PlanEnergy.Response, answer: Plan) -> PlanEnergy.Response:
    """Fill the response of plan_energy."""
    response.known, response.sufficient = answer.known, answer.sufficient
    response.available, response.available_low = answer.available, answer.available_low
    response.left, response.left_low = answer.left, answer.left_low
    response.time, response.time_low = answer.time, answer.time_low
    response.message = answer.message
    return response
