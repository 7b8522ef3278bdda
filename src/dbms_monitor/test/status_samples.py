# SPDX-License-Identifier: Apache-2.0
"""Messages as plain objects, for tests that need no ROS."""

import math
from types import SimpleNamespace

from dbms_monitor.snapshot import Snapshot

NAN = math.nan


def cells(voltages, temperatures=(25.0, 26.0), bleeding=0, status=0):
    return SimpleNamespace(
        voltages=voltages, temperatures=temperatures, bleeding=bleeding, status=status, serial=7
    )


def string(name='a', state='CONNECTED', reason='connected'):
    return SimpleNamespace(name=name, state_name=state, reason=reason, lease_held=True)


def state(name='CONNECTED', strings=None, digest='abc', sequence=0):
    return SimpleNamespace(
        pack='robot', pack_digest=digest, sequence=sequence, state_name=name, last_command='',
        strings=[string()] if strings is None else strings,
    )  # fmt: skip


def measurement(current=-5.0):
    return SimpleNamespace(
        string_voltage=48.0, link_voltage=47.9, current=current, insulation_resistance=NAN,
        minus=2, precharge=1, plus=2, interlock=1, status=0,
    )  # fmt: skip


def limits(charge=20.0, why=''):
    return SimpleNamespace(
        charge_current=charge, discharge_current=70.0, charge_voltage=53.0,
        discharge_voltage=40.0, charge_limited_by=why, discharge_limited_by='', valid_for=1.5,
    )  # fmt: skip


def stamp(seconds):
    return SimpleNamespace(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))


def faults(*some, sent=160.0):
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp(sent)), faults=list(some))


def fault(level=3, cell=4, active=True, since=100):
    return SimpleNamespace(
        level=level, name='CELL_OVERVOLTAGE', string_name='a', module='m1', cell=cell, sensor=0,
        value=4.3, limit=4.2, unit='V', active=active, latched=True,
        since=stamp(since + 0.5), text=f'CELL_OVERVOLTAGE cell {cell}',
    )  # fmt: skip


def estimate(modules, soc):
    return SimpleNamespace(
        modules=list(modules), module_cells=[len(soc) // len(modules)] * len(modules),
        soc=soc, soc_sigma=[0.01] * len(soc),
    )  # fmt: skip


def battery():
    return SimpleNamespace(
        voltage=48.0, current=-5.0, percentage=0.8, temperature=25.0, charge=10.0, capacity=NAN
    )


def report(name, level=b'\0', **values):
    pairs = [SimpleNamespace(key=key, value=value) for key, value in values.items()]
    return SimpleNamespace(name=name, level=level, message='up', values=pairs)


def snapshot(now=100.0, modules=2, size=4):
    """Return a healthy pack, heard at `now`."""
    known = Snapshot('battery')
    names = [f'm{number + 1}' for number in range(modules)]
    for name in names:
        known.put_module(name, cells([3.7 + 0.01 * index for index in range(size)]), now)
    known.put_string('a', measurement(), now)
    known.put('state', state(), now)
    known.put('faults', faults(), now)
    known.put('limits', limits(), now)
    known.put('battery', battery(), now)
    known.put('estimate', estimate(names, [0.8] * (modules * size)), now)
    tell(known, report('/battery/driver: bus main', frames='1200'), now=now)
    return known


def tell(known, *reports, now=100.0):
    known.put_diagnostics(SimpleNamespace(status=list(reports)), now)
