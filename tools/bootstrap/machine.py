# SPDX-License-Identifier: Apache-2.0
"""What the doctor asks of the machine itself."""

from __future__ import annotations

import os
import platform
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from .findings import Finding, bad, good, note
from .layout import Layout
from .ros import SOURCE_ROS, Ros
from .wheels import unsupported

# An environment with test tools and a build take about 0.6 GB.
NEEDED_GB = 1.0
_CAN_LINK_TYPE = '280'  # ARPHRD_CAN


def system(ros: Ros) -> Finding:
    """Look at the operating system; the wheels do not fit every one."""
    text = f'{_distribution()}, {platform.machine()}, kernel {platform.release()}'
    text += f', {os.cpu_count()} cores'
    problem = '' if ros.sourced else unsupported()
    if problem:
        return bad('system', f'{text}; no ROS 2 wheels: {problem}', SOURCE_ROS)
    return good('system', text)


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get('PRETTY_NAME', platform.system())
    except OSError:
        return platform.system()


def disk(layout: Layout, made: bool) -> Finding:
    """Look at the space where everything gets made."""
    place = layout.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e9
    text = f'{free:.1f} GB free at {place}'
    if not os.access(place, os.W_OK):
        remedy = 'run as its owner, or set DBMS_HOME to a directory that can be written'
        return bad('disk', f'{place} cannot be written', remedy)
    if free < (0.1 if made else NEEDED_GB):
        remedy = f'about {NEEDED_GB:.0f} GB is needed; make room, or set DBMS_HOME elsewhere'
        return bad('disk', text, remedy)
    return good('disk', text)


def can_bus(networks: Path = Path('/sys/class/net')) -> Finding:
    """Find out whether this kernel speaks SocketCAN, and which interfaces there are."""
    if not hasattr(socket, 'AF_CAN'):
        return note('CAN', 'this Python was built without SocketCAN', _WITHOUT_CAN)
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except OSError as error:
        return note('CAN', f'this kernel has no SocketCAN ({error.strerror})', _WITHOUT_CAN)
    names = [path.parent.name for path in networks.glob('*/type') if _is_can(path)]
    if not names:
        remedy = 'for a real bus: sudo ip link set can0 up type can bitrate 500000'
        return note('CAN', 'SocketCAN, no interface is up', remedy)
    return good('CAN', f'SocketCAN, interfaces: {", ".join(sorted(names))}')


_WITHOUT_CAN = (
    'simulated packs run all the same; hardware on a CAN bus needs: sudo modprobe can_raw'
)


def _is_can(path: Path) -> bool:
    try:
        return path.read_text(encoding='ascii').strip() == _CAN_LINK_TYPE
    except OSError:
        return False


def middleware(ros: Ros, environ: Mapping[str, str]) -> Finding:
    """Look at the ROS 2 middleware asked for: the wheels bring one only."""
    chosen = environ.get('RMW_IMPLEMENTATION', '')
    if ros.sourced or chosen in ('', 'rmw_fastrtps_cpp'):
        return good('middleware', chosen or 'the default of ROS 2 (Fast DDS)')
    remedy = 'unset RMW_IMPLEMENTATION, or install and source a ROS 2 that has it'
    return bad('middleware', f'{chosen} is asked for, the wheels have rmw_fastrtps_cpp', remedy)


def discovery(composed: Mapping[str, str], environ: Mapping[str, str]) -> Finding:
    """Tell how far the nodes can be seen."""
    domain = environ.get('ROS_DOMAIN_ID', '0')
    names = ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'ROS_LOCALHOST_ONLY')
    name = next((one for one in names if one in composed), names[0])
    who = 'set by you' if name in environ else 'set by ./dbms'
    text = f'domain {domain}, {name}={composed.get(name, "")} ({who})'
    if name in environ:
        return good('discovery', text)
    return good(
        'discovery', f'{text}; set SUBNET to reach other machines' if name == names[0] else text
    )
