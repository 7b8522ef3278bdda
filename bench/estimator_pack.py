# SPDX-License-Identifier: Apache-2.0
"""A pack of as many cells as a benchmark wants."""

from dataclasses import replace
from pathlib import Path

from dbms_pack import load_pack
from dbms_pack.model import CellModel, Module, Pack

ROW = 16  # cells in a module


def pack_of(cell: CellModel, count: int) -> Pack:
    """Return a pack of one string of `count` cells, 16 or fewer to a module."""
    base = load_pack('robot_13s')
    string = base.strings[0]
    modules, first = [], 0
    for number in range(-(-count // ROW)):
        cells = min(ROW, count - first)
        modules.append(
            Module(f'm{number}', string.name, 'main', number, cells, 2, first, 2 * number, 0.1)
        )
        first += cells
    long = replace(string, modules=tuple(modules))
    return replace(base, name='bench', cell=cell, parallel=1, strings=(long,), path=Path())
