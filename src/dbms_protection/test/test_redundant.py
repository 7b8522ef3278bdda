# SPDX-License-Identifier: Apache-2.0
"""Temperature sensors that measure the same spot are held against each other."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from more_rig import trigger
from protection_rig import Rig, make_limits, make_pack

from dbms_pack import Level
from dbms_protection.contactors import State
from dbms_protection.signals import Redundant

NAN = math.nan
KEY = 'temperature_mismatch'


def rig_of(*groups):
    limits = make_limits(more={KEY: trigger(KEY)})
    pack = make_pack(temperatures=4, limits=limits)
    [string] = pack.strings
    modules = (replace(string.modules[0], redundant=groups), string.modules[1])
    rig = Rig(replace(pack, strings=(replace(string, modules=modules),))).activate()
    rig.connect()
    return rig


def told(rig, level):
    return {str(fault.place): fault.text for fault in rig.guard.book.active()
            if (fault.name, fault.level) == (KEY.upper(), level)}  # fmt: skip


@pytest.mark.parametrize('values', [[NAN] * 4, [20.0, NAN, 40.0, 40.0], [20.0, 20.0, NAN, 90.0]])
def test_what_is_not_measured_is_apart_from_nothing(values):
    same = Redundant([(1, 2), (3, 4)])
    assert math.isnan(same.worst(np.array(values, np.float32)))


def test_a_sensor_that_goes_missing_does_not_end_what_was_there():
    rig = rig_of((1, 2))
    rig.temperatures[0][1] = 35.0
    rig.run(0.3)
    rig.temperatures[0][0] = NAN
    rig.run(0.3)
    assert 'module a1' in told(rig, Level.RSL)


def test_of_two_both_are_named_and_the_limits_fall():
    rig = rig_of((3, 4), (1, 2))
    before = rig.guard.limits.discharge_current
    rig.temperatures[0][1] = 35.0
    rig.run(0.3)
    said = told(rig, Level.RSL)['module a1']
    assert said.endswith('sensors 1 and 2 at the same spot differ by 10.0 K')
    assert rig.state() is State.CONNECTED
    assert rig.guard.limits.discharge_current == pytest.approx(0.4 * before)
    assert rig.guard.limits.discharge_limited_by == 'TEMPERATURE_MISMATCH RSL module a1'
    rig.temperatures[0][1] = 25.0
    rig.run(0.3)
    assert told(rig, Level.RSL) == told(rig, Level.MOL) == {}


def test_of_three_the_odd_one_is_named():
    rig = rig_of((1, 3, 4))
    rig.temperatures[0][3] = 35.0
    rig.run(0.3)
    said = told(rig, Level.RSL)['module a1']
    assert said.endswith('sensor 4 is 10.0 K off the others at the same spot')


def test_sensors_of_other_spots_may_differ():
    rig = rig_of((1, 2))
    rig.temperatures[0][2:] = 45.0
    rig.temperatures[1][0] = 48.0
    rig.run(0.3)
    assert told(rig, Level.MOL) == {}


def test_all_warm_together_are_no_mismatch_and_a_pack_without_such_sensors_judges_none():
    for rig in (rig_of((1, 2, 3, 4)), rig_of()):
        for degrees in (25.0, 35.0, 45.0):
            for values in rig.temperatures:
                values[:] = degrees
            rig.run(0.2)
        assert told(rig, Level.MOL) == {}


@given(st.permutations([1, 2, 3, 4, 5]), st.floats(-40.0, 80.0), st.floats(5.0, 60.0))
def test_the_odd_one_is_found_whichever_it_is(order, common, off):
    values = np.full(6, common, np.float32)
    values[order[0] - 1] += np.float32(off)
    same = Redundant([order[:3]])
    assert same.worst(values) == pytest.approx(off, abs=1e-3)
    assert same.said.startswith(f'sensor {order[0]} is')
