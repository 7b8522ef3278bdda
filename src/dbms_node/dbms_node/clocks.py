# SPDX-License-Identifier: Apache-2.0
"""Clocks: periods and watchdogs are steady, stamps are ROS time."""

import time
from collections.abc import Callable

from builtin_interfaces.msg import Time as TimeMsg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer

_STEADY = Clock(clock_type=ClockType.STEADY_TIME)


def steady_now() -> float:
    """Return the steady time in s: never steps, not even when the date is set."""
    return time.monotonic()


def steady_timer(
    node: Node, period: float, callback: Callable[[], None], autostart: bool = True
) -> Timer:
    """Create a timer that neither a clock step nor a missing /clock can stop; period in s."""
    timer = node.create_timer(period, callback, clock=_STEADY)
    if not autostart:
        timer.cancel()
    return timer


def stamp_seconds(stamp: TimeMsg) -> float:
    """Convert a stamp to s. A float keeps about 0.2 us at today's dates."""
    return stamp.sec + stamp.nanosec * 1e-9


def seconds_stamp(seconds: float) -> TimeMsg:
    """Convert s to a stamp."""
    sec = int(seconds // 1)
    nanosec = min(int(round((seconds - sec) * 1e9)), 999_999_999)
    return TimeMsg(sec=sec, nanosec=nanosec)
