# SPDX-License-Identifier: Apache-2.0
"""Packs and cells to change and to load."""

import copy
from pathlib import Path
from typing import Any

import yaml

from dbms_pack import CellModel, Pack, PackError, paths
from dbms_pack.errors import Problem
from dbms_pack.loader import load_cell_text, load_pack_text

PACKS = ('robot_13s', 'marine_2x16s', 'leaf_module')
CELLS = ('lg_hg2', 'leaf', 'lfp_280ah')
DELETE = object()
PLACE = Path('some/where.yaml')


def _read(kind: str, name: str) -> Any:
    data = yaml.safe_load(paths.find(kind, name).read_text(encoding='utf-8'))
    chosen = data.get('limits', {}).pop('set', None)
    if chosen is not None:  # all limits in one place, to change them
        data['limits'] = {**_read('limits', chosen)['limits'], **data['limits']}
    return data


_SHIPPED = {
    name: _read(kind, name)
    for kind, names in (('packs', PACKS), ('cells', CELLS))
    for name in names
}


def shipped(name: str) -> Any:
    """Return the data of a shipped pack or cell, free to change."""
    return copy.deepcopy(_SHIPPED[name])


def dump(data: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False)


def change(data: Any, key: str, value: Any) -> Any:
    """Set (or DELETE) a value; key is dotted, list indices are parts of it: strings.0.name."""
    parts = [int(part) if part.isdigit() else part for part in key.split('.')]
    for part in parts[:-1]:
        data = data[part]
    if value is DELETE:
        del data[parts[-1]]
    else:
        data[parts[-1]] = value


def changed(name: str, *changes: tuple[str, Any]) -> str:
    """Return the text of a shipped pack or cell with changes."""
    data = shipped(name)
    for key, value in changes:
        change(data, key, value)
    return dump(data)


def pack_of(text: str) -> Pack:
    return load_pack_text(text, PLACE)


def cell_of(text: str) -> CellModel:
    return load_cell_text(text, PLACE)


def problems_of(text: str, load: Any = pack_of) -> list[Problem]:
    """Return why a text is refused."""
    try:
        load(text)
    except PackError as error:
        assert error.problems
        return error.problems
    raise AssertionError('it was accepted')


def line_of(text: str, start: str, count: int = 1) -> int:
    """Return the number of the count-th line that begins with `start`, indentation aside."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip(' -{').startswith(start):
            count -= 1
            if count == 0:
                return number
    raise AssertionError(f'no line begins with {start!r}')
