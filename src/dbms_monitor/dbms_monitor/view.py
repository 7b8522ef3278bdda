# SPDX-License-Identifier: Apache-2.0
"""The document as a picture for a terminal of a given size. Pure: no terminal is needed."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from .cells_view import cells, trouble
from .naming import plain
from .styles import (
    CONTACTS,
    DIM,
    LEVELS,
    OTHER_STATE,
    OTHER_STRING,
    STATES,
    STRINGS,
    gauge,
    percent,
    period,
    soc_colour,
    value,
)

SILENT = 3.0  # s, nothing at all is heard: the graph has ended, or is cut off
LIMIT_BAR = 16  # columns
REPORT_LINES = 6
COUNTED = ('send failures', 'late', 'times lost', 'lost', 'incomplete', 'foreign', 'error')
REFUSED = (
    'dlc', 'crc', 'repeated', 'unconfirmed', 'implausible', 'conflict', 'duplicate', 'extended',
    'remote', 'fd',
)  # fmt: skip


def render(document: dict[str, Any], width: int, height: int, page: int = 0) -> RenderableType:
    """Return what fits into `width` columns and `height` rows, the most urgent first."""
    return Group(*lines(document, width, height, page))


def lines(document: dict[str, Any], width: int, height: int, page: int = 0) -> list[Text]:
    """Return at most `height` lines for a terminal of `width` columns."""
    head = [_header(document), _second(document)]
    reports = _reports(document)[:REPORT_LINES]
    faults = _faults(document)
    driven = [*_strings(document), *_limits(document), *_outlook(document['outlook'])]
    room = (
        height - len(head) - len(reports) - len(driven) - 5
    )  # a line of ages, and empty lines between the parts
    most = max(3, room // 3)
    if len(faults) > most:
        hidden = len(faults) - most + 1
        faults = [*faults[: most - 1], Text(f' and {hidden} more', style=DIM)]
    told = cells(document['modules'], width, max(4, room - len(faults)), page)
    parts = [head, faults, driven, told, [*reports, _footer(document)]]
    shown = [line for part in parts if part for line in (*part, Text())][:-1]
    for line in shown:
        line.no_wrap, line.overflow = True, 'ellipsis'
    return shown[: max(1, height)]


def _header(document: dict[str, Any]) -> Text:
    pack, battery = document['pack'], document['battery']
    stale = DIM if battery['stale'] else ''
    line = Text()
    line.append(f' {plain(pack["name"]) if pack else "(protection not heard)"} ', style='bold')
    state = (pack and pack['state']) or 'UNKNOWN'
    late = pack is None or pack['stale']
    line.append(f' {plain(state)} ', style=OTHER_STATE if late else STATES.get(state, OTHER_STATE))
    line.append('  SOC ')
    soc = battery['soc']
    line.append_text(gauge(percent(soc), soc, 16, soc_colour(soc), battery['stale']))
    line.append(f'  {value(battery["voltage"], ".2f", " V")}', style=stale or 'bold')
    line.append(f'  {value(battery["current"], "+.1f", " A")}', style=stale or 'bold')
    line.append(f'  {value(battery["power"], "+.0f", " W")}', style=stale)
    line.append(f'  {value(battery["temperature"], ".1f", " °C")}', style=stale)
    return line


def _second(document: dict[str, Any]) -> Text:
    """Return where this is, whether it is real, and how old it is."""
    line = Text()
    line.append(f' /{document["namespace"]}', style=DIM)
    simulated = document['simulation']
    if simulated is not None:
        line.append(f'   simulated: {plain(simulated["feed"])}', style='magenta')
        if simulated['time_scale'] not in (None, 1.0):
            line.append(f', {simulated["time_scale"]:g} times faster', style='magenta')
        if simulated['position'] is not None:
            line.append(f', at {period(simulated["position"])}', style='magenta')
        if simulated['faults']:
            line.append(f', broken: {plain(simulated["faults"])}', style='magenta')
    if document['contested']:
        line.append('   more than one protection speaks here', style='bold red')
    if document['age'] is not None and document['age'] > SILENT:
        line.append(f'   nothing heard for {period(document["age"])}', style='bold red')
        line.append(': has the graph ended?', style='bold red')
        return line
    for name, part in _parts(document):
        if part['age'] is None:
            line.append(f'   {name} not heard', style='bold red')
        elif part['stale']:
            line.append(f'   {name} silent {period(part["age"])}', style='bold red')
    return line


def _footer(document: dict[str, Any]) -> Text:
    """Return how long ago every part was heard, the oldest one where there are several."""
    several = {'cells': document['modules'], 'strings': document['strings']}
    parts = {
        'protection': document['pack'] or {'age': None},
        'limits': document['limits'],
        **{name: _oldest(those) for name, those in several.items()},
        'estimation': document['estimate'],
        'battery': document['battery'],
    }
    told = (f'{name} {value(part["age"], ".1f")}' for name, part in parts.items())
    return Text(f' heard {", ".join(told)} s ago', style=DIM)


def _oldest(parts: list[dict[str, Any]]) -> dict[str, Any]:
    ages = [part['age'] for part in parts]
    return {'age': None if not ages or None in ages else max(ages)}


def _parts(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    never = {'age': None, 'stale': True}
    return [
        ('protection', document['pack'] or never),
        ('estimation', document['estimate']),
        ('limits', document['limits']),
        *((f'string {plain(string["name"])}', string) for string in document['strings']),
    ]


def _strings(document: dict[str, Any]) -> list[Text]:
    if not document['strings']:
        return []
    title = f' {"string":<10} {"state":<16} −  p  +  {"voltage":>10}{"link":>10}{"current":>10}'
    return [Text(title, style=DIM), *(_string(string) for string in document['strings'])]


def _string(string: dict[str, Any]) -> Text:
    state = string['state'] or 'UNKNOWN'
    stale = DIM if string['stale'] else ''
    line = Text()
    line.append(f' {plain(string["name"]):<10.10} ', style='bold')
    line.append(f'{plain(state):<16.16} ', style=STRINGS.get(state, OTHER_STRING))
    for name in ('minus', 'precharge', 'plus'):
        contact = string[name] or 'unknown'
        style = {'closed': 'bold green', 'fault': 'bold red'}.get(contact, DIM)
        line.append(f'{CONTACTS[contact]}  ', style=style)
    line.append(f'{value(string["voltage"], ".2f"):>8} V', style=stale)
    line.append(f'{value(string["link_voltage"], ".2f"):>8} V', style=stale)
    line.append(f'{value(string["current"], "+.1f"):>8} A', style=stale)
    for wrong in (['interlock open'] if string['interlock'] == 'open' else []) + string['flags']:
        line.append(f'  {wrong}', style='bold red')
    if string['reason'] and state != 'CONNECTED':
        line.append(f'  {plain(string["reason"])}', style='yellow')
    if string['insulation'] is not None:
        line.append(f'  insulation {_resistance(string["insulation"])}', style=DIM)
    return line


def _resistance(ohm: float) -> str:
    return f'{ohm / 1e6:.1f} MΩ' if ohm >= 1e6 else f'{ohm / 1e3:.0f} kΩ'


def _limits(document: dict[str, Any]) -> list[Text]:
    current = document['battery']['current']
    return [
        _limit(document['limits'], 'charge', 'up to', current),
        _limit(document['limits'], 'discharge', 'down to', None if current is None else -current),
    ]


def _outlook(outlook: dict[str, Any]) -> list[Text]:
    """Return a line of what is left and what is possible; none before anything of it is known."""
    if outlook['energy'] is None and outlook['discharge_power'] is None:
        return []
    line = Text(f' left {value(outlook["energy"], ".0f", " Wh")}', style=DIM * outlook['stale'])
    line.append(f' (at least {value(outlook["energy_low"], ".0f")})')
    for name, word in (('time_to_empty', 'empty'), ('time_to_full', 'full')):
        if outlook[name] is not None:
            line.append(f'  {word} in {period(outlook[name])}')
    can = [value(outlook[f'{way}_power'], '.0f', ' W') for way in ('charge', 'discharge')]
    line.append(f'  10 s: in {can[0]}, out {can[1]}')
    if outlook['soh'] is not None:
        line.append(f'  SOH {percent(outlook["soh"])}')
    return [line]


def _limit(limits: dict[str, Any], way: str, until: str, flowing: float | None) -> Text:
    """Return what is allowed one way, how much of it is used, and why it is not more."""
    allowed, voltage = limits[f'{way}_current'], limits[f'{way}_voltage']
    line = Text(f' may {way:<9} ')
    share = None
    if allowed is not None and flowing is not None:
        used = max(0.0, flowing)
        share = used / allowed if allowed > 0.0 else float(used > 0.0)
    colour = 'grey46' if share is None or share <= 1.0 else 'red3'
    line.append_text(gauge(value(allowed, '.1f', ' A'), share, LIMIT_BAR, colour, limits['stale']))
    line.append(f'  {until} {value(voltage, ".1f", " V")}', style=DIM if limits['stale'] else '')
    reason = limits[f'{way}_limited_by']
    if reason:
        line.append(f'   limited by {plain(reason)}', style='yellow')
    return line


def _faults(document: dict[str, Any]) -> list[Text]:
    faults = document['faults']
    if faults is None:
        return [Text(' faults are not known: protection is silent', style='bold red')]
    if not faults:
        return [Text(' no faults', style='green')]
    return [_fault(fault) for fault in faults]


def _fault(fault: dict[str, Any]) -> Text:
    active = fault['active']
    level, name = fault['level'], fault['name']
    line = Text(' ')
    line.append(f' {level or "???":<3} ', style=LEVELS.get(level, ''))
    line.append(f' {"active" if active else "latched":<7}', style='bold' if active else DIM)
    line.append(f'{period(fault["lasted"]):>7}  ', style=DIM)
    text = plain(fault['text']).replace(f'{name} {level} ', f'{name} ', 1)  # told already
    return line.append(text, style='default' if active else DIM)


def _reports(document: dict[str, Any]) -> list[Text]:
    """Return a line per bus, and one for everything else that is not well; the worst first."""
    silent = {module['name'] for module in document['modules'] if trouble(module)}
    rows: list[tuple[int, Text]] = []
    for report in document['reports']:
        name = report['name'].partition(': ')[2] or report['name']
        is_bus = name.startswith('bus ')
        if report['level'] == 'OK' and not is_bus:
            continue
        if name.removeprefix('module ') in silent:  # its cells tell so
            continue
        rows.append((('ERROR', 'WARN', 'STALE', 'OK').index(report['level']), _report(report)))
    return [line for _, line in sorted(rows, key=lambda row: row[0])]


def _report(report: dict[str, Any]) -> Text:
    node, _, name = report['name'].rpartition(': ')
    line = Text()
    line.append(f' {report["level"]:<5} ', style=LEVELS.get(report['level'], DIM))
    line.append(
        f'{plain(name)}: ' if name.startswith('bus ') else f'{plain(node)}, {plain(name)}: '
    )
    if report['level'] == 'STALE':
        return line.append(f'no report for {period(report["age"])}', style=DIM)
    line.append(plain(report['text']))
    frames = _count(report, ('frames',))
    if frames is not None:
        line.append(f', {frames:,} frames', style=DIM)
        for label, names in (('refused', REFUSED), *((name, (name,)) for name in COUNTED)):
            if number := _count(report, names):
                line.append(f', {number:,} {label}', style='yellow')
    return line


def _count(report: dict[str, Any], names: tuple[str, ...]) -> int | None:
    """Return the sum of those counters that the report has."""
    found = [report['values'][name] for name in names if name in report['values']]
    counts = [int(text) for text in found if text.isascii() and text.isdigit()]
    return sum(counts) if counts else None
