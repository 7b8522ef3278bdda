# SPDX-License-Identifier: Apache-2.0
"""Definitions of message types, as a bag carries them so that it explains itself."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

_FIELD = re.compile(r'^\s*(?P<type>[A-Za-z][\w/]*)(<=\d+)?(\[[^\]]*\])?\s+[A-Za-z]\w*')
_PLAIN = re.compile(r'^(bool|byte|char|float32|float64|u?int(8|16|32|64)|w?string)$')


@dataclass(frozen=True)
class Schema:
    """A message type: its name, its definition with all it is made of, its hash (REP 2016)."""

    name: str  # 'dbms_msgs/msg/ModuleCells'
    definition: str  # format ros2msg
    digest: str  # 'RIHS01_...'; '' where it is not known


@lru_cache
def installed(name: str) -> Schema:
    """Return the schema of an installed type; LookupError if there is none of that name."""
    parts = {name: _text(name)}
    waiting = [name]
    while waiting:
        for used in _used(waiting.pop(), parts):
            if used not in parts:
                parts[used] = _text(used)
                waiting.append(used)
    first = parts.pop(name)
    rest = [f'{"=" * 80}\nMSG: {_short(used)}\n{text}' for used, text in parts.items()]
    return Schema(name, '\n'.join([first, *rest]), _digest(name))


def _used(name: str, parts: dict[str, str]) -> Iterator[str]:
    package = name.split('/')[0]
    for line in parts[name].splitlines():
        match = _FIELD.match(line.split('#')[0])
        if match is None or _PLAIN.match(match['type']):
            continue
        words = match['type'].split('/')
        yield f'{words[0] if len(words) > 1 else package}/msg/{words[-1]}'


def _short(name: str) -> str:
    package, _, base = name.split('/')
    return f'{package}/{base}'


def _file(name: str, suffix: str) -> Path:
    try:
        package, kind, base = name.split('/')
        return Path(get_package_share_directory(package)) / kind / f'{base}{suffix}'
    except (ValueError, PackageNotFoundError):
        raise LookupError(f'message type {name} is not installed') from None


def _text(name: str) -> str:
    try:
        return _file(name, '.msg').read_text('utf-8')
    except OSError:
        raise LookupError(f'message type {name} is not installed') from None


def _digest(name: str) -> str:
    """Return what the build wrote beside the definition; ROS 2 before Iron wrote nothing."""
    try:
        content = json.loads(_file(name, '.json').read_text('utf-8'))
    except OSError:
        return ''
    hashes = {one['type_name']: one['hash_string'] for one in content['type_hashes']}
    return str(hashes.get(name, ''))
