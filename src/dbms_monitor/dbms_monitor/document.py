# SPDX-License-Identifier: Apache-2.0
"""A snapshot as one plain document: what scripts read, and what the view draws.

    {"version": 1, "namespace", "found",
     "pack": {"name", "digest", "state", "last_command", "age"} or null,
     "battery": {"voltage", "current", "soc", "power", "temperature", "charge", "capacity", "age"},
     "limits": {"charge_current", "discharge_current", "charge_voltage", "discharge_voltage",
                "charge_limited_by", "discharge_limited_by", "age"},
     "strings": [{"name", "state", "reason", "voltage", "link_voltage", "current", "minus",
                  "precharge", "plus", "interlock", "lease_held", "insulation", "age"}],
     "modules": [{"name", "age", "serial", "flags": [], "temperatures": [],
                  "cells": [{"voltage", "soc", "soc_sigma", "bleeding"}]}],
     "faults": [{"level", "name", "string", "module", "cell", "sensor", "value", "limit", "unit",
                 "active", "latched", "since", "text"}], or null if protection is silent
     "reports": [{"name", "level", "text", "values": {}, "age"}]}

Units are those of dbms_msgs: V, A, W, degC, Ah, Ohm, SOC 0..1, s; `since` is seconds since 1970.
What is not measured, or too old to be true, is null; `age` tells how old it is.
"""

import math
from collections.abc import Iterable
from typing import Any

from .snapshot import Heard, Snapshot

VERSION = 1
STALE = 2.0  # s, older measurements and estimates are no longer told
STATE_STALE = 3.0  # s, protection repeats its state twice per second
REPORT_STALE = 5.0  # s, reports come once per second
CONTACTS = ('unknown', 'open', 'closed', 'fault')
INTERLOCK = ('unknown', 'closed', 'open')
LEVELS = ('', 'MOL', 'RSL', 'MSL')
REPORT_LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')
FLAGS = {
    1: 'open wire',
    2: 'self-test failed',
    4: 'reference failed',
    8: 'board hot',
    16: 'rebooted',
    32: 'bleed refused',
    65536: 'scans lost',
    131072: 'frames refused',
}


def document(snapshot: Snapshot, now: float) -> dict[str, Any]:
    """Return the document; `now` in s on the clock of the snapshot."""
    names = list(snapshot.modules)
    if snapshot.estimate is not None:  # it knows the order of the pack
        order = list(snapshot.estimate.message.modules)
        names.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
    soc = _estimates(snapshot, now)
    return {
        'version': VERSION,
        'namespace': snapshot.namespace,
        'found': snapshot.found,
        'pack': _pack(snapshot.state, now),
        'battery': _battery(snapshot.battery, now),
        'limits': _limits(snapshot.limits, now),
        'strings': _strings(snapshot, now),
        'modules': [_module(name, snapshot.modules[name], soc, now) for name in names],
        'faults': _faults(snapshot.faults, now),
        'reports': [_report(name, heard, now) for name, heard in snapshot.reports.items()],
    }


def number(value: Any) -> float | None:
    """Return a finite number rounded to what float32 holds, else None."""
    value = float(value)
    return float(f'{value:.7g}') if math.isfinite(value) else None


def _fresh(heard: Heard | None, now: float, limit: float) -> Any:
    return heard.message if heard is not None and heard.age(now) <= limit else None


def _age(heard: Heard | None, now: float) -> float | None:
    return None if heard is None else round(heard.age(now), 3)


def _numbers(message: Any, names: Iterable[tuple[str, str]]) -> dict[str, float | None]:
    return {
        key: None if message is None else number(getattr(message, name)) for key, name in names
    }


def _pack(heard: Heard | None, now: float) -> dict[str, Any] | None:
    if heard is None:
        return None
    fresh = _fresh(heard, now, STATE_STALE)
    return {
        'name': heard.message.pack,
        'digest': heard.message.pack_digest,
        'state': fresh.state_name if fresh is not None else None,
        'last_command': heard.message.last_command,
        'age': _age(heard, now),
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
    told: dict[str, Any] = _numbers(_fresh(heard, now, STALE), names)
    voltage, current = told['voltage'], told['current']
    known = voltage is not None and current is not None
    told['power'] = number(voltage * current) if known else None
    return {**told, 'age': _age(heard, now)}


def _limits(heard: Heard | None, now: float) -> dict[str, Any]:
    names = ('charge_current', 'discharge_current', 'charge_voltage', 'discharge_voltage')
    message = None if heard is None else _fresh(heard, now, heard.message.valid_for)
    told: dict[str, Any] = _numbers(message, ((name, name) for name in names))
    for name in ('charge_limited_by', 'discharge_limited_by'):
        told[name] = None if message is None else getattr(message, name)
    return {**told, 'age': _age(heard, now)}


def _strings(snapshot: Snapshot, now: float) -> list[dict[str, Any]]:
    state = _fresh(snapshot.state, now, STATE_STALE)
    driven = {string.name: string for string in state.strings} if state is not None else {}
    names = [*driven, *(name for name in snapshot.strings if name not in driven)]
    return [_string(name, driven.get(name), snapshot.strings.get(name), now) for name in names]


def _string(name: str, driven: Any, heard: Heard | None, now: float) -> dict[str, Any]:
    measured = _fresh(heard, now, STALE)
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
        told[contact] = CONTACTS[getattr(measured, contact)] if measured is not None else None
    told['interlock'] = INTERLOCK[measured.interlock] if measured is not None else None
    return {**told, 'age': _age(heard, now)}


def _estimates(snapshot: Snapshot, now: float) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return SOC and sigma of the cells of each module."""
    message = _fresh(snapshot.estimate, now, STALE)
    if message is None:
        return {}
    told, first = {}, 0
    for name, cells in zip(message.modules, message.module_cells, strict=True):
        where = slice(first, first + cells)
        told[name] = (
            [number(value) for value in message.soc[where]],
            [number(value) for value in message.soc_sigma[where]],
        )
        first += cells
    return told


def _module(
    name: str, heard: Heard | None, estimates: dict[str, tuple[list[Any], list[Any]]], now: float
) -> dict[str, Any]:
    last = None if heard is None else heard.message
    fresh = _fresh(heard, now, STALE)
    soc, sigma = estimates.get(name, ([], []))
    size = len(last.voltages) if last is not None else len(soc)
    pad = [None] * size
    cells = [
        {
            'voltage': None if fresh is None else number(fresh.voltages[index]),
            'soc': (soc or pad)[index] if index < len(soc or pad) else None,
            'soc_sigma': (sigma or pad)[index] if index < len(sigma or pad) else None,
            'bleeding': None if fresh is None else bool(fresh.bleeding >> index & 1),
        }
        for index in range(size)
    ]
    sensors = [] if last is None else list(last.temperatures)
    return {
        'name': name,
        'age': _age(heard, now),
        'serial': None if last is None else last.serial,
        'flags': [] if fresh is None else [t for bit, t in FLAGS.items() if fresh.status & bit],
        'temperatures': [None if fresh is None else number(value) for value in sensors],
        'cells': cells,
    }


def _faults(heard: Heard | None, now: float) -> list[dict[str, Any]] | None:
    message = _fresh(heard, now, STATE_STALE)
    if message is None:
        return None  # nobody knows: not the same as none
    return [
        {
            'level': LEVELS[fault.level],
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
            'since': fault.since.sec + round(fault.since.nanosec * 1e-9, 3),
            'text': fault.text,
        }
        for fault in message.faults
    ]


def _report(name: str, heard: Heard, now: float) -> dict[str, Any]:
    status = heard.message
    level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
    fresh = heard.age(now) <= REPORT_STALE
    return {
        'name': name,
        'level': REPORT_LEVELS[min(level, 3)] if fresh else 'STALE',
        'text': status.message,
        'values': {pair.key: pair.value for pair in status.values} if fresh else {},
        'age': _age(heard, now),
    }
