# SPDX-License-Identifier: Apache-2.0
"""A cell model as a cell file."""

import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
import yaml

from dbms_pack.model import FloatArray

from .circuit import SOCS
from .identify import Identified
from .laboratory import Layout
from .model_error import ZONES


def cell_text(name: str, layout: Layout, found: Identified) -> str:
    """Return the text of the cell file."""
    cell = layout.cell
    voltage = found.voltage
    lines = [
        '# yaml-language-server: $schema=../../src/dbms_pack/dbms_pack/cell.schema.json',
        '# Made by ./dbms identify; what the keys mean: docs/packs.md',
        f'name: {name}',
        f'chemistry: {cell["chemistry"]}',
        'source: >-',
        *textwrap.wrap(str(cell['source']), 95, initial_indent='  ', subsequent_indent='  '),
        f'capacity: {found.ocv.capacity:.4g}  # Ah',
        f'voltage: {_flow(cell["voltage"])}  # V',
        'ocv:',
        _row('  soc: ', found.ocv.soc, 4),
        _row('  voltage: ', voltage, 5),
    ]
    entropic, gap = found.fit.entropic(), found.fit.gap()
    if layout.entropic:
        known = layout.entropic
        entropic = np.interp(found.ocv.soc, known['soc'], known['voltage'])
    if len(entropic):
        lines.append(_row('  entropic: ', entropic, 6))
    if found.capacities:
        lines += _by_temperature('capacity_by_temperature', 'capacity', found.capacities)
    if gap.max() > 0:
        lines += [
            'hysteresis:',
            f'  soc: {found.fit.hysteresis_soc:g}',
            _row('  voltage: ', gap, 5),
        ]
    lines += [
        'model_error:',
        _row('  temperatures: ', found.errors.temperatures, 1),
        _row('  voltage: ', found.errors.voltage),
    ]
    if layout.load_error:
        lines.append(f'  load: {layout.load_error:g}')
    if len(entropic):  # made for a flat OCV: its ends say nothing of its middle
        lines += ['  by_soc:', _row('    socs: ', ZONES), '    voltage:']
        lines += [_row('      - ', row) for row in found.errors.by_soc]
    lines += [
        'impedance:',
        _row('  temperatures: ', found.temperatures, 1),
        _row('  socs: ', SOCS),
    ]
    if np.isfinite(found.fit.saturation):
        lines.append(f'  saturation: {found.fit.saturation:g}')
    shape = np.ones_like(found.tables[0])
    fast, slow = (tau * shape for tau in found.fit.taus)
    for key, table in zip(
        ('r0', 'r1', 'tau1', 'r2', 'tau2'),
        (found.tables[0], found.tables[1], fast, found.tables[2], slow),
        strict=True,
    ):
        lines.append(f'  {key}:')
        lines += [_row('    - ', row, 6) for row in table]
    lines.append(f'thermal: {_flow(cell["thermal"])}  # J/K, K/W')
    lines += [f'{key}: {_text(cell[key])}' for key in ('self_discharge', 'ageing') if key in cell]
    return '\n'.join(lines) + '\n'


def _by_temperature(key: str, value: str, table: dict[float, float]) -> list[str]:
    places = sorted(table)
    return [
        f'{key}:',
        _row('  temperatures: ', places, 1),
        _row(f'  {value}: ', [table[place] for place in places], 4),
    ]


def _text(value: Any) -> str:
    return _flow(value) if isinstance(value, dict) else f'{value}'


def _flow(values: dict[str, float]) -> str:
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False).strip()


def _row(key: str, values: Iterable[float] | FloatArray, digits: int = 4) -> str:
    # No exponents: YAML takes 1e-05 for a text.
    numbers = (f'{float(value):.{digits}f}' for value in values)
    text = ', '.join(n.rstrip('0').rstrip('.') if '.' in n else n for n in numbers)
    indent = ' ' * (len(key) - len(key.lstrip()) + 2)
    return textwrap.fill(f'{key}[{text}]', 99, subsequent_indent=indent, break_long_words=False)
