# SPDX-License-Identifier: Apache-2.0
"""From values to messages."""

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from dbms_msgs.msg import CellsState
from sensor_msgs.msg import BatteryState

from dbms_pack import Pack
from dbms_pack.model import FloatArray

from .battery_state import BatteryValues, BatteryView


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
        # Health and resistance are not estimated yet.
        self._unknown = floats(np.full(pack.cells, np.nan))
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
        message.soh = message.soh_sigma = message.resistance = self._unknown
        return message
