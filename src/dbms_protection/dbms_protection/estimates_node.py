# SPDX-License-Identifier: Apache-2.0
"""What estimation publishes, to a guard whose pack lowers its limits by it."""

from collections.abc import Callable

from dbms_msgs.msg import CellsState, PowerEstimate

from dbms_node import qos
from dbms_node.lifecycle import SafeLifecycleNode
from dbms_pack import Pack

from .guard import Guard

Work = Callable[[Callable[[Guard, float], None]], None]


def listen(node: SafeLifecycleNode, pack: Pack, work: Work) -> None:
    """Subscribe to what the `derating` of the pack asks for, if anything."""
    rules = pack.limits.derating
    if rules is None:
        return

    def on_cells(message: CellsState) -> None:
        work(lambda guard, now: guard.on_soc(message.soc, message.soc_sigma, now))

    def on_power(message: PowerEstimate) -> None:
        charge, discharge = message.charge_current, message.discharge_current
        work(lambda guard, now: guard.on_power(message.horizons, charge, discharge, now))

    if any(rules.soc):
        node.gated_subscription(CellsState, 'cells/state', on_cells, qos.MEASUREMENT)
    if rules.power:
        node.gated_subscription(PowerEstimate, 'power', on_power, qos.MEASUREMENT)
