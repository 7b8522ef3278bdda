# SPDX-License-Identifier: Apache-2.0
"""A node that only listens: every topic of one pack into a snapshot."""

from collections.abc import Callable
from functools import partial
from typing import Any

from dbms_msgs.msg import (
    CellsHealth,
    CellsState,
    EnergyEstimate,
    Faults,
    Limits,
    ModuleCells,
    PowerEstimate,
    ProtectionState,
    StringMeasurement,
)
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import BatteryState

from dbms_node import qos
from dbms_node.clocks import steady_now, steady_timer

from .snapshot import Snapshot

LOOK_PERIOD = 0.5  # s, between looks which modules and strings there are


class StatusNode(Node):
    """Follows the pack of its namespace; needs no pack file, it finds what is there.

    `changed` is called after every message, in the executor's thread.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None, **kwargs: Any) -> None:
        super().__init__('status', **kwargs)
        self._root = self.get_namespace().rstrip('/')
        self.snapshot = Snapshot(self._root.removeprefix('/'))
        self._changed = changed
        self._followed: set[str] = set()
        for field, kind, topic, profile in (
            ('state', ProtectionState, 'protection/state', qos.STATE),
            ('faults', Faults, 'faults', qos.STATE),
            ('limits', Limits, 'limits', qos.STATE),
            ('battery', BatteryState, 'battery_state', qos.DISPLAY),
            ('estimate', CellsState, 'cells/state', qos.DISPLAY),
            ('health', CellsHealth, 'health', qos.STATE),
            ('power', PowerEstimate, 'power', qos.DISPLAY),
            ('energy', EnergyEstimate, 'energy', qos.DISPLAY),
        ):
            put = partial(self.snapshot.put, field)
            self.create_subscription(kind, topic, partial(self._hear, put), profile)
        put_all = self.snapshot.put_diagnostics
        self.create_subscription(
            DiagnosticArray, '/diagnostics', partial(self._hear, put_all), qos.DIAGNOSTICS
        )
        steady_timer(self, LOOK_PERIOD, self.look)

    def look(self) -> None:
        """Subscribe to the modules and strings that have appeared, and see who reports."""
        for topic, _ in self.get_topic_names_and_types():
            if not topic.startswith(f'{self._root}/') or topic in self._followed:
                continue
            parts = topic.removeprefix(f'{self._root}/').split('/')
            if len(parts) != 3:
                continue
            if (parts[0], parts[2]) == ('modules', 'cells'):
                self.snapshot.modules[parts[1]] = None
                self._follow(topic, ModuleCells, partial(self.snapshot.put_module, parts[1]))
            elif (parts[0], parts[2]) == ('strings', 'measurement'):
                self.snapshot.strings[parts[1]] = None
                self._follow(topic, StringMeasurement, partial(self.snapshot.put_string, parts[1]))
        self.snapshot.reporters = {
            end.node_name
            for end in self.get_publishers_info_by_topic('/diagnostics')
            if end.node_namespace == (self._root or '/')
        }

    def packs(self) -> list[str]:
        """Return the namespaces in which a protection speaks."""
        kind, end = 'dbms_msgs/msg/ProtectionState', '/protection/state'
        names = [name for name, kinds in self.get_topic_names_and_types() if kind in kinds]
        own = f'{self._root}{end}'  # subscribed to by this node itself
        return sorted(
            name.removesuffix(end) or '/' for name in names if name.endswith(end) and name != own
        )

    def _follow(self, topic: str, kind: Any, put: Callable[[Any, float], None]) -> None:
        self._followed.add(topic)
        # Best effort: a terminal that is held up must not hold up a driver.
        self.create_subscription(kind, topic, partial(self._hear, put), qos.DISPLAY)

    def _hear(self, put: Callable[[Any, float], None], message: Any) -> None:
        put(message, steady_now())
        self._changed()
