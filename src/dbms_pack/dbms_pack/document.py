# SPDX-License-Identifier: Apache-2.0
"""YAML read into plain values that know their lines.

Stricter than YAML: no duplicate keys, no tags, no second document, no NaN or infinity, bounded in
size, depth and expanded aliases. Plain scalars are read as YAML 1.2 reads them, so that `1e3` is a
number, and `no` and `1:30` are texts. Anchors, aliases and merge keys (`<<`) work.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .errors import PackError, Problem

# libyaml reads about ten times as fast as the parser written in Python.
_LOADER: Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 200_000  # aliases expanded

KeyPath = tuple[str | int, ...]

_INTEGER = re.compile(r'[-+]?[0-9]+')
_FLOAT = re.compile(r'[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?')
_NOT_FINITE = re.compile(r'[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)')
_CONSTANTS = {
    '': None, '~': None, 'null': None, 'Null': None, 'NULL': None,
    'true': True, 'True': True, 'TRUE': True, 'false': False, 'False': False, 'FALSE': False,
}  # fmt: skip
# What YAML calls printable, without the marks that only confuse.
_UNPRINTABLE = re.compile(
    '[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]'
)


@dataclass(slots=True)
class Node:
    """A value, where it begins, and what is in it."""

    value: Any
    line: int
    children: dict[str | int, 'Node'] = field(default_factory=dict)
    key_lines: dict[str | int, int] = field(default_factory=dict)
    weight: int = 1  # values in it, itself included


@dataclass(frozen=True)
class Document:
    """A YAML file: `data` as dict, list, str, float, int, bool and None."""

    path: Path
    root: Node

    @property
    def data(self) -> Any:
        """The plain values."""
        return self.root.value

    def line(self, key: KeyPath) -> int:
        """Line of a key; of the innermost mapping or list on the way where it is missing."""
        node, line = self.root, self.root.line
        for part in key:
            line = node.key_lines.get(part, line)
            if part not in node.children:
                break
            node = node.children[part]
        return line

    def problem(self, key: KeyPath, found: str, allowed: str) -> Problem:
        """Return a problem at a key."""
        return Problem(self.path, self.line(key), dotted(key), found, allowed)


def dotted(key: KeyPath) -> str:
    """Write a key path as a person does: strings[0].modules[1].cells."""
    text = ''
    for part in key:
        text += f'[{part}]' if isinstance(part, int) else f'.{part}' if text else part
    return text


def shown(value: Any) -> str:
    """Write a value as it stands in a file, shortened."""
    if value is None:
        return 'nothing'
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, dict):
        return 'a mapping'
    if isinstance(value, list):
        return f'a list of {len(value)}'
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + '...')
    return f'{value:g}' if isinstance(value, float) else str(value)[:60]


def read_text(path: Path) -> str:
    """Return the text of a file; raise PackError where it is no text or too much of it."""
    try:
        if path.is_dir():
            raise PackError([Problem(path, 0, '', 'is a directory', 'name a YAML file in it')])
        with path.open('rb') as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, PackError):
            raise
        reason = getattr(error, 'strerror', None) or str(error)
        raise PackError([Problem(path, 0, '', reason, 'name a YAML file')]) from None
    if len(raw) > MAX_BYTES:
        raise PackError(
            [Problem(path, 0, '', 'the file is too long', f'at most {MAX_BYTES} bytes')]
        )
    try:
        return raw.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = raw.count(b'\n', 0, error.start) + 1
        found = f'byte 0x{raw[error.start]:02x}'
        raise PackError([Problem(path, line, '', found, 'text in UTF-8')]) from None


def parse(text: str, path: Path) -> Document:
    """Parse YAML; raise PackError with everything that is wrong with it as YAML."""
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        line = text.count('\n', 0, unprintable.start()) + 1
        found = f'character {unprintable.group()!r}'
        raise PackError([Problem(path, line, '', found, 'printable text')])
    reader = _Reader(path)
    try:
        root = reader.read(text)
    except yaml.YAMLError as error:
        problem = _syntax_problem(path, error)
        raise PackError([*reader.problems, problem]) from None
    if reader.problems:
        raise PackError(reader.problems)
    return Document(path, root)


def _syntax_problem(path: Path, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, 'problem_mark', None) or getattr(error, 'context_mark', None)
    what = getattr(error, 'problem', None) or str(error).splitlines()[0]
    context = getattr(error, 'context', None)
    found = f'{what} {context}' if context else what
    line = mark.line + 1 if mark else 1
    return Problem(path, line, '', found, 'YAML: look for indentation, colons, quotes, brackets')


class _Reader:
    """Builds nodes from parser events: iterating over them keeps hostile input bounded."""

    def __init__(self, path: Path) -> None:
        self.problems: list[Problem] = []
        self._path = path
        self._anchors: dict[str, Node] = {}
        self._nodes = 0

    def read(self, text: str) -> Node:
        events = yaml.parse(text, Loader=_LOADER)
        root: Node | None = None
        for event in events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            if root is not None:
                self._refuse(event, 'a second document', 'one document per file')
            root = self._node(next(events), events, ())
        if root is None or root.value is None:
            raise PackError([Problem(self._path, 1, '', 'the file is empty', 'a mapping of keys')])
        return root

    def _complain(self, event: Any, key: KeyPath, found: str, allowed: str) -> None:
        line = event.start_mark.line + 1
        self.problems.append(Problem(self._path, line, dotted(key), found, allowed))

    def _refuse(self, event: Any, found: str, allowed: str, key: KeyPath = ()) -> None:
        self._complain(event, key, found, allowed)
        raise PackError(self.problems)

    def _node(self, event: Any, events: Iterator[Any], key: KeyPath) -> Node:
        if isinstance(event, yaml.AliasEvent):
            node = self._alias(event, key)
        else:
            if len(key) > MAX_DEPTH:
                self._refuse(event, 'nested too deep', f'at most {MAX_DEPTH} levels', key[:4])
            if event.tag is not None:
                self._complain(event, key, f'tag {event.tag}', 'plain values without tags')
            if isinstance(event, yaml.MappingStartEvent):
                node = self._mapping(event, events, key)
            elif isinstance(event, yaml.SequenceStartEvent):
                node = self._sequence(event, events, key)
            else:
                node = Node(self._scalar(event, key), event.start_mark.line + 1)
            if event.anchor is not None:
                self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, key: KeyPath) -> Node:
        # A node is entered among the anchors when it is complete, so it cannot hold itself.
        node = self._anchors.get(event.anchor)
        if node is None:
            self._refuse(event, f'*{event.anchor}', 'an alias of an anchor (&) above it', key)
            raise AssertionError  # not reached: _refuse raises
        return node

    def _grow(self, event: Any, node: Node, child: Node, key: KeyPath) -> None:
        node.weight += child.weight
        if node.weight > MAX_NODES:
            self._refuse(event, 'too many values', f'at most {MAX_NODES}, aliases expanded', key)

    def _sequence(self, start: Any, events: Iterator[Any], key: KeyPath) -> Node:
        node = Node([], start.start_mark.line + 1)
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            index = len(node.value)
            child = self._node(event, events, (*key, index))
            self._grow(event, node, child, key)
            node.value.append(child.value)
            node.children[index] = child
            node.key_lines[index] = event.start_mark.line + 1
        return node

    def _mapping(self, start: Any, events: Iterator[Any], key: KeyPath) -> Node:
        node = Node({}, start.start_mark.line + 1)
        merged: list[tuple[Any, Node]] = []
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                self._refuse(event, 'a key that is no text', 'a name before the colon', key)
            name, line = event.value, event.start_mark.line + 1
            child = self._node(next(events), events, (*key, name))
            self._grow(event, node, child, key)
            if name == '<<' and not event.style:
                merged.append((event, child))
            elif name in node.children:
                first = f'the key once; it is already on line {node.key_lines[name]}'
                self._complain(event, (*key, name), 'the key a second time', first)
            else:
                node.children[name], node.key_lines[name] = child, line
        for event, child in merged:
            self._merge(event, node, child, key)
        node.value.update((name, child.value) for name, child in node.children.items())
        return node

    def _merge(self, event: Any, node: Node, source: Node, key: KeyPath) -> None:
        sources = source.children.values() if isinstance(source.value, list) else [source]
        for mapping in sources:
            if not isinstance(mapping.value, dict):
                self._complain(event, (*key, '<<'), shown(mapping.value), 'an alias of a mapping')
                continue
            for name, child in mapping.children.items():
                if name not in node.children:  # what is written here wins over what is merged
                    node.children[name], node.key_lines[name] = child, child.line
                    self._grow(event, node, child, key)

    def _scalar(self, event: Any, key: KeyPath) -> Any:
        text = event.value
        if event.style:  # quoted or a block: a text whatever it looks like
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        number: float
        if _INTEGER.fullmatch(text) and len(text) <= 18:
            return int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
        elif _NOT_FINITE.fullmatch(text):
            number = math.inf
        else:
            return text
        if not math.isfinite(number):
            self._complain(event, key, shown(text).strip("'"), 'a finite number')
        return number
