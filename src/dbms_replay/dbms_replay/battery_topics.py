# SPDX-License-Identifier: Apache-2.0
"""The topics that a battery has, known from its pack before anybody speaks on them."""

from dbms_msgs.msg import (
    CellsState,
    Faults,
    Limits,
    ModuleCells,
    ProtectionState,
    StringMeasurement,
)
from rclpy.qos import QoSProfile
from sensor_msgs.msg import BatteryState

from dbms_node import qos
from dbms_pack import Pack


def battery_topics(pack: Pack, namespace: str) -> dict[str, tuple[type, QoSProfile]]:
    """Return name, type and offered QoS of the topics of a pack in a namespace."""
    relative: dict[str, tuple[type, QoSProfile]] = {
        'protection/state': (ProtectionState, qos.STATE),
        'faults': (Faults, qos.STATE),
        'limits': (Limits, qos.STATE),
        'cells/state': (CellsState, qos.MEASUREMENT),
        'battery_state': (BatteryState, qos.MEASUREMENT),
    }
    for module in pack.modules:
        relative[f'modules/{module.name}/cells'] = (ModuleCells, qos.MEASUREMENT)
    for string in pack.strings:
        relative[f'strings/{string.name}/measurement'] = (StringMeasurement, qos.MEASUREMENT)
        relative[f'strings/{string.name}/battery_state'] = (BatteryState, qos.MEASUREMENT)
    return {f'/{namespace.strip("/")}/{name}': what for name, what in relative.items()}
