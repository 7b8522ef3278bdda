# SPDX-License-Identifier: Apache-2.0
"""The parameters of the protection node; those of its commands are with its desk."""

from rclpy.node import Node

from dbms_node.parameters import declare
from dbms_node.places import NOWHERE


def declare_all(node: Node) -> str:
    """Declare the parameters of the node and return its role in a pair, '' alone."""
    declare(node, 'pack', '', 'path of a pack file, or name of a shipped one')
    declare(node, 'rate', 50.0, 'cycles per s [Hz]', minimum=10.0, maximum=1000.0)
    declare(
        node, 'time_scale', 1.0, 'seconds of battery time per second; other than 1 only in a '
        'simulation', minimum=0.001, maximum=10000.0,
    )  # fmt: skip
    declare(node, 'simulation', False, 'the pack is simulated')
    declare(node, 'allow_sim_time', False, 'start with use_sim_time too (tests only)')
    declare(node, 'replay', False, 'guard a recording: time is that of /clock, contactors those '
            'of the player only')  # fmt: skip
    declare(node, 'event_file', '', "where events are kept; '': in the state folder, of a "
            f'simulation nowhere; {NOWHERE}: nowhere')  # fmt: skip
    return str(declare(node, 'pair', '', 'share the guarding with a second node: first or '
                       'second; empty: alone'))  # fmt: skip
