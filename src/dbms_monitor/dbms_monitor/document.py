# SPDX-License-Identifier: Apache-2.0
"""A snapshot as one plain document: what scripts read, and what the view draws.

    {"version": 1, "namespace", "found", "age",
     "contested": true if more than one protection speaks in this namespace,
     "simulation": {"position", "time_scale", "feed", "faults"} or null,
     "pack": {"name", "digest", "state", "last_command", "age", "stale"} or null,
     "battery": {"voltage", "current", "soc", "power", "temperature", "charge", "capacity",
                 "age", "stale"},
     "limits": {"charge_current", "discharge_current", "charge_voltage", "discharge_voltage",
                "charge_limited_by", "discharge_limited_by", "age", "stale"},
     "outlook": {"soh", "charge_power", "discharge_power": for 10 s, "energy", "energy_low",
                 "time_to_empty", "time_to_empty_low", "time_to_full", "age", "stale"},
     "strings": [{"name", "state", "reason", "lease_held", "voltage", "link_voltage", "current",
                  "insulation", "minus", "precharge", "plus", "interlock", "flags": [],
                  "age", "stale"}],
     "estimate": {"age", "stale"},
     "modules": [{"name", "serial", "flags": [], "voltages": [], "soc": [], "soc_sigma": [],
                  "temperatures": [], "bleeding": [], "age", "stale"}],
     "faults": [{"level", "name", "string", "module", "cell", "sensor", "value", "limit", "unit",
                 "active", "latched", "since", "lasted", "text"}],
               worst first, or null if protection is silent
     "reports": [{"name", "level", "text", "values": {}, "age"}]}

Units are those of dbms_msgs: V, A, W, degC, Ah, Ohm, SOC 0..1, s. `since` is in seconds since
1970, `lasted` in seconds. `bleeding` lists numbers of cells, the first cell is 1.
What is not measured, or too old to be true, is null. `age` tells how old it is, `stale` that it
is older than it should be; a stale value is still told for a while before it becomes null.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .naming import natural
from .snapshot import Heard, Snapshot

VERSION = 1
MEASURED = 2.0  # s, older measurements and estimates are no longer told
TOLD = 3.0  # s, protection repeats its state twice per second
REPORTED = 5.0  # s, reports come once per second
LONGEST = 30.0  # s, nothing older than this is told, however slow its sender is
CONTACTS = ('unknown', 'open', 'closed', 'fault')
INTERLOCK = ('unknown', 'closed', 'open')
LEVELS = ('', 'MOL', 'RSL', 'MSL')
REPORT_LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')
MODULE_FLAGS = {
    1: 'open wire',
    2: 'self-test failed',
    4: 'reference failed',
    8: 'board hot',
    16: 'rebooted',
    32: 'bleed refused',
    65536: 'scans lost',
    131072: 'frames refused',
}
STRING_FLAGS = {
    1: 'lease expired',
    2: 'coil fault',
    4: 'supply low',
    8: 'sensor fault',
    16: 'over range',
    131072: 'frames refused',
}


def document(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """Return the document; `now` in s on the clock of the snapshot."""
    newest = snapshot.newest()
    return {
        'version': VERSION,
        'namespace': snapshot.namespace,
        'found': snapshot.found,
        'age': None if newest is None else round(now - newest, 3),
        'contested': snapshot.contested(now),
        'simulation': _simulation(snapshot.reports, now),
        'pack': _pack(snapshot.state, now),
        'battery': _battery(snapshot.battery, now),
        'limits': _limits(snapshot.limits, now),
        'outlook': _outlook(snapshot, now),
        'strings': _strings(snapshot, now),
        'estimate': _ages(snapshot.estimate, now, MEASURED),
        'modules': _modules(snapshot, now),
        'faults': _faults(snapshot.faults, now),
        'reports': [_report(name, heard, now) for name, heard in snapshot.reports.items()],
    }


def number(value: Any) -> float | None:
    """Return a finite number rounded to what float32 holds, else None."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    return float(f'{value:.7g}') if math.isfinite(value) else None


def numbers(values: Sequence[float]) -> list[float | None]:
    """Return volts, SOC or degC in steps of 1e-6, None for what is no number."""
    exact = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(exact)
    rounded: list[float | None] = np.round(exact, 6).tolist()
    if not finite.all():
        rounded = [one if known else None for one, known in zip(rounded, finite, strict=True)]
    return rounded


def _fresh(heard: Heard | None, now: float, limit: float) -> Any:
    """Return the message unless it is too old; a slow sender is given three of its periods."""
    if heard is None:
        return None
    limit = min(LONGEST, max(limit, 3 * heard.interval))
    return heard.message if heard.age(now) <= limit else None


def _ages(heard: Heard | None, now: float, limit: float) -> dict[str, Any]:
    if heard is None:
        return {'age': None, 'stale': True}
    age = heard.age(now)
    return {'age': round(age, 3), 'stale': age > max(limit / 4, 2 * heard.interval)}


def _word(words: Sequence[str], index: int) -> str | None:
    """Return the word of a code; None for a code that the messages do not know."""
    return words[index] if 0 <= index < len(words) else None


def _flags(words: dict[int, str], status: int) -> list[str]:
    return [text for bit, text in words.items() if status & bit]


def _numbers(message: Any, names: Iterable[tuple[str, str]]) -> dict[str, float | None]:
    return {
        key: None if message is None else number(getattr(message, name)) for key, name in names
    }


def _simulation(reports: dict[str, Heard], now: float) -> dict[str, Any] | None:
    status = _fresh(reports.get('sim: simulation'), now, REPORTED)
    if status is None:
        return None
    values = {pair.key: pair.value for pair in status.values}
    return {
        'position': number(values.get('position')),
        'time_scale': number(values.get('time_scale')),
        'feed': values.get('feed', ''),
        'faults': values.get('faults', ''),
    }


def _pack(heard: Heard | None, now: float) -> dict[str, Any] | None:
    if heard is None:
        return None
    fresh = _fresh(heard, now, TOLD)
    return {
        'name': heard.message.pack,
        'digest': heard.message.pack_digest,
        'state': fresh.state_name if fresh is not None else None,
        'last_command': heard.message.last_command,
        **_ages(heard, now, TOLD),
    }


def _battery(heard: Heard | None, now: float) -> dict[str, Any]:
    names = (
        ('voltage', 'voltage'),
        ('current', 'current'),
        ('soc', 'percentage'),
        ('temperature', 'temperature'),
        ('charge', 'charge'),
        ('capacity', 'capacity'),
    )
    told: dict[str, Any] = _numbers(_fresh(heard, now, MEASURED), names)
    voltage, current = told['voltage'], told['current']
    known = voltage is not None and current is not None
    told['power'] = number(voltage * current) if known else None
    return {**told, **_ages(heard, now, MEASURED)}


def _limits(heard: Heard | None, now: float) -> dict[str, Any]:
    names = ('charge_current', 'discharge_current', 'charge_voltage', 'discharge_voltage')
    message = None
    if heard is not None and heard.age(now) <= min(heard.message.valid_for, LONGEST):
        message = heard.message
    told: dict[str, Any] = _numbers(message, ((name, name) for name in names))
    for name in ('charge_limited_by', 'discharge_limited_by'):
        told[name] = None if message is None else getattr(message, name)
    return {**told, **_ages(heard, now, TOLD)}


def _outlook(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """Return what the pack has left and can do; `low` with two sigmas against it."""
    names = ('energy', 'energy_low', 'time_to_empty', 'time_to_empty_low', 'time_to_full')
    # Ageing is told every ten seconds and is true for days.
    health = snapshot.health.message if snapshot.health is not None else None
    power = _fresh(snapshot.power, now, TOLD)
    place = None if power is None else int(np.argmin(np.abs(np.asarray(power.horizons) - 10.0)))
    told: dict[str, Any] = {'soh': None if health is None else number(health.soh)}
    for name in ('charge_power', 'discharge_power'):
        told[name] = None if place is None else number(getattr(power, name)[place])
    told |= _numbers(_fresh(snapshot.energy, now, TOLD), ((name, name) for name in names))
    return {**told, **_ages(snapshot.energy, now, TOLD)}


def _strings(snapshot: Snapshot, now: float) -> list[dict[str, Any]]:
    state = _fresh(snapshot.state, now, TOLD)
    driven = {string.name: string for string in state.strings} if state is not None else {}
    others = sorted((name for name in snapshot.strings if name not in driven), key=natural)
    return [
        _string(name, driven.get(name), snapshot.strings.get(name), now)
        for name in (*driven, *others)
    ]


def _string(name: str, driven: Any, heard: Heard | None, now: float) -> dict[str, Any]:
    measured = _fresh(heard, now, MEASURED)
    names = (
        ('voltage', 'string_voltage'),
        ('link_voltage', 'link_voltage'),
        ('current', 'current'),
        ('insulation', 'insulation_resistance'),
    )
    told: dict[str, Any] = {
        'name': name,
        'state': driven.state_name if driven is not None else None,
        'reason': driven.reason if driven is not None else None,
        'lease_held': driven.lease_held if driven is not None else None,
        **_numbers(measured, names),
    }
    for contact in ('minus', 'precharge', 'plus'):
        told[contact] = None if measured is None else _word(CONTACTS, getattr(measured, contact))
    told['interlock'] = None if measured is None else _word(INTERLOCK, measured.interlock)
    told['flags'] = [] if measured is None else _flags(STRING_FLAGS, measured.status)
    return {**told, **_ages(heard, now, MEASURED)}


def _modules(snapshot: Snapshot, now: float) -> list[dict[str, Any]]:
    """Return all modules that were heard or estimated, in the order of the pack."""
    order = list(snapshot.estimate.message.modules) if snapshot.estimate is not None else []
    others = sorted(set(snapshot.modules).difference(order), key=natural)
    estimates = _estimates(snapshot.estimate, now)
    return [
        _module(name, snapshot.modules.get(name), estimates.get(name, ([], [])), now)
        for name in (*order, *others)
    ]


def _estimates(heard: Heard | None, now: float) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return SOC and sigma of the cells of each module; nothing if the arrays do not fit."""
    message = _fresh(heard, now, MEASURED)
    if message is None:
        return {}
    ends = np.cumsum(message.module_cells).tolist()
    cells = ends[-1] if ends else 0
    if (len(ends), cells, cells) != (
        len(message.modules), len(message.soc), len(message.soc_sigma),
    ):  # fmt: skip
        return {}
    soc, sigma = numbers(message.soc), numbers(message.soc_sigma)
    return {
        name: (soc[first:end], sigma[first:end])
        for name, first, end in zip(message.modules, [0, *ends[:-1]], ends, strict=True)
    }


def _module(
    name: str, heard: Heard | None, estimate: tuple[list[Any], list[Any]], now: float
) -> dict[str, Any]:
    last = None if heard is None else heard.message
    fresh = _fresh(heard, now, MEASURED)
    soc, sigma = estimate
    size = len(soc) if last is None else len(last.voltages)
    nothing = [None] * size
    if len(soc) != size:  # it tells of another module
        soc = sigma = nothing
    sensors = 0 if last is None else len(last.temperatures)
    bleeding = 0 if fresh is None else fresh.bleeding
    return {
        'name': name,
        'serial': None if last is None else last.serial,
        'flags': [] if fresh is None else _flags(MODULE_FLAGS, fresh.status),
        'voltages': nothing if fresh is None else numbers(fresh.voltages),
        'soc': soc,
        'soc_sigma': sigma,
        'temperatures': [None] * sensors if fresh is None else numbers(fresh.temperatures),
        'bleeding': [index + 1 for index in range(size) if bleeding >> index & 1],
        **_ages(heard, now, MEASURED),
    }


def _faults(heard: Heard | None, now: float) -> list[dict[str, Any]] | None:
    message = _fresh(heard, now, TOLD)
    if heard is None or message is None:
        return None  # nobody knows: not the same as none
    sent = _seconds(message.header.stamp)
    faults = [_fault(fault, sent + heard.age(now)) for fault in message.faults]
    return sorted(faults, key=lambda fault: (-_rank(fault), not fault['active'], fault['since']))


def _fault(fault: Any, now: float) -> dict[str, Any]:
    """Return a fault; `now` in s on the clock of the sender's stamps."""
    since = _seconds(fault.since)
    return {
        'level': _word(LEVELS, fault.level) or '',
        'name': fault.name,
        'string': fault.string_name,
        'module': fault.module,
        'cell': fault.cell,
        'sensor': fault.sensor,
        'value': number(fault.value),
        'limit': number(fault.limit),
        'unit': fault.unit,
        'active': fault.active,
        'latched': fault.latched,
        'since': round(since, 3),
        'lasted': round(max(0.0, now - since), 3),
        'text': fault.text,
    }


def _rank(fault: dict[str, Any]) -> int:
    return LEVELS.index(fault['level'])


def _seconds(stamp: Any) -> float:
    return float(stamp.sec + stamp.nanosec * 1e-9)


def _report(name: str, heard: Heard, now: float) -> dict[str, Any]:
    status = heard.message
    level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
    fresh = heard.age(now) <= REPORTED
    return {
        'name': name,
        'level': REPORT_LEVELS[max(0, min(level, 3))] if fresh else 'STALE',
        'text': status.message,
        'values': {pair.key: pair.value for pair in status.values} if fresh else {},
        'age': round(heard.age(now), 3),
    }
