# SPDX-License-Identifier: Apache-2.0
"""`./dbms check`: says what a pack file describes, or everything that is wrong with it."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from . import busload, limits_table, paths, summary
from .errors import PackError
from .limits import QUANTITIES, Level, Limit, levels_of
from .loader import load_pack
from .model import Pack
from .validate import SOFT_INTERFACES

# From this share of a bus on, frames of low priority begin to wait for long.
BUSY = 0.7


def main(argv: Sequence[str] | None = None) -> int:
    """Check the packs named on the command line; return 1 if any is wrong."""
    parser = argparse.ArgumentParser(
        prog='check', description='Check pack files and say what they describe.'
    )
    known = ', '.join(paths.names('packs'))
    parser.add_argument('pack', nargs='+', help=f'path of a pack file, or a name of: {known}')
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.add_argument(
        '--limits', action='store_true', help='print every trigger, its action and the time to it'
    )
    arguments = parser.parse_args(argv)
    return check(arguments.pack, as_json=arguments.json, limits=arguments.limits)


def check(
    packs: Sequence[str],
    *,
    as_json: bool = False,
    limits: bool = False,
    console: Console | None = None,
) -> int:
    """Check packs by path or name and print a summary of each; return 1 if any is wrong."""
    console = console or Console()
    results: list[dict[str, Any]] = []
    for name in packs:
        try:
            pack = load_pack(name)
        except PackError as error:
            results.append({'pack': name, 'ok': False, 'problems': _problems(error)})
            if not as_json:
                console.print(_refusal(name, error), soft_wrap=True)
            continue
        described = limits_table.as_json(pack) if limits else summary.as_json(pack)
        results.append({'pack': name, 'ok': True, **described})
        if not as_json:
            console.print(limits_table.render(pack) if limits else render(pack))
    if as_json:
        console.out(json.dumps(results, indent=2), highlight=False)
    return 0 if all(result['ok'] for result in results) else 1


def _problems(error: PackError) -> list[dict[str, Any]]:
    return [{**vars(problem), 'path': str(problem.path)} for problem in error.problems]


def _refusal(name: str, error: PackError) -> Text:
    count = len(error.problems)
    text = Text(f'{name}: refused, {count} problem{"s" if count > 1 else ""}\n', 'bold red')
    for problem in error.problems:
        place = f'{problem.path}:{problem.line}' if problem.line else f'{problem.path}'
        text.append(f'  {place}: ', 'default')
        text.append(f'{problem.key}: ' if problem.key else '', 'bold')
        text.append(problem.found, 'red')
        text.append(f'; {problem.allowed}\n', 'default')
    return text


def render(pack: Pack) -> RenderableType:
    """Return the summary of a pack for a terminal."""
    return Group(_facts(pack), '', _topology(pack), '', _buses(pack), '', _limits(pack), '')


def _facts(pack: Pack) -> RenderableType:
    cell, series = pack.cell, pack.strings[0].cells
    low, middle, high = (
        series * value for value in (cell.voltage_min, cell.voltage_nominal, cell.voltage_max)
    )
    grid = Table.grid(padding=(0, 2))
    for name, value in (
        ('pack', f'[bold]{escape(pack.name)}[/bold]  [green]is right[/green]'),
        ('', escape(pack.description)),
        ('file', escape(str(pack.path))),
        ('cell', f'{escape(cell.name)} ({escape(cell.chemistry)}, {cell.capacity:g} Ah)'),
        ('cells', f'{pack.cells}: {len(pack.strings)} x {series}s{pack.parallel}p'),
        ('temperatures', f'{pack.temperatures} sensors'),
        ('capacity', f'{pack.capacity:.1f} Ah, {summary.energy(pack) / 1000:.2f} kWh'),
        ('voltage', f'{low:.1f} to {high:.1f} V, nominal {middle:.1f} V'),
    ):
        grid.add_row(f'[dim]{name}[/dim]', value)
    return grid


def _topology(pack: Pack) -> Tree:
    tree = Tree(f'[bold]{escape(pack.name)}[/bold]')
    for string in pack.strings:
        branch = tree.add(f'string [bold]{string.name}[/bold]: {string.cells} cells in series')
        sensor, unit = string.current_sensor, string.contactors
        branch.add(
            f'current sensor: bus {sensor.bus}, address {sensor.address}, '
            f'{sensor.range:g} A, every {sensor.period:g} s'
        )
        branch.add(f'contactors: bus {unit.bus}, address {unit.address}, lease {unit.lease:g} s')
        for module in string.modules:
            branch.add(
                f'module [bold]{module.name}[/bold]: bus {module.bus}, address {module.address}, '
                f'{module.cells} cells, {module.temperatures} temperatures, '
                f'every {module.period:g} s'
            )
    return tree


def _buses(pack: Pack) -> Table:
    title = f'Buses, worst case: load = frames/s x {busload.FRAME_BITS} bits / bit rate'
    table = Table(title=title, title_justify='left', box=None, padding=(0, 2, 0, 0))
    table.caption = (
        f'{busload.FRAME_BITS} bits: 8 bytes behind an 11-bit id, every stuff bit, a pause '
        '(Davis et al. 2007, eq. 1)'
    )
    table.caption_justify = 'left'
    for name in ('bus', 'interface', 'bit/s', 'frames/s', 'load'):
        table.add_column(name, justify='left' if name in ('bus', 'interface') else 'right')
    for name, (rate, load) in summary.bus_loads(pack).items():
        bus = pack.buses[name]
        style = 'yellow' if load > BUSY and bus.interface not in SOFT_INTERFACES else 'default'
        place = escape(f'{bus.interface} {bus.channel}')
        table.add_row(name, place, f'{bus.bitrate}', f'{rate:.0f}', f'{load:.1%}', style=style)
    return table


def _limits(pack: Pack) -> RenderableType:
    table = Table(
        title='Limits: at, debounce, hysteresis; * stays until reset',
        title_justify='left',
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column('quantity', no_wrap=True, min_width=27)
    table.add_column('unit')
    for level in Level:
        table.add_column(level.name)
    for name, levels in levels_of(pack.limits).items():
        cells = [_limit(levels[level]) if level in levels else '-' for level in Level]
        table.add_row(name, QUANTITIES[name].unit, *cells)
    rules = Table.grid(padding=(0, 2))
    for name, rule in summary.loss_rules(pack.limits).items():
        after = f'open after {rule.open_after:g} s' if rule.open_after else 'open at once'
        rules.add_row(
            name, f'{rule.timeout:g} s of silence: {rule.derate:.0%} of the limits, {after}'
        )
    rules.add_row('rest_current', f'{pack.limits.rest_current:g} A')
    return Group(table, '', rules)


def _limit(limit: Limit) -> str:
    star = '*' if limit.latch else ''
    return f'[bold]{limit.at:g}[/bold]{star} {limit.debounce:g} s {limit.hysteresis:g}'
