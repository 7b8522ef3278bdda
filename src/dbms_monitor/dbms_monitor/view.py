# SPDX-License-Identifier: Apache-2.0
"""The document as a picture for a terminal of a given size. Pure: no terminal is needed."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

CELL = 8  # columns that a cell takes
LABEL = 16  # columns before the cells of a module
NOTHING = '--'
STATE_STYLES = {
    'CONNECTED': 'bold white on dark_green',
    'STANDBY': 'bold white on blue',
    'CONNECTING': 'bold black on yellow',
    'DISCONNECTING': 'bold black on yellow',
    'FAULT': 'bold white on red',
}
STRING_STYLES = {'CONNECTED': 'bold green', 'OPEN': 'blue', 'FAULTED': 'bold red'}
LEVEL_STYLES = {
    'MSL': 'bold red', 'RSL': 'yellow', 'MOL': 'cyan',
    'ERROR': 'bold red', 'WARN': 'yellow', 'OK': 'green', 'STALE': 'dim',
}  # fmt: skip
CONTACT_SIGNS = {'closed': '■', 'open': '□', 'fault': '✗', 'unknown': '?'}
BARS = '▁▂▃▄▅▆▇█'
SPREAD = 0.005  # V, cells nearer to the mean than this are all the same


def render(document: dict[str, Any], width: int, height: int) -> RenderableType:
    """Return what fits into `width` columns and `height` rows, the most urgent first."""
    head = [_header(document), Text(), *_strings(document), *_limits(document)]
    faults = _faults(document)
    reports = _reports(document)
    left = height - len(head) - len(reports) - 3
    shown = faults[: max(3, left // 3)]
    if len(shown) < len(faults):
        shown[-1] = Text(f'  and {len(faults) - len(shown) + 1} more', style='dim')
    cells = _cells(document, width, max(4, left - len(shown)))
    return Group(*head, Text(), *cells, Text(), *shown, Text(), *reports)


def value(number: float | None, form: str, unit: str = '') -> str:
    """Return a number as text; two dashes for what is not known."""
    return NOTHING if number is None else f'{number:{form}}{unit}'


def _header(document: dict[str, Any]) -> Text:
    pack, battery = document['pack'], document['battery']
    text = Text(no_wrap=True, overflow='ellipsis')
    name = pack['name'] if pack else '(protection is silent)'
    state = (pack and pack['state']) or 'UNKNOWN'
    text.append(f' {name} ', style='bold')
    text.append(f' {state} ', style=STATE_STYLES.get(state, 'bold black on bright_black'))
    soc = battery['soc']
    text.append('   SOC ')
    text.append(value(None if soc is None else soc * 100, '.1f', ' %'), style='bold')
    text.append(f' {_bar(soc, 10)}', style=_soc_style(soc))
    text.append(f'  {value(battery["voltage"], ".2f", " V")}')
    text.append(f'  {value(battery["current"], "+.1f", " A")}')
    text.append(f'  {value(battery["power"], "+.0f", " W")}')
    text.append(f'  {value(battery["temperature"], ".1f", " °C")}')
    text.append(f'   /{document["namespace"]}', style='dim')
    return text


def _bar(share: float | None, width: int) -> str:
    filled = 0 if share is None else round(max(0.0, min(share, 1.0)) * width)
    return '█' * filled + '░' * (width - filled)


def _soc_style(soc: float | None) -> str:
    if soc is None:
        return 'dim'
    return 'green' if soc > 0.3 else 'yellow' if soc > 0.1 else 'red'


def _strings(document: dict[str, Any]) -> list[RenderableType]:
    rows: list[RenderableType] = []
    for string in document['strings']:
        state = string['state'] or 'UNKNOWN'
        row = Text(no_wrap=True, overflow='ellipsis')
        row.append(f' {string["name"]:<12.12} ')
        row.append(f'{state:<17}', style=STRING_STYLES.get(state, 'bold yellow'))
        for name, sign in (('minus', '−'), ('precharge', 'p'), ('plus', '+')):
            contact = string[name] or 'unknown'
            style = {'closed': 'green', 'fault': 'bold red'}.get(contact, 'dim')
            row.append(f'{sign}{CONTACT_SIGNS[contact]} ', style=style)
        row.append(f' {value(string["voltage"], ".2f"):>7} V')
        row.append(f'  link {value(string["link_voltage"], ".2f"):>7} V')
        row.append(f'  {value(string["current"], "+.1f"):>7} A')
        if string['interlock'] == 'open':
            row.append('  interlock open', style='bold red')
        if string['reason'] and state != 'CONNECTED':
            row.append(f'  {string["reason"]}', style='dim')
        rows.append(row)
    return rows


def _limits(document: dict[str, Any]) -> list[RenderableType]:
    limits = document['limits']
    row = Text(no_wrap=True, overflow='ellipsis')
    row.append(' may charge ')
    row.append(value(limits['charge_current'], '.1f', ' A'), style='bold')
    row.append(f' to {value(limits["charge_voltage"], ".1f", " V")}, discharge ')
    row.append(value(limits['discharge_current'], '.1f', ' A'), style='bold')
    row.append(f' to {value(limits["discharge_voltage"], ".1f", " V")}')
    reasons = {limits['charge_limited_by'], limits['discharge_limited_by']} - {'', None}
    if reasons:
        row.append(f'   {"; ".join(sorted(reasons))}', style='yellow')
    return [row]


def _cells(document: dict[str, Any], width: int, height: int) -> list[RenderableType]:
    modules = document['modules']
    known = [c['voltage'] for m in modules for c in m['cells'] if c['voltage'] is not None]
    mean = sum(known) / len(known) if known else None
    lowest, highest = (min(known), max(known)) if known else (None, None)
    per_row = max(1, (width - LABEL) // CELL)
    lines: list[RenderableType] = []
    for module in modules:
        lines += _module_rows(module, per_row, mean, lowest, highest)
    if len(lines) <= height:
        return lines
    return _module_summaries(modules, height)


def _module_rows(
    module: dict[str, Any],
    per_row: int,
    mean: float | None,
    lowest: float | None,
    highest: float | None,
) -> list[RenderableType]:
    rows: list[RenderableType] = []
    for first in range(0, max(1, len(module['cells'])), per_row):
        cells = module['cells'][first : first + per_row]
        label = (f' {module["name"]}', _trouble(module)) if first == 0 else ('', '')
        above, below = Text(no_wrap=True), Text(no_wrap=True)
        above.append(f'{label[0]:<{LABEL}.{LABEL}}', style='bold')
        second = label[1] or (f'   {_temperatures(module)}' if first == 0 else '')
        below.append(f'{second:<{LABEL}.{LABEL}}', style='bold red' if label[1] else 'dim')
        for cell in cells:
            voltage = cell['voltage']
            style = _voltage_style(voltage, mean, lowest, highest)
            mark = '↓' if cell['bleeding'] else ' '
            above.append(f'{value(voltage, ".3f"):>{CELL - 2}}{mark} ', style=style)
            soc = cell['soc']
            share = value(None if soc is None else soc * 100, '.1f')
            below.append(f'{_level(soc)}{share:>{CELL - 3}}  ', style='dim')
        rows += [above, below]
    return rows


def _level(soc: float | None) -> str:
    return ' ' if soc is None else BARS[min(len(BARS) - 1, max(0, int(soc * len(BARS))))]


def _voltage_style(
    voltage: float | None, mean: float | None, lowest: float | None, highest: float | None
) -> str:
    if voltage is None or mean is None:
        return 'dim'
    if abs(voltage - mean) < SPREAD:
        return 'default'
    if voltage == lowest:
        return 'bold bright_blue'
    if voltage == highest:
        return 'bold bright_magenta'
    return 'bright_blue' if voltage < mean else 'bright_magenta'


def _trouble(module: dict[str, Any]) -> str:
    """Say what is wrong with the board itself; '' if nothing."""
    if module['age'] is None:
        return '   not heard'
    if all(cell['voltage'] is None for cell in module['cells']):
        return f'   silent {module["age"]:.0f} s'
    return f'   {module["flags"][0]}' if module['flags'] else ''


def _temperatures(module: dict[str, Any]) -> str:
    known = [t for t in module['temperatures'] if t is not None]
    if not known:
        return '' if not module['temperatures'] else f'{NOTHING} °C'
    return f'{min(known):.0f}..{max(known):.0f} °C' if len(known) > 1 else f'{known[0]:.1f} °C'


def _module_summaries(modules: list[dict[str, Any]], height: int) -> list[RenderableType]:
    """Return a line per module, those first that are silent or differ most."""
    table = Table(box=None, pad_edge=False, expand=False)
    for name in (' module', 'min V', 'cell', 'mean V', 'max V', 'cell', 'SOC %', '°C', ''):
        table.add_column(name, justify='left' if name in (' module', '') else 'right')
    ranked = sorted(modules, key=_rank)
    room = height - 2
    for module in ranked[:room]:
        table.add_row(*_summary(module))
    lines: list[RenderableType] = [table]
    if len(ranked) > room:
        lines.append(Text(f' and {len(ranked) - room} more modules', style='dim'))
    return lines


def _rank(module: dict[str, Any]) -> tuple[bool, float, str]:
    known = [cell['voltage'] for cell in module['cells'] if cell['voltage'] is not None]
    if not known:
        return False, 0.0, module['name']
    return not module['flags'], min(known) - max(known), module['name']


def _summary(module: dict[str, Any]) -> list[str]:
    known = [(c['voltage'], i + 1) for i, c in enumerate(module['cells']) if c['voltage']]
    soc = [cell['soc'] for cell in module['cells'] if cell['soc'] is not None]
    share = f'{min(soc) * 100:.1f}..{max(soc) * 100:.1f}' if soc else NOTHING
    if not known:
        return [f' {module["name"]}', *[NOTHING] * 5, share, '', _trouble(module).strip()]
    low, high = min(known), max(known)
    mean = sum(voltage for voltage, _ in known) / len(known)
    return [
        f' {module["name"]}', f'{low[0]:.3f}', str(low[1]), f'{mean:.3f}', f'{high[0]:.3f}',
        str(high[1]), share, _temperatures(module).removesuffix(' °C'), _trouble(module).strip(),
    ]  # fmt: skip


def _faults(document: dict[str, Any]) -> list[RenderableType]:
    faults = document['faults']
    if faults is None:
        return [Text(' faults are not known: protection is silent', style='bold red')]
    if not faults:
        return [Text(' no faults', style='green')]
    rows: list[RenderableType] = []
    for fault in faults:
        row = Text(no_wrap=True, overflow='ellipsis')
        style = LEVEL_STYLES[fault['level']] if fault['active'] else 'dim'
        row.append(f' {fault["level"]} ', style=style)
        row.append('active ' if fault['active'] else 'latched', style=style)
        row.append(f'  {fault["text"]}')
        rows.append(row)
    return rows


def _reports(document: dict[str, Any]) -> list[RenderableType]:
    """Return a line per bus, and one for everything else that is not well."""
    rows: list[RenderableType] = []
    for report in document['reports']:
        name = report['name'].partition(': ')[2] or report['name']
        is_bus = name.startswith('bus ')
        if report['level'] == 'OK' and not is_bus and 'simulation' not in name:
            continue
        row = Text(no_wrap=True, overflow='ellipsis')
        row.append(f' {report["level"]:<5} ', style=LEVEL_STYLES[report['level']])
        row.append(f'{name}: {report["text"]}')
        frames = report['values'].get('frames')
        if frames is not None:
            row.append(f', {int(frames):,} frames', style='dim')
        rows.append(row)
    return rows[:8]
