# SPDX-License-Identifier: Apache-2.0
"""What scripts read: nothing old is told as new, nothing unknown as a number."""

import json
from types import SimpleNamespace

import pytest
from status_samples import NAN, cells, fault, limits, measurement, report, snapshot, state

from dbms_monitor.document import document
from dbms_monitor.snapshot import Snapshot


def test_a_healthy_pack_is_told_whole():
    told = document(snapshot(), 100.5)
    assert told['pack']['state'] == 'CONNECTED'
    assert told['battery']['power'] == -240.0
    assert [module['name'] for module in told['modules']] == ['m1', 'm2']
    assert told['modules'][0]['cells'][1] == {
        'voltage': 3.71, 'soc': 0.8, 'soc_sigma': 0.01, 'bleeding': False,
    }  # fmt: skip
    assert told['strings'][0]['minus'] == 'closed'
    assert told['strings'][0]['insulation'] is None
    assert told['faults'] == []
    assert told['reports'][0]['values'] == {'frames': '1200'}


def test_what_is_old_is_not_told():
    told = document(snapshot(now=100.0), 110.0)
    assert told['pack']['state'] is None
    assert told['pack']['age'] == 10.0
    assert told['battery']['voltage'] is None
    assert told['limits']['charge_current'] is None
    assert told['strings'][0]['current'] is None
    assert told['strings'][0]['minus'] is None
    assert all(c['voltage'] is None and c['soc'] is None for c in told['modules'][0]['cells'])
    assert told['modules'][0]['temperatures'] == [None, None]
    assert told['faults'] is None  # not known, which is not none
    assert told['reports'][0]['level'] == 'STALE'


def test_limits_end_when_they_say_so():
    known = snapshot()
    known.put('limits', limits(), 98.4)
    assert document(known, 100.0)['limits']['discharge_current'] is None


@pytest.mark.parametrize('bad', [NAN, float('inf'), -float('inf')])
def test_no_number_is_null_and_stays_json(bad):
    known = snapshot()
    known.put_module('m1', cells([bad, 3.7, 3.7, 3.7], temperatures=[bad]), 100.0)
    known.put_string('a', measurement(current=bad), 100.0)
    told = json.loads(json.dumps(document(known, 100.0), allow_nan=False))
    assert told['modules'][0]['cells'][0]['voltage'] is None
    assert told['modules'][0]['temperatures'] == [None]
    assert told['strings'][0]['current'] is None


def test_bleeding_flags_and_faults_are_named():
    known = snapshot()
    known.put_module('m1', cells([3.7] * 4, bleeding=0b0100, status=1 | 65536), 100.0)
    known.put('faults', SimpleNamespace(faults=[fault()]), 100.0)
    told = document(known, 100.0)
    assert [cell['bleeding'] for cell in told['modules'][0]['cells']] == [
        False,
        False,
        True,
        False,
    ]
    assert told['modules'][0]['flags'] == ['open wire', 'scans lost']
    assert told['faults'][0]['level'] == 'MSL'
    assert told['faults'][0]['since'] == 100.5


def test_modules_come_in_the_order_of_the_pack():
    known = snapshot(modules=12, size=1)
    known.put_module('aft', cells([3.7]), 100.0)
    names = [module['name'] for module in document(known, 100.0)['modules']]
    assert names == [*(f'm{number}' for number in range(1, 13)), 'aft']


def test_reports_of_another_pack_are_not_ours():
    known = snapshot()
    known.put_diagnostics(SimpleNamespace(status=[report('/aft/driver: bus main')]), 100.0)
    assert len(known.reports) == 1


def test_an_empty_graph_is_not_found():
    told = document(Snapshot('battery'), 5.0)
    assert told['found'] is False
    assert told['pack'] is None
    assert json.dumps(told, allow_nan=False)


def test_a_module_that_was_never_heard_is_there_without_values():
    known = snapshot()
    known.modules['m3'] = None
    assert not known.complete
    assert document(known, 100.0)['modules'][2]['age'] is None


def test_a_string_is_told_though_protection_is_silent():
    known = snapshot()
    known.put('state', state(), 0.0)
    (told,) = document(known, 100.0)['strings']
    assert told['state'] is None
    assert told['current'] == -5.0
