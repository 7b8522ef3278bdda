# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/safety-campaign.md, from what `./dbms bench safety --out DIR` wrote."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

LEVELS = ('MOL', 'RSL', 'MSL')
Row = Mapping[str, Any]


def read(directories: Sequence[Path]) -> dict[str, Any]:
    """Return the cases and missions of one or more runs together, as one that did all of them."""
    together: dict[str, Any] = {'cases': [], 'missions': [], 'speed': 1.0}
    for directory in directories:
        found = json.loads((directory / 'safety.json').read_text(encoding='utf-8'))
        together['cases'] += found['cases']
        together['missions'] += found['missions']
        if found['missions']:
            together['speed'] = found['speed']
    return together


def markdown(result: Mapping[str, Any]) -> str:
    """Return the tables of a result, as `safety.as_json` has it."""
    lines: list[str] = []
    if result['cases']:
        lines += [*_campaign(result['cases']), '']
    if result['missions']:
        lines += [*_missions(result['missions'], result['speed']), '']
    return '\n'.join(lines)


def _campaign(cases: Sequence[Row]) -> Iterator[str]:
    packs = list(dict.fromkeys(case['pack'] for case in cases))
    for pack in packs:
        few = [case for case in cases if case['pack'] == pack]
        bad = [case for case in few if case['problem']]
        yield f'`{pack}`: {len(few)} cases, {len(few) - len(bad)} as promised.'
        for case in bad:
            yield (
                f'- `{case["fault"]}` {case["level"]} {case["manner"]}: {case["verdict"]}, '
                f'{case["problem"]}'
            )
        yield ''
    yield '| fault | cases | MOL | RSL | MSL |'
    yield '|---|---|---|---|---|'
    for fault in dict.fromkeys(case['fault'] for case in cases):
        few = [case for case in cases if case['fault'] == fault]
        cells = (_slowest([case for case in few if case['level'] == name]) for name in LEVELS)
        yield f'| `{fault}` | {len(few)} | {" | ".join(cells)} |'


def _slowest(few: Sequence[Row]) -> str:
    """Return the case that came closest to what was promised, or went farthest beyond."""
    if not few:
        return ''
    if any(case['acted'] is None for case in few):
        return '**missed**'
    worst = max(few, key=lambda case: (case['acted'] - case['promised'], case['acted']))
    return f'{worst["acted"]:.2f} / {worst["promised"]:.2f}'


def _missions(missions: Sequence[Row], speed: float) -> Iterator[str]:
    yield f'At `--speed {speed:g}`:'
    yield ''
    yield '| mission | h | frames heard | true warnings | false warnings | false trips | opened |'
    yield '|---|---|---|---|---|---|---|'
    sums = [0.0, 0, 0, 0, 0, 0]
    for one in missions:
        trips = sum(' MSL ' in text for text in one['false'])
        row = [
            one['hours'], one['frames'], one['true'], len(one['false']) - trips, trips,
            len(one['opened']),
        ]  # fmt: skip
        sums = [before + value for before, value in zip(sums, row, strict=True)]
        yield _mission(one['name'], row)
    yield _mission('all', sums)


def _mission(name: str, row: Sequence[float]) -> str:
    hours = f'{row[0]:.2f}'.rstrip('0').rstrip('.')
    return f'| {name} | {hours} | ' + ' | '.join(f'{math.trunc(one)}' for one in row[1:]) + ' |'
