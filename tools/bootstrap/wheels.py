# SPDX-License-Identifier: Apache-2.0
"""Makes the ROS 2 wheels' CMake files tell where things are on this machine.

The wheels carry absolute paths of the machine they were built on: the Python prefix, its
headers, and numpy's headers. Building an interface package against them fails until these
name the environment.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

# Raise this when the rewriting changes: environments made before are then rewritten again.
REVISION = 1

_PREFIX = r'/opt/python/cp[0-9]+-cp[0-9]+t?'
_HEADERS = re.compile(_PREFIX + r'/include/python[0-9.]+t?')
_NUMPY = re.compile(_PREFIX + r'/lib/python[0-9.]+t?/site-packages/numpy/_?core/include')
_ANY = re.compile(_PREFIX)


# What the wheels of PyPI are compiled for.
MACHINES = ('x86_64',)
GLIBC = (2, 28)


def unsupported(
    system: str = platform.system(),
    machine: str = platform.machine(),
    libc: tuple[str, str] | None = None,
) -> str:
    """Return why the wheels cannot work on this machine, '' if they can."""
    name, version = platform.libc_ver() if libc is None else libc
    if system != 'Linux':
        return f'they are made for Linux, this is {system}'
    if machine not in MACHINES:
        return f'they are made for {" and ".join(MACHINES)}, this is {machine}'
    if name != 'glibc':
        return 'they need glibc, which this system does not use'
    if tuple(int(part) for part in version.split('.')[:2]) < GLIBC:
        return f'they need glibc {GLIBC[0]}.{GLIBC[1]} or newer, this is {version}'
    return ''


@dataclass(frozen=True)
class Places:
    """Where the environment has what the wheels' files point to."""

    prefix: Path
    headers: Path
    numpy_headers: Path


def rewrite_text(text: str, places: Places) -> str:
    """Return a file's text with build-host paths replaced. Applying it again changes nothing."""
    # Replacements are functions: a path may hold characters that mean something in a template.
    text = _NUMPY.sub(lambda _: str(places.numpy_headers), text)
    text = _HEADERS.sub(lambda _: str(places.headers), text)
    return _ANY.sub(lambda _: str(places.prefix), text)


def rewrite_tree(share: Path, places: Places) -> int:
    """Rewrite every CMake file and ament prefix entry below share/; return how many changed."""
    changed = 0
    candidates = [*share.rglob('*.cmake')]
    candidates += share.glob('ament_index/resource_index/parent_prefix_path/*')
    for path in candidates:
        old = path.read_text(encoding='utf-8', errors='surrogateescape')
        new = rewrite_text(old, places)
        if new != old:
            path.write_text(new, encoding='utf-8', errors='surrogateescape')
            changed += 1
    return changed
