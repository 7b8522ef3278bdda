# SPDX-License-Identifier: Apache-2.0
"""The topics that a battery has, known from its pack before anybody speaks on them."""

from typing import Any

import yaml
from dbms_msgs.msg import (
    BleedCommand,
    CellsHealth,
    CellsState,
    EnergyEstimate,
    Faults,
    GuardBeat,
    Holder,
    Limits,
    ModuleCells,
    PowerEstimate,
    ProtectionState,
    StringMeasurement,
)
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import BatteryState

from dbms_node import qos
from dbms_pack import Pack

Offered = dict[str, tuple[type, QoSProfile]]
DIAGNOSTICS = '/diagnostics'
HEAD = """\
# QoS of the topics of pack {pack} in the namespace /{namespace}, for ROS 2's own recorder and
# player. For a pack of your own:
#
#   ./dbms record --qos --pack FILE --namespace NAME > qos.yaml
#   ros2 bag record -s mcap --all --qos-profile-overrides-path qos.yaml
#   ros2 bag play BAG --qos-profile-overrides-path qos.yaml
#
# States are transient local: a recorder that starts late hears the last one, and so does who
# listens to a player late.
"""


def battery_topics(pack: Pack, namespace: str) -> Offered:
    """Return name, type and offered QoS of the topics of a pack in a namespace."""
    relative: Offered = {
        'protection/state': (ProtectionState, qos.STATE),
        'protection/holder': (Holder, qos.STATE),
        'protection/beat': (GuardBeat, qos.COMMAND),
        'faults': (Faults, qos.STATE),
        'limits': (Limits, qos.STATE),
        'health': (CellsHealth, qos.STATE),
        'power': (PowerEstimate, qos.MEASUREMENT),
        'energy': (EnergyEstimate, qos.MEASUREMENT),
        'cells/state': (CellsState, qos.MEASUREMENT),
        'battery_state': (BatteryState, qos.MEASUREMENT),
    }
    for module in pack.modules:
        relative[f'modules/{module.name}/cells'] = (ModuleCells, qos.MEASUREMENT)
        relative[f'modules/{module.name}/bleed'] = (BleedCommand, qos.COMMAND)
    for string in pack.strings:
        relative[f'strings/{string.name}/measurement'] = (StringMeasurement, qos.MEASUREMENT)
        relative[f'strings/{string.name}/battery_state'] = (BatteryState, qos.MEASUREMENT)
    return {f'/{namespace.strip("/")}/{name}': what for name, what in relative.items()}


def overrides(pack: Pack, namespace: str) -> str:
    """Return the file that `ros2 bag --qos-profile-overrides-path` reads."""
    topics = {**battery_topics(pack, namespace), DIAGNOSTICS: (DiagnosticArray, qos.DIAGNOSTICS)}
    content = {name: _override(profile) for name, (_, profile) in topics.items()}
    head = HEAD.format(pack=pack.name, namespace=namespace.strip('/'))
    return head + yaml.safe_dump(content, sort_keys=False)


def _override(profile: QoSProfile) -> dict[str, Any]:
    reliable = profile.reliability == ReliabilityPolicy.RELIABLE
    kept = profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return {
        'history': 'keep_last',
        'depth': profile.depth,
        'reliability': 'reliable' if reliable else 'best_effort',
        'durability': 'transient_local' if kept else 'volatile',
    }
