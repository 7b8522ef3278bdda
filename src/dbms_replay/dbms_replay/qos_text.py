# SPDX-License-Identifier: Apache-2.0
"""QoS profiles as rosbag2 writes them, and what a recorder subscribes with."""

from collections.abc import Sequence
from typing import Any

import yaml
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

DEPTH = 1000  # messages per topic that may wait for the recorder


def qos_text(profiles: Sequence[QoSProfile]) -> str:
    """Return what metadata.yaml says of the profiles that publishers offered."""
    return yaml.safe_dump([_profile(one) for one in profiles], sort_keys=False)


def subscription_profile(offered: Sequence[QoSProfile]) -> QoSProfile:
    """Return the strictest profile that hears all publishers."""
    reliable = all(one.reliability == ReliabilityPolicy.RELIABLE for one in offered)
    kept = all(one.durability == DurabilityPolicy.TRANSIENT_LOCAL for one in offered)
    return QoSProfile(
        depth=DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if kept else DurabilityPolicy.VOLATILE,
    )


def kept_for_late(text: str) -> bool:
    """Tell whether a topic with these profiles keeps its last message for late joiners."""
    try:
        profiles = yaml.safe_load(text)
        durability = profiles[0]['durability']
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        return False
    # Numbers up to rosbag2 of Iron, words after it.
    return durability in (int(DurabilityPolicy.TRANSIENT_LOCAL), 'transient_local')


def _profile(one: QoSProfile) -> dict[str, Any]:
    return {
        'history': int(one.history),
        'depth': one.depth,
        'reliability': int(one.reliability),
        'durability': int(one.durability),
        'deadline': _time(one.deadline),
        'lifespan': _time(one.lifespan),
        'liveliness': int(one.liveliness),
        'liveliness_lease_duration': _time(one.liveliness_lease_duration),
        'avoid_ros_namespace_conventions': one.avoid_ros_namespace_conventions,
    }


def _time(duration: Duration) -> dict[str, int]:
    seconds, nanoseconds = divmod(duration.nanoseconds, 1_000_000_000)
    return {'sec': seconds, 'nsec': nanoseconds}
