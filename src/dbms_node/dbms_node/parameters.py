# SPDX-License-Identifier: Apache-2.0
"""Declaring parameters with their description and range in one line."""

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node


def declare(
    node: Node,
    name: str,
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    read_only: bool = True,
) -> Any:
    """Declare a parameter and return its value.

    A value outside of `minimum`..`maximum` is refused by rclpy with an exception that names it.
    """
    descriptor = ParameterDescriptor(description=description, read_only=read_only)
    if isinstance(default, float) and minimum is not None and maximum is not None:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(minimum), to_value=float(maximum))
        ]
    elif isinstance(default, int) and minimum is not None and maximum is not None:
        descriptor.integer_range = [
            IntegerRange(from_value=int(minimum), to_value=int(maximum), step=1)
        ]
    return node.declare_parameter(name, default, descriptor).value
