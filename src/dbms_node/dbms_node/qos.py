# SPDX-License-Identifier: Apache-2.0
"""The named QoS profiles of the system. Nobody else writes a QoSProfile.

Supervision rests on each consumer's own watchdog, so no profile asks for deadline or liveliness.
"""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(
    reliability: ReliabilityPolicy, durability: DurabilityPolicy, depth: int
) -> QoSProfile:
    return QoSProfile(
        reliability=reliability,
        durability=durability,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
    )


# Values from the bus: every one arrives, a slow reader loses the oldest.
MEASUREMENT = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 10)
# Commands with a lease: only the newest counts.
COMMAND = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 1)
# States: a late joiner gets the last one.
STATE = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL, 1)
# Displays may lose messages, and never hold a publisher up.
DISPLAY = _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, 5)
# /diagnostics, as diagnostic_updater and diagnostic_aggregator have it.
DIAGNOSTICS = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, 10)
