# SPDX-License-Identifier: Apache-2.0
"""Looks whether a graph is running already where another one is about to start."""

import os
import threading

import rclpy
from rclpy.node import Node

from dbms_node import middleware
from dbms_node.clocks import steady_now

from .ports import domain_is_free

# DDS participants announce themselves every 3 s; newcomers often hear of them only then.
WINDOW = 4.0  # s
PAUSE = 0.05  # s, between looks
UNKNOWN = '_NODE_NAME_UNKNOWN_'  # rcl's word for a publisher whose node was not heard of yet


def guarding(namespace: str, window: float = WINDOW) -> list[str]:
    """Return the full names of the nodes that tell a protection state in a namespace.

    It returns as soon as one was heard of, and after `window` s if none was. It takes part in
    ROS 2 by itself: nothing has to be initialised.
    """
    context = rclpy.Context()
    middleware.init(args=[], context=context)
    try:
        node = Node(
            'dbms_look', context=context, use_global_arguments=False, enable_rosout=False,
            start_parameter_services=False,
        )  # fmt: skip
        topic = f'/{namespace.strip("/")}/protection/state'
        deadline = steady_now() + window
        while True:
            found = node.get_publishers_info_by_topic(topic)
            left = deadline - steady_now()
            if left <= 0.0 or (found and all(one.node_name != UNKNOWN for one in found)):
                break
            threading.Event().wait(min(left, PAUSE))  # the graph's own event needs an executor
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)
    return sorted(
        {
            f'{one.node_namespace.rstrip("/")}/{one.node_name}'
            if one.node_name != UNKNOWN
            else 'a node that did not tell its name'
            for one in found
        }
    )


def nobody_else() -> bool:
    """Tell whether no DDS participant of this host is in the domain, and no other host can be."""
    if os.environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE') != 'LOCALHOST':
        return False
    if 'zenoh' in os.environ.get('RMW_IMPLEMENTATION', ''):
        return False
    return domain_is_free(int(os.environ.get('ROS_DOMAIN_ID') or 0))


def refuse_second(namespace: str) -> None:
    """Raise ValueError with a remedy if a pack is guarded in this namespace already."""
    names = [] if nobody_else() else guarding(namespace)
    if names:
        raise ValueError(
            f'a pack is guarded in /{namespace} already, by {", ".join(names)}: two protections '
            'would answer to one name. End that one, or choose another --namespace or --domain; '
            '--force starts all the same'
        )
