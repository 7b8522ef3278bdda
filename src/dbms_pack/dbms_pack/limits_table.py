# SPDX-License-Identifier: Apache-2.0
"""`./dbms check --limits`: every trigger of a pack with what it does and how long that takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from .filters import hidden_for, reference
from .limits import QUANTITIES, Level, Limit, LossRule, action_of, levels_of
from .model import Pack

# The cycle of protection confirms a debounce; its lease sets it where that is shorter.
CYCLE = 0.02  # s, parameter `rate` of the node at its default of 50 Hz
LIMITS_PERIOD = 0.1  # s, between calculations of the power limits
TICKS_PER_LEASE = 6
SHORTEST_PEAK = 2.0  # s, first horizon of the peak limits
_LEGEND = """\
for: the debounce, ~: a leaking one; back: the hysteresis
total: s from the first bad sample to the warning, the lowered limits, or
contactors that have opened, at most; what is a mean over time counts from a
step to twice the limit, or to what the over-current opens at if that is less
open: at once; leave: announced, limits to zero, open after the grace at most
*: stays until reset_faults; **: its reason must name the fault"""


@dataclass(frozen=True)
class Row:
    """One trigger of a pack at one level."""

    quantity: str
    unit: str
    place: str
    level: str
    at: str
    debounce: str
    hysteresis: float
    latch: str
    action: str
    total: float  # s, from the first bad sample to the end of the action, at most
    filter: float  # s of it, until what it is filtered with shows a step to twice the limit


def rows(pack: Pack) -> Iterator[Row]:
    """Yield a row per trigger and level, in the order of the catalogue, worst level last."""
    for key, levels in levels_of(pack.limits).items():
        quantity = QUANTITIES[key]
        for level, limit in sorted(levels.items()):
            action = action_of(key, level, limit)
            hidden = hidden_for(pack, key, limit.at, reference(pack, key, limit))
            yield Row(
                quantity=key,
                unit=quantity.unit,
                place=quantity.place,
                level=level.name,
                at=_at(quantity.under, quantity.unit, limit),
                debounce=_debounce(limit),
                hysteresis=limit.hysteresis,
                latch=_latch(limit),
                action=_says(pack, key, action, limit),
                total=_total(pack, level, limit, action) + hidden,
                filter=hidden,
            )


def _at(under: bool, unit: str, limit: Limit) -> str:
    lines = [f'{"<=" if under else ">="} {limit.at:g} {unit if unit != "1" else ""}'.rstrip()]
    if limit.by_temperature is not None:
        pairs = zip(*limit.by_temperature, strict=True)
        lines += [f'{at:g} at {celsius:g} degC' for celsius, at in pairs]
    lines += [f'{at:g} in {state}' for state, at in limit.by_state.items()]
    return '\n'.join(lines)


def _debounce(limit: Limit) -> str:
    return f'{limit.debounce:g}' + (f' leak {limit.leak:g}' if limit.leak else '')


def _shortly(debounce: str) -> str:
    seconds, leaks, _ = debounce.partition(' leak')
    return f'{"~" if leaks else ""}{seconds} s'


def _latch(limit: Limit) -> str:
    if not limit.latch:
        return 'no'
    return 'until reset' + (', named' if limit.reset == 'named' else '')


def _says(pack: Pack, key: str, action: str, limit: Limit) -> str:
    if action == 'derate' and key in ('overcurrent_charge', 'overcurrent_discharge'):
        # Peaks are allowed as long as they make no warning; beyond the RSL there are none.
        warns = getattr(pack.limits, key)[Level.MOL].debounce
        return 'no peaks' if warns >= SHORTEST_PEAK else 'warn'
    if action == 'derate':
        return 'limits fall' if limit.derate is None else f'limits x {limit.derate:g}'
    return action


def _total(pack: Pack, level: Level, limit: Limit, action: str) -> float:
    """Return the s from the first bad sample to the end of the action, of the slowest string.

    A debounce ends with a cycle of protection. Contactors have opened when their feedback is
    due; announced, the grace is waited for before, at most.
    """
    units = [string.contactors for string in pack.strings]
    cycle = min(CYCLE, min(unit.lease for unit in units) / TICKS_PER_LEASE)
    decided = limit.debounce + (cycle if limit.debounce else 0.0)
    if level is Level.MOL:
        return decided
    if level is Level.RSL:
        return decided + LIMITS_PERIOD
    grace = (lambda unit: unit.grace) if action == 'leave' else (lambda unit: 0.0)
    return decided + max(grace(unit) + unit.feedback_timeout for unit in units)


def unguarded(pack: Pack) -> list[str]:
    """Return the quantities that the pack could limit and does not."""
    known = {*levels_of(pack.limits)}
    if not any(module.redundant for module in pack.modules):
        known.add('temperature_mismatch')  # nothing measures anything twice
    return [key for key in QUANTITIES if key not in known]


def as_json(pack: Pack) -> dict[str, Any]:
    """Return the table as plain data."""
    return {'triggers': [vars(row) for row in rows(pack)], 'unguarded': unguarded(pack)}


def render(pack: Pack) -> RenderableType:
    """Return the table for a terminal."""
    table = Table(
        title=f'Triggers of {pack.name}', title_justify='left', box=None, padding=(0, 1, 0, 0)
    )
    for name in ('quantity', '', 'at', 'for', 'back', 'action', 'total'):
        right = name in ('for', 'back', 'total')
        table.add_column(name, justify='right' if right else 'left', no_wrap=True)
    for _, group in groupby(rows(pack), key=lambda row: row.quantity):
        levels = list(group)
        names = [levels[0].quantity, f'  of each {levels[0].place}', '']
        if len(levels) == 1:
            names = [f'{names[0]}\n{names[1]}']
        for name, row in zip(names, levels, strict=False):
            star = {'no': '', 'until reset': ' *'}.get(row.latch, ' **')
            style = {'MSL': 'bold', 'MOL': 'dim'}.get(row.level, '')
            table.add_row(
                name, row.level, row.at, _shortly(row.debounce), f'{row.hysteresis:g}',
                row.action + star, f'{row.total:.2f}', style=style,
            )  # fmt: skip
    table.caption = _LEGEND
    table.caption_justify = 'left'
    return Group(table, *_losses(pack), *_derating(pack), *_missing(pack), '')


def _losses(pack: Pack) -> Iterator[str]:
    """Say how long losses take: what is not there gives no sample to count from."""
    units = [string.contactors for string in pack.strings]
    slowest = max(unit.grace + unit.feedback_timeout for unit in units)
    limits = pack.limits
    for name, rule in (('module_lost', limits.module_lost), ('string_lost', limits.string_lost)):
        total = rule.timeout + rule.open_after + CYCLE + slowest
        yield (
            f'[bold]{name}[/bold]: silent for {rule.timeout:g} s: limits x {rule.derate:g}; '
            f'open, announced, {rule.open_after:g} s later: {total:.2f} s after the last sample'
        )
        if rule is limits.module_lost:
            yield _bridge(rule, rule.timeout + CYCLE + slowest)
    for unit, string in zip(units, pack.strings, strict=True):
        late = unit.feedback_timeout + unit.lease
        charge = unit.precharge
        stands = 'its resistor is not counted'
        if charge.energy is not None:
            stands = f'its resistor stands {charge.energy:g} J and cools in {charge.cool_down:g} s'
        longest = charge.attempts * charge.timeout + (charge.attempts - 1) * charge.pause
        yield (
            f'[bold]precharge of {string.name}[/bold]: failed after {charge.attempts} attempts, '
            f'{longest:g} s; {stands}'
        )
        yield (
            f'[bold]contactors of {string.name}[/bold]: feedback or driver wrong: open at once '
            f'after {unit.feedback_timeout:g} to {late:g} s; protection gone: open after its '
            f'lease of {unit.lease:g} s'
        )


def _bridge(rule: LossRule, total: float) -> str:
    if rule.bridge is None:
        return '[yellow]  until then its cells are not watched: no bridge[/yellow]'
    return (
        f'  until then the string voltage keeps its cells within their limits by {rule.bridge:g} '
        f'to {2 * rule.bridge:g} V; without it: {total:.2f} s'
    )


def _derating(pack: Pack) -> Iterator[str]:
    """Say by what the limits fall before any level is reached; an estimate by its age of 5 s."""
    rules = pack.limits.derating
    if rules is None:
        return
    for way, soc, temperature in zip(
        ('charge', 'discharge'), rules.soc, rules.temperature, strict=True
    ):
        for name, table in (('SOC', soc), ('temperature', temperature)):
            if table is not None:
                points = ', '.join(
                    f'x {factor:g} at {at:g}' for at, factor in zip(*table, strict=True)
                )
                yield f'[bold]{way} limit by {name}[/bold]: {points}; within {LIMITS_PERIOD:g} s'
    if rules.power:
        yield '[bold]limits by estimated power[/bold]: within 0.1 s of the estimate'


def _missing(pack: Pack) -> Iterator[str]:
    missing = unguarded(pack)
    if missing:
        yield f'[yellow]not guarded: {", ".join(missing)}[/yellow]'
        yield '  give each its levels under limits, or name a limit set: docs/packs.md'
