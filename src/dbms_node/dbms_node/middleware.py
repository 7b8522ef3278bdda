# SPDX-License-Identifier: Apache-2.0
"""ROS 2 as every DBMS process starts it: by Fast DDS without shared memory.

Who opens a port of Fast DDS's shared memory may wait 333 ms for it to prove its health, holds the
lock of everything that its participant sends meanwhile, and holds up who else opens one (Fast DDS
issue 6535, seen with 2.14). Any process that joins or leaves, even one of another pack, could keep
a guard from renewing a lease for as long: with two such waits contactors have opened.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import rclpy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_rmw_implementation_identifier

RANGE, LOCALHOST_ONLY = 'ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY'
# The same by the names of Fast DDS 2 and 3.
PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
_HERE = Path(__file__).resolve().parent
SUBNET_PROFILE, LOCALHOST_PROFILE = (
    str(_HERE / name) for name in ('udp.xml', 'udp_localhost.xml')
)


def profile_for(rmw: str, environ: Mapping[str, str]) -> str | None:
    """Return the path of the profiles to give to Fast DDS; None: nothing is to be changed.

    `rmw`: the middleware in use, e.g. rmw_fastrtps_cpp; `environ`: environment variables. A user
    rules who chose profiles or transports of his own, no discovery at all, or the local range with
    peers beyond it.
    """
    if not rmw.startswith('rmw_fastrtps'):
        return None
    own = ('', SUBNET_PROFILE, LOCALHOST_PROFILE)  # these, by the process that started this one
    if any(environ.get(name, '') not in own for name in PROFILES):
        return None
    if environ.get('FASTDDS_BUILTIN_TRANSPORTS') or environ.get(RANGE) == 'OFF':
        return None
    if environ.get(LOCALHOST_ONLY) != '1' and environ.get(RANGE) != 'LOCALHOST':
        return SUBNET_PROFILE
    return None if environ.get('ROS_STATIC_PEERS') else LOCALHOST_PROFILE


@contextmanager
def _profiled() -> Iterator[None]:
    """Set the profiles for good, and hide a local range that the profile has taken over."""
    profile = profile_for(get_rmw_implementation_identifier(), os.environ)
    if profile is None:
        yield
        return
    os.environ.update(dict.fromkeys(PROFILES, profile))
    if profile == SUBNET_PROFILE:
        yield
        return
    # For its own local range rmw_fastrtps adds shared memory, whatever the profiles say.
    kept = {name: os.environ.pop(name) for name in (RANGE, LOCALHOST_ONLY) if name in os.environ}
    os.environ[RANGE] = 'SYSTEM_DEFAULT'
    try:
        yield
    finally:
        del os.environ[RANGE]
        os.environ.update(kept)


def init(args: list[str] | None = None, context: rclpy.Context | None = None) -> None:
    """Initialise ROS by UDP alone, and leave signals to the caller.

    rclpy's own handlers would end the context first, and closing could send no last word.
    """
    with _profiled():
        rclpy.init(args=args, context=context, signal_handler_options=SignalHandlerOptions.NO)
