# SPDX-License-Identifier: Apache-2.0
"""TCP ports for hubs, so that packs beside each other do not meet."""

import socket


def free_port(host: str = '127.0.0.1') -> int:
    """Return a TCP port that is free now and was given to nobody else a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
