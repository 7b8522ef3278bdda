# SPDX-License-Identifier: Apache-2.0
"""Stuck values: what is missing and what is only sampled late first, then what is stuck."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from more_rig import trigger
from protection_rig import Rig, make_limits, make_pack

from dbms_protection.contactors import State
from dbms_protection.signals import Stuck, middle

WHOLE = slice(0, 2)


def floats(*values):
    return np.array(values, dtype=np.float32)


def rig_with(key):
    limits = make_limits(more={key: trigger(key, debounce=0.5)})
    rig = Rig(make_pack(limits=limits)).activate()
    rig.connect()
    assert rig.state() is State.CONNECTED
    return rig


def stuck_places(rig):
    return {str(fault.place) for fault in rig.guard.book.listing() if 'STUCK' in fault.name}


def test_nothing_known_is_nothing_stuck():
    stuck = Stuck(2, 0.3, 2)
    for now in range(5):
        assert math.isnan(stuck.worst(WHOLE, floats(math.nan, 3.7), False, (3.7, 9.9), now))
    assert middle(floats(math.nan)) == (pytest.approx(math.nan, nan_ok=True),) * 2
    assert middle(floats()) == (pytest.approx(math.nan, nan_ok=True),) * 2


def test_resting_cells_are_not_stuck_when_their_string_is_measured_later():
    """A load ends; the boards see it at once, the sensor of the string a period later."""
    rig = rig_with('voltage_stuck')
    for array in rig.voltages:
        array[:] = 3.0
    rig.units[0].voltage = 8 * 3.0
    rig.run(0.3)
    for array in rig.voltages:
        array[:] = 3.7  # and not another digit from now on
    rig.run(0.2)
    rig.units[0].voltage = 8 * 3.7
    rig.run(5.0)
    assert stuck_places(rig) == set()


def test_a_cell_that_stays_through_the_next_step_is_stuck():
    rig = rig_with('voltage_stuck')
    for volts in (3.7, 3.4):
        for array in rig.voltages:
            array[:] = volts
        rig.voltages[1][2] = 3.7
        rig.units[0].voltage = 8 * volts
        rig.run(1.0)
    assert stuck_places(rig) == {'module a2 cell 3'}


def test_resting_cells_are_not_stuck_when_another_one_collapses():
    rig = rig_with('voltage_stuck')
    for step in range(12):
        rig.voltages[0][1] = 3.7 - 0.08 * step
        rig.units[0].voltage = 7 * 3.7 + float(rig.voltages[0][1])
        rig.run(0.5)
    assert stuck_places(rig) == set()


def test_sensors_beside_one_that_runs_away_are_not_stuck():
    rig = rig_with('temperature_stuck')
    for celsius in range(25, 90, 5):
        rig.temperatures[0][0] = celsius
        rig.run(1.0)
    assert stuck_places(rig) == set()


def test_a_module_that_warms_up_alone_leaves_the_others_as_they_are():
    rig = rig_with('temperature_stuck')
    for celsius in range(25, 45, 2):
        rig.temperatures[0][:] = celsius
        rig.run(1.0)
    assert stuck_places(rig) == set()


def test_a_sensor_that_stays_while_most_move_is_stuck():
    rig = rig_with('temperature_stuck')
    for celsius in range(25, 36):
        rig.temperatures[0][:] = celsius
        rig.temperatures[1][0] = celsius
        rig.run(2.0)
    assert stuck_places(rig) == {'module a2 temperature sensor 2'}


@given(
    levels=st.lists(st.floats(2.5, 4.25, width=32), min_size=1, max_size=12),
    late=st.integers(0, 2),
)
def test_what_follows_its_reference_late_is_never_stuck(levels, late):
    """A value that changes with every step of its reference, seen up to two scans later."""
    stuck = Stuck(2, 0.3)
    shown = [levels[0]] * late + [level for level in levels for _ in range(5)]
    for scan, reference in enumerate(shown):
        value = np.float32(levels[min(scan // 5, len(levels) - 1)])
        before = scan // 5 and levels[min(scan // 5, len(levels) - 1) - 1] == value
        distance = stuck.worst(WHOLE, floats(value, value), True, (reference,), 0.1 * scan)
        if before:
            return  # the same level twice: nothing has moved, as of one that is stuck
        assert distance <= 1e-6
