# SPDX-License-Identifier: Apache-2.0
"""What scripts read: nothing old is told as new, nothing unknown as a number."""

import json
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from status_samples import (
    NAN,
    cells,
    estimate,
    fault,
    faults,
    limits,
    measurement,
    report,
    snapshot,
    state,
    string,
    tell,
)

from dbms_monitor.document import document
from dbms_monitor.snapshot import Snapshot
from dbms_monitor.view import lines

NUMBER, TEXT = {'type': ['number', 'null']}, {'type': ['string', 'null']}
NUMBERS, TEXTS = {'type': 'array', 'items': NUMBER}, {'type': 'array', 'items': TEXT}
AGES = {'age': NUMBER, 'stale': {'type': 'boolean'}}
FLAG = {'type': ['boolean', 'null']}


def an(properties, kind='object'):
    """Return the schema of an object with exactly these keys."""
    return {
        'type': kind,
        'properties': properties,
        'required': list(properties),
        'additionalProperties': False,
    }


def some(properties, kind='array'):
    return {'type': kind, 'items': an(properties)}


BATTERY = ('voltage', 'current', 'soc', 'power', 'temperature', 'charge', 'capacity')
OUTLOOK = (
    'soh', 'charge_power', 'discharge_power', 'energy', 'energy_low', 'time_to_empty',
    'time_to_empty_low', 'time_to_full',
)  # fmt: skip
LIMITS = ('charge_current', 'discharge_current', 'charge_voltage', 'discharge_voltage')
SCHEMA = an({
    'version': {'const': 1},
    'namespace': {'type': 'string'},
    'found': {'type': 'boolean'},
    'age': NUMBER,
    'contested': {'type': 'boolean'},
    'simulation': an(
        {'position': NUMBER, 'time_scale': NUMBER, 'feed': TEXT, 'faults': TEXT},
        ['object', 'null'],
    ),
    'pack': an(
        {'name': TEXT, 'digest': TEXT, 'state': TEXT, 'last_command': TEXT, **AGES},
        ['object', 'null'],
    ),
    'battery': an({**{name: NUMBER for name in BATTERY}, **AGES}),
    'limits': an({
        **{name: NUMBER for name in LIMITS},
        'charge_limited_by': TEXT, 'discharge_limited_by': TEXT, **AGES,
    }),
    'outlook': an({**{name: NUMBER for name in OUTLOOK}, **AGES}),
    'strings': some({
        'name': TEXT, 'state': TEXT, 'reason': TEXT, 'lease_held': FLAG, 'voltage': NUMBER,
        'link_voltage': NUMBER, 'current': NUMBER, 'insulation': NUMBER,
        'minus': {'enum': [None, 'unknown', 'open', 'closed', 'fault']},
        'precharge': TEXT, 'plus': TEXT,
        'interlock': {'enum': [None, 'unknown', 'closed', 'open']},
        'flags': TEXTS, **AGES,
    }),
    'estimate': an(AGES),
    'modules': some({
        'name': TEXT, 'serial': NUMBER, 'flags': TEXTS, 'voltages': NUMBERS, 'soc': NUMBERS,
        'soc_sigma': NUMBERS, 'temperatures': NUMBERS,
        'bleeding': {'type': 'array', 'items': {'type': 'integer', 'minimum': 1}}, **AGES,
    }),
    'faults': some({
        'level': {'enum': ['', 'MOL', 'RSL', 'MSL']}, 'name': TEXT, 'string': TEXT,
        'module': TEXT, 'cell': NUMBER, 'sensor': NUMBER, 'value': NUMBER, 'limit': NUMBER,
        'unit': TEXT, 'active': FLAG, 'latched': FLAG, 'since': NUMBER, 'lasted': NUMBER,
        'text': TEXT,
    }, ['array', 'null']),
    'reports': some({
        'name': TEXT, 'level': {'enum': ['OK', 'WARN', 'ERROR', 'STALE']}, 'text': TEXT,
        'values': {'type': 'object', 'additionalProperties': {'type': 'string'}}, 'age': NUMBER,
    }),
})  # fmt: skip


def told(known, now=100.0):
    """Return what a script would read; fails if the structure is not the documented one."""
    read = json.loads(json.dumps(document(known, now), allow_nan=False))
    jsonschema.validate(read, SCHEMA)
    return read


def test_a_healthy_pack_is_told_whole():
    read = told(snapshot(), 100.5)
    assert read['pack']['state'] == 'CONNECTED'
    assert read['battery']['power'] == -240.0
    assert [module['name'] for module in read['modules']] == ['m1', 'm2']
    assert read['modules'][0]['voltages'] == [3.7, 3.71, 3.72, 3.73]
    assert read['modules'][1]['soc'] == [0.8] * 4
    assert read['strings'][0]['minus'] == 'closed'
    assert read['strings'][0]['insulation'] is None
    assert read['faults'] == []
    assert read['reports'][0]['values'] == {'frames': '1200'}
    assert read['simulation'] is None


def test_values_of_float32_are_told_in_their_own_digits():
    known = snapshot()
    known.put_module('m1', cells(np.array([3.9619, 3.7], dtype=np.float32)), 100.0)
    assert told(known)['modules'][0]['voltages'] == [3.9619, 3.7]


def test_what_is_late_is_stale_and_then_not_told():
    late = told(snapshot(), 101.0)
    assert late['modules'][0]['stale'] and late['modules'][0]['voltages'][0] == 3.7
    assert late['strings'][0]['stale'] and late['strings'][0]['current'] == -5.0
    gone = told(snapshot(), 110.0)
    assert gone['pack']['state'] is None
    assert gone['pack']['age'] == 10.0
    assert gone['battery']['voltage'] is None
    assert gone['limits']['charge_current'] is None
    assert gone['strings'][0]['current'] is None
    assert gone['strings'][0]['minus'] is None
    assert gone['modules'][0]['voltages'] == gone['modules'][0]['soc'] == [None] * 4
    assert gone['modules'][0]['temperatures'] == [None, None]
    assert gone['faults'] is None  # not known, which is not none
    assert gone['reports'][0]['level'] == 'STALE'


def test_a_slow_board_is_given_its_own_time_but_a_pause_makes_no_slow_board():
    known = snapshot(now=0.0)
    for at in (5.0, 10.0, 15.0):
        known.put_module('m1', cells([3.7] * 4), at)
    assert not told(known, 20.0)['modules'][0]['stale']
    assert told(known, 28.0)['modules'][0]['stale']
    assert told(known, 31.0)['modules'][0]['voltages'] == [None] * 4
    for at in (0.1, 20.0, 20.1):
        known.put_module('m2', cells([3.7] * 4), at)
    assert told(known, 21.0)['modules'][1]['stale']
    assert told(known, 23.0)['modules'][1]['voltages'] == [None] * 4


def test_however_slow_a_sender_is_nothing_very_old_is_told():
    known = snapshot(now=0.0)
    for at in (100.0, 200.0, 300.0):
        known.put_module('m1', cells([3.7] * 4), at)
    assert told(known, 331.0)['modules'][0]['voltages'] == [None] * 4


@pytest.mark.parametrize(('valid_for', 'current'), [(1.5, None), (2.0, 70.0), (NAN, None)])
def test_limits_end_when_they_say_so(valid_for, current):
    known = snapshot()
    message = limits()
    message.valid_for = valid_for
    known.put('limits', message, 98.4)
    assert told(known)['limits']['discharge_current'] == current


@pytest.mark.parametrize('bad', [NAN, float('inf'), -float('inf')])
def test_no_number_is_null_and_stays_json(bad):
    known = snapshot()
    known.put_module('m1', cells([bad, 3.7, 3.7, 3.7], temperatures=[bad]), 100.0)
    known.put_string('a', measurement(current=bad), 100.0)
    known.put('estimate', estimate(['m1', 'm2'], [bad] * 8), 100.0)
    read = told(known)
    assert read['modules'][0]['voltages'] == [None, 3.7, 3.7, 3.7]
    assert read['modules'][0]['temperatures'] == [None]
    assert read['modules'][1]['soc'] == [None] * 4
    assert read['strings'][0]['current'] is None


def test_bleeding_and_flags_are_named():
    known = snapshot()
    known.put_module('m1', cells([3.7] * 4, bleeding=0b0110, status=1 | 65536), 100.0)
    sensor = measurement()
    sensor.status = 1 | 16 | 1 << 30
    known.put_string('a', sensor, 100.0)
    read = told(known)
    assert read['modules'][0]['bleeding'] == [2, 3]
    assert read['modules'][0]['flags'] == ['open wire', 'scans lost']
    assert read['strings'][0]['flags'] == ['lease expired', 'over range']


def test_faults_come_worst_first_with_the_time_they_have_lasted():
    known = snapshot()
    some = [fault(1, 1, since=10), fault(3, 2, active=False), fault(3, 3), fault(2, 4)]
    known.put('faults', faults(*some, sent=160.0), 99.0)
    read = told(known)['faults']
    assert [one['cell'] for one in read] == [3, 2, 4, 1]
    assert read[0]['since'] == 100.5
    assert read[0]['lasted'] == 60.5  # sent a second ago


def test_codes_that_nobody_knows_are_no_exception():
    known = snapshot()
    sensor = measurement()
    sensor.minus, sensor.interlock = 9, 9
    known.put_string('a', sensor, 100.0)
    known.put('faults', faults(fault(level=9)), 100.0)
    tell(known, report('/battery/x: y', level=b'\x09'))
    read = told(known)
    assert read['strings'][0]['minus'] is None
    assert read['faults'][0]['level'] == ''


@pytest.mark.parametrize('sizes', [[4, 3], [4], [], [4, 5]])
def test_an_estimate_whose_arrays_do_not_fit_is_not_told(sizes):
    known = snapshot()
    bad = estimate(['m1', 'm2'], [0.8] * 8)
    bad.module_cells = sizes
    known.put('estimate', bad, 100.0)
    read = told(known)
    assert [module['soc'] for module in read['modules']] == [[None] * 4] * 2
    assert read['modules'][0]['voltages'][0] == 3.7


def test_an_estimate_of_a_module_of_another_size_is_not_told():
    known = snapshot()
    known.put_module('m1', cells([3.7] * 6), 100.0)
    assert told(known)['modules'][0]['soc'] == [None] * 6


def test_modules_come_in_the_order_of_the_pack_and_the_others_by_number():
    known = snapshot(modules=3, size=1)
    for name in ('x10', 'x9', 'aft'):
        known.put_module(name, cells([3.7]), 100.0)
    names = [module['name'] for module in told(known)['modules']]
    assert names == ['m1', 'm2', 'm3', 'aft', 'x9', 'x10']


def test_a_module_that_was_never_heard_is_there_without_values():
    known = snapshot()
    known.modules['m3'] = None
    assert not known.complete
    module = told(known)['modules'][2]
    assert (module['age'], module['stale'], module['voltages']) == (None, True, [])


def test_a_string_is_told_though_protection_is_silent():
    known = snapshot()
    known.put('state', state(), 0.0)
    (one,) = told(known)['strings']
    assert one['state'] is None
    assert one['current'] == -5.0


def test_a_string_that_is_not_measured_is_told_though():
    known = snapshot()
    known.put('state', state(strings=[string('a'), string('b', 'OPEN')]), 100.0)
    assert told(known)['strings'][1]['state'] == 'OPEN'
    assert told(known)['strings'][1]['current'] is None


def test_a_simulation_says_so():
    known = snapshot()
    tell(known, report('/battery/sim: simulation', position='61.50', time_scale='60', feed='x'))
    assert told(known)['simulation'] == {
        'position': 61.5, 'time_scale': 60.0, 'feed': 'x', 'faults': '',
    }  # fmt: skip
    tell(known, report('/battery/sim: simulation', position='soon', time_scale='nan'))
    assert told(known)['simulation']['position'] is None
    assert told(known, 106.0)['simulation'] is None


def test_reports_of_another_pack_are_not_ours():
    known = snapshot()
    tell(known, report('/aft/driver: bus main'), report('/battery2/driver: bus main'))
    assert len(known.reports) == 1


def test_a_snapshot_is_complete_when_all_who_report_have_reported():
    known = snapshot()
    known.reporters = {'driver', 'estimation'}
    assert not known.complete
    tell(known, report('/battery/estimation: inputs'))
    assert known.complete


def test_another_pack_in_the_same_namespace_leaves_nothing_of_the_old_one():
    known = snapshot(now=100.0)
    known.put_module('m9', cells([3.3]), 109.0)
    known.put('state', state(digest='def'), 110.0)
    assert list(known.modules) == ['m9']
    assert not known.strings and not known.reports and known.estimate is None


def test_two_protections_in_one_namespace_are_noticed_and_a_restart_is_none():
    known = snapshot(now=100.0)
    for step in range(20):  # one, restarted once
        known.put('state', state(sequence=step % 10 + 1), 100.0 + step / 2)
        assert not known.contested(100.0 + step / 2)
    for step in range(4):
        known.put('state', state(sequence=11 + step), 110.0 + step / 2)
        known.put('state', state(sequence=1 + step, digest='def'), 110.25 + step / 2)
    assert told(known, 112.0)['contested']
    assert not told(known, 120.0)['contested']


def test_an_empty_graph_is_not_found():
    read = told(Snapshot('battery'), 5.0)
    assert read['found'] is False
    assert read['pack'] is None and read['age'] is None


def test_what_is_left_is_told_with_its_worst():
    known = snapshot()
    assert told(known)['outlook'] == {**dict.fromkeys(OUTLOOK), 'age': None, 'stale': True}
    nan = float('nan')
    known.put('health', SimpleNamespace(soh=0.95), 90.0)
    known.put('power', SimpleNamespace(
        horizons=[2.0, 10.0, 30.0], charge_power=[3.0, 2.0, 1.0], discharge_power=[9.0, 8.0, nan],
    ), 99.5)  # fmt: skip
    known.put('energy', SimpleNamespace(
        energy=100.0, energy_low=80.0, time_to_empty=3600.0, time_to_empty_low=3000.0,
        time_to_full=nan,
    ), 99.5)  # fmt: skip
    read = told(known, 100.0)['outlook']
    assert (read['soh'], read['charge_power'], read['discharge_power']) == (0.95, 2.0, 8.0)
    assert (read['energy_low'], read['time_to_empty'], read['time_to_full']) == (80, 3600, None)
    shown = [line.plain for line in lines(document(known, 100.0), 120, 40)]
    line = ' left 100 Wh (at least 80)  empty in 1:00:00  10 s: in 2 W, out 8 W  SOH 95.0%'
    assert line in shown
    assert told(known, 140.0)['outlook']['energy'] is None
