# SPDX-License-Identifier: Apache-2.0
"""battery_state for behaviour trees of nav2, which take NaN and silence for a good battery.

Run with: python3 -m dbms_bringup.robot_battery_node --ros-args -r __ns:=/battery
"""

import copy
import sys
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import BatteryState

from dbms_node import qos
from dbms_node.clocks import steady_now, steady_timer
from dbms_node.parameters import declare
from dbms_node.runtime import run_node

from .robot_battery import Battery, RobotBattery, Rules, Status

PERIOD = 0.2  # s


class RobotBatteryNode(Node):
    """Says `nav2/battery_state`: a verdict in the words of BatteryState, not a measurement.

    percentage is 0 while it is not known; status is CHARGING for a full battery that rests too.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__('robot_battery', **kwargs)
        usual = Rules()
        self._battery = RobotBattery(
            Rules(
                full=declare(self, 'full', usual.full, 'percentage at rest that counts as full',
                             minimum=usual.enough, maximum=1.0),
                charging_current=declare(self, 'charging_current', usual.charging_current,
                                         'current that counts as charging [A]',
                                         minimum=0.001, maximum=1000.0),
                stale=declare(self, 'stale', usual.stale, 'nothing is known without a message '
                              'for so long [s]', minimum=0.1, maximum=60.0),
            )
        )  # fmt: skip
        self._last = BatteryState()
        self._told = ''
        self._publisher = self.create_publisher(
            BatteryState, 'nav2/battery_state', qos.MEASUREMENT
        )
        self.create_subscription(BatteryState, 'battery_state', self._on_battery, qos.MEASUREMENT)
        steady_timer(self, PERIOD, self._tell)

    def _on_battery(self, message: BatteryState) -> None:
        battery = Battery(
            message.percentage, message.current, message.power_supply_status, message.present
        )
        self._last = message
        self._battery.hear(battery, steady_now())

    def _tell(self) -> None:
        now = steady_now()
        message = copy.copy(self._last)
        charge = self._battery.percentage(now)
        known = charge == charge
        message.percentage = charge if known else 0.0
        if self._battery.charging(now):
            message.power_supply_status = int(Status.CHARGING)
        elif not known or message.power_supply_status == Status.CHARGING:
            message.power_supply_status = int(Status.UNKNOWN)
        self._publisher.publish(message)
        told = '' if known else self._battery.why(now)
        if told != self._told:
            self._told = told
            self.get_logger().warning(told or 'the battery is known again')


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run_node(RobotBatteryNode, args)


if __name__ == '__main__':
    sys.exit(main())
