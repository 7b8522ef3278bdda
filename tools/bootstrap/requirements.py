# SPDX-License-Identifier: Apache-2.0
"""Reads the requirement files: pins, and the oldest versions that will do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .errors import BootstrapError

_LINE = re.compile(
    r'^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<extra>\[[^\]]+\])?==(?P<version>[^\s;#]+)'
    r'(?P<marker>\s*;[^#]*)?(?:\s*#\s*min:\s*(?P<minimum>\S+))?\s*$'
)


@dataclass(frozen=True)
class Requirement:
    """One pinned package."""

    name: str
    pin: str  # the line for pip
    minimum: str  # the oldest version that does where one is installed already


def read(path: Path) -> list[Requirement]:
    """Return the requirements of a file; every line must be a pin."""
    result = []
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        if not line.strip() or line.lstrip().startswith('#'):
            continue
        match = _LINE.match(line)
        if match is None:
            raise BootstrapError(
                f'{path}:{number}: not a pinned requirement: {line.strip()}',
                'write it as name==version, with "# min: version" after it if older ones do',
            )
        pin = line.split('#')[0].strip()
        result.append(Requirement(match['name'], pin, match['minimum'] or match['version']))
    return result


def release(version: str) -> tuple[int, ...]:
    """Return the numbers a version starts with, to compare by."""
    match = re.match(r'(?:\d+!)?(\d+(?:\.\d+)*)', version)
    return tuple(int(part) for part in match[1].split('.')) if match else ()


def unmet(requirements: list[Requirement], installed: dict[str, str]) -> list[Requirement]:
    """Return those that no installed version satisfies. `installed` has normalised names."""
    result = []
    for requirement in requirements:
        version = installed.get(normalise(requirement.name))
        if version is None or release(version) < release(requirement.minimum):
            result.append(requirement)
    return result


def normalise(name: str) -> str:
    """Return a package name the way the package index compares names."""
    return re.sub(r'[-_.]+', '-', name).lower()
