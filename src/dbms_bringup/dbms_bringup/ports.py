# SPDX-License-Identifier: Apache-2.0
"""TCP ports for hubs, so that packs beside each other do not meet."""

import socket

PARTICIPANTS = 64  # of a domain on one host that are looked for


def free_port(host: str = '127.0.0.1') -> int:
    """Return a TCP port that is free now and was given to nobody else a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def domain_is_free(domain: int) -> bool:
    """Tell whether no DDS participant of this host is in a ROS domain.

    Participants listen on the ports that RTPS gives them; to find these free takes no time.
    """
    first = 7400 + 250 * domain + 10
    for index in range(PARTICIPANTS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', first + 2 * index))
            except (OSError, OverflowError):
                return False
    return True
