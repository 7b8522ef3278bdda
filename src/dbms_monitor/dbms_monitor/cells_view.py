# SPDX-License-Identifier: Apache-2.0
"""The cells, in as much detail as there is room for: all of them, or a line per module."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.text import Text

from .naming import plain
from .styles import DIM, NOTHING, gauge, percent, period, soc_colour, value

LABEL = 16  # columns before the cells of a module
TILE = 8  # columns of a cell
SPREAD = 0.005  # V, cells nearer to the median than this are all the same
RANGE = 16  # columns of the picture where a module's cells lie
WORST = 6  # cells that are named apart
TITLE = f'{"module":<11}{"min V":>7}{"cell":>5}{"mean V":>7}{"max V":>7}{"cell":>5}'


@dataclass(frozen=True)
class Spread:
    """Where the voltages of all cells of the pack lie, in V; None: nothing is measured."""

    lowest: float | None = None
    middle: float | None = None  # the median: one cell far off leaves it where it is
    highest: float | None = None

    @classmethod
    def of(cls, modules: Sequence[dict[str, Any]]) -> 'Spread':
        """Return the spread over all modules."""
        known = [v for module in modules for v in module['voltages'] if v is not None]
        if not known:
            return cls()
        return cls(min(known), median(known), max(known))

    def mark(self, voltage: float | None) -> str:
        """Return the sign of the highest and of the lowest cell."""
        if voltage is None or self.lowest is None or self.highest is None:
            return ' '
        if self.highest - self.lowest < SPREAD:
            return ' '
        return '▼' if voltage == self.lowest else '▲' if voltage == self.highest else ' '

    def style(self, voltage: float | None) -> str:
        """Return blue for cells below the others, orange for those above."""
        if voltage is None or self.middle is None:
            return DIM
        bold = 'bold ' if self.mark(voltage) != ' ' else ''
        if abs(voltage - self.middle) < SPREAD:
            return f'{bold}default'
        return f'{bold}bright_blue' if voltage < self.middle else f'{bold}dark_orange'


def cells(modules: Sequence[dict[str, Any]], width: int, room: int, page: int) -> list[Text]:
    """Return at most `room` lines about all cells, the worst first if not all fit."""
    spread = Spread.of(modules)
    rows = sum(_rows(module, width) for module in modules)
    if rows + 1 > room:
        return _table(modules, spread, room, page)
    with_soc = 2 * rows + 1 <= room
    tiles = (line for one in modules for line in _tiles(one, width, spread, with_soc))
    return [_legend(modules, spread), *tiles]


def trouble(module: dict[str, Any]) -> str:
    """Say what is wrong with the board itself; '' if nothing."""
    if module['age'] is None:
        return 'not heard'
    if module['stale']:
        return f'silent {period(module["age"])}'
    return str(module['flags'][0]) if module['flags'] else ''


def _legend(modules: Sequence[dict[str, Any]], spread: Spread) -> Text:
    line = Text(' cells', style=DIM)
    if spread.middle is None or spread.highest is None or spread.lowest is None:
        return line
    line.append(f'   median {spread.middle:.3f} V   ▲ highest   ▼ lowest')
    line.append(f'   spread {1000 * (spread.highest - spread.lowest):.0f} mV')
    if any(module['bleeding'] for module in modules):
        line.append('   * bleeding')
    return line


def _rows(module: dict[str, Any], width: int) -> int:
    """Return how many rows its cells take."""
    fitting = max(1, (width - LABEL) // TILE)
    return max(1, -(-len(module['voltages']) // fitting))


def _tiles(module: dict[str, Any], width: int, spread: Spread, with_soc: bool) -> list[Text]:
    """Return the cells of a module, each as voltage above and SOC below."""
    size = len(module['voltages'])
    rows = _rows(module, width)
    per_row = max(1, -(-size // rows))
    lines: list[Text] = []
    wrong = trouble(module)
    for row in range(rows):
        above, below = Text(), Text()
        name = f' {plain(module["name"])}' if row == 0 else ''
        note = f' {wrong or _temperatures(module)}' if row == 0 else ''
        above.append(f'{name:<{LABEL}.{LABEL - 1}}', style='bold red' if wrong else 'bold')
        below.append(f'{note:<{LABEL}.{LABEL - 1}}', style='bold red' if wrong else DIM)
        for index in range(row * per_row, min(size, (row + 1) * per_row)):
            voltage, soc = module['voltages'][index], module['soc'][index]
            style = DIM if module['stale'] else spread.style(voltage)
            bleeding = '*' if index + 1 in module['bleeding'] else ' '
            shown = f'{value(voltage, ".3f"):>5}{spread.mark(voltage)}{bleeding} '
            above.append(shown, style=style)
            below.append_text(gauge(percent(soc), soc, TILE - 1, soc_colour(soc)))
            below.append(' ')
        lines += [above, below] if with_soc else [above]
    return lines


def _temperatures(module: dict[str, Any]) -> str:
    known = [one for one in module['temperatures'] if one is not None]
    if not known:
        return f'{NOTHING} °C' if module['temperatures'] else ''
    low, high = min(known), max(known)
    return f'{low:.0f} °C' if round(low) == round(high) else f'{low:.0f}..{high:.0f} °C'


def _table(modules: Sequence[dict[str, Any]], spread: Spread, room: int, page: int) -> list[Text]:
    """Return a line per module, those first whose boards or cells are worst."""
    ranked = sorted(modules, key=lambda module: _rank(module, spread))
    rows = max(1, room - 3)
    pages = -(-len(ranked) // rows)
    page = page % pages
    shown = ranked[page * rows : (page + 1) * rows]
    count = sum(len(module['voltages']) for module in modules)
    head = Text(f' {len(modules)} modules, {count} cells', style=DIM)
    if spread.middle is not None:
        head.append(f', median {spread.middle:.3f} V')
    head.append(', worst first')
    if pages > 1:
        last = page * rows + len(shown)
        head.append(f', {page * rows + 1} to {last}: page {page + 1} of {pages}')
    title = f' {TITLE}  {"where they lie":<{RANGE}}  {"SOC %":>11}  °C'
    return [head, _outliers(modules, spread), Text(title, style=DIM)] + [
        _row(module, spread) for module in shown
    ]


def _rank(module: dict[str, Any], spread: Spread) -> tuple[bool, bool, float]:
    known = [voltage for voltage in module['voltages'] if voltage is not None]
    if not known or spread.middle is None:
        return False, False, 0.0
    off = max(spread.middle - min(known), max(known) - spread.middle)
    return not trouble(module), len(known) == len(module['voltages']), -off


def _outliers(modules: Sequence[dict[str, Any]], spread: Spread) -> Text:
    """Name the cells that are farthest from the median of the pack."""
    line = Text()
    line.append(' farthest off ', style=DIM)
    if spread.middle is None:
        return line.append(NOTHING)
    middle = spread.middle
    known = [
        (abs(voltage - middle), voltage, module['name'], index + 1)
        for module in modules
        for index, voltage in enumerate(module['voltages'])
        if voltage is not None
    ]
    known.sort(reverse=True)
    for _, voltage, name, cell in known[:WORST]:
        line.append(f' {plain(name)}:{cell} ', style='default')
        line.append(f'{voltage:.3f}', style=spread.style(voltage))
    return line


def _row(module: dict[str, Any], spread: Spread) -> Text:
    line = Text()
    line.append(
        f' {plain(module["name"]):<11.11}', style='bold red' if trouble(module) else 'bold'
    )
    known = [(v, i + 1) for i, v in enumerate(module['voltages']) if v is not None]
    if known:
        low, high = min(known), max(known)
        mean = sum(voltage for voltage, _ in known) / len(known)
        dim = module['stale']
        line.append(f'{low[0]:7.3f}', style=DIM if dim else spread.style(low[0]))
        line.append(f'{low[1]:5d}', style=DIM)
        line.append(f'{mean:7.3f}', style=DIM if dim else 'default')
        line.append(f'{high[0]:7.3f}', style=DIM if dim else spread.style(high[0]))
        line.append(f'{high[1]:5d}  ', style=DIM)
        line.append_text(_where(low[0], mean, high[0], spread, dim))
    else:
        line.append(f'{NOTHING:>7}{NOTHING:>5}{NOTHING:>7}{NOTHING:>7}{NOTHING:>5}  ', style=DIM)
        line.append(f'{trouble(module):<{RANGE}}', style='bold red')
    soc = [one * 100 for one in module['soc'] if one is not None]
    line.append(
        f'  {f"{min(soc):.1f}..{max(soc):.1f}" if soc else NOTHING:>11}  ', style='default'
    )
    line.append(_temperatures(module).removesuffix(' °C'), style='default')
    missing = len(module['voltages']) - len(known)
    wrong = trouble(module) or (f'{missing} not measured' if missing else '')
    return line.append(f'  {wrong}' if known and wrong else '', style='bold red')


def _where(low: float, mean: float, high: float, spread: Spread, dim: bool) -> Text:
    """Return a picture of the module's cells between the lowest and the highest of the pack."""
    line = ['·'] * RANGE
    if spread.lowest is None or spread.highest is None:
        return Text(''.join(line), style=DIM)
    scale = (RANGE - 1) / max(spread.highest - spread.lowest, SPREAD)
    first, middle, last = (round((v - spread.lowest) * scale) for v in (low, mean, high))
    line[first : last + 1] = '━' * (last - first + 1)
    line[middle] = '┿'
    picture = Text(''.join(line), style=DIM)
    if not dim:
        picture.stylize('cyan', first, last + 1)
    return picture
