# SPDX-License-Identifier: Apache-2.0
"""Cells that are not measured: what cannot be bridged first, then what can, and for how long."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protection_rig import Rig, make_limits, make_pack

from dbms_pack import LossRule
from dbms_protection.contactors import State
from dbms_protection.localise import Localiser

NAN = math.nan
MARGIN = 0.05


def make_rig(open_after=30.0, bridge=MARGIN, **options):
    rule = LossRule(timeout=0.5, derate=0.5, open_after=open_after, bridge=bridge)
    rig = Rig(make_pack(limits=make_limits(module_lost=rule), **options)).activate()
    rig.connect()
    assert rig.state() is State.CONNECTED
    return rig


def set_cells(rig, volts):
    """Set every cell of the pack in V, also of boards that say nothing."""
    for array in rig.voltages:
        array[:] = volts
    rig.units[0].voltage = float(sum(array.sum() for array in rig.voltages))


def cause(rig, name):
    return next(fault.cause for fault in rig.guard.book.listing() if fault.name == name)


def bridged(rig):
    return {name for name in rig.names() if name[0].startswith('BRIDGE')}


# -- what cannot be bridged -----------------------------------------------------------------------


@pytest.mark.parametrize('voltage', [NAN, math.inf])
def test_without_a_string_voltage_nothing_is_bridged_and_the_string_leaves(voltage):
    rig = make_rig()
    rig.silent = {1}
    rig.run(1.0)
    assert rig.state() is State.CONNECTED
    rig.units[0].changes = {'string_voltage': voltage}
    rig.run(1.5)
    assert ('BRIDGE_LOST', 'MSL') in rig.names()
    assert rig.state() is State.FAULTED


def test_a_short_gap_of_the_string_voltage_is_no_reason_to_leave():
    rig = make_rig()
    rig.silent = {1}
    rig.run(1.0)
    rig.units[0].changes = {'string_voltage': NAN}
    rig.run(0.3)
    rig.units[0].changes = {}
    rig.run(2.0)
    assert rig.state() is State.CONNECTED
    assert bridged(rig) == set()


def test_the_rule_may_open_at_once():
    rig = make_rig(open_after=0.0)
    rig.silent = {1}
    rig.run(1.5)
    assert rig.state() is State.FAULTED


def test_with_contactors_open_there_is_nothing_to_bridge():
    rig = make_rig()
    rig.guard.command('disconnect', 'test', '', (), rig.now)
    rig.run(1.0)
    rig.silent = {1}
    rig.units[0].changes = {'string_voltage': NAN}
    rig.run(3.0)
    assert bridged(rig) == set()


def test_a_cell_at_zero_that_the_string_misses_too_is_no_wire():
    rig = make_rig()
    rig.voltages[0][1] = 0.0
    rig.units[0].voltage -= 3.7
    rig.run(1.0)
    assert ('CELL_UNDERVOLTAGE', 'MSL') in rig.names()


def test_a_cell_at_zero_beside_a_silent_board_is_taken_for_what_it_says():
    rig = make_rig()
    rig.silent = {1}
    rig.run(1.0)
    rig.voltages[0][1] = NAN
    rig.voltages[0][2] = 0.0
    rig.run(1.0)
    assert ('CELL_UNDERVOLTAGE', 'MSL') in rig.names()


# -- what can -------------------------------------------------------------------------------------


def test_a_silent_board_is_bridged_then_its_string_leaves():
    rig = make_rig(open_after=5.0)
    rig.silent = {1}
    rig.run(4.0)
    assert rig.names() == {('MODULE_LOST', 'RSL')}
    assert rig.guard.limits.discharge_current == pytest.approx(50.0)
    rig.run(3.0)
    assert ('MODULE_LOST', 'MSL') in rig.names()
    assert rig.state() is State.FAULTED


@pytest.mark.parametrize('volts, name', [(2.52, 'UNDER'), (4.19, 'OVER')])
def test_the_missing_cells_keep_their_limits_by_the_string_voltage(volts, name):
    rig = make_rig()
    rig.silent = {1}
    rig.run(1.0)
    rig.voltages[1][:] = volts  # nobody says so, but the string voltage
    rig.units[0].voltage = float(sum(array.sum() for array in rig.voltages))
    rig.run(1.5)
    assert (f'BRIDGED_{name}VOLTAGE', 'MSL') in rig.names()
    assert rig.state() is State.FAULTED


def test_limits_fall_by_what_the_missing_cells_are_at():
    rig = make_rig()
    set_cells(rig, 4.0)
    rig.run(1.0)
    rig.silent = {1}
    rig.run(1.0)
    before = rig.guard.limits.charge_current
    rig.voltages[1][:] = 4.1
    rig.units[0].voltage = float(sum(array.sum() for array in rig.voltages))
    rig.run(3.0)
    assert 0.0 < rig.guard.limits.charge_current < before


def test_the_weakest_of_the_missing_cells_counts():
    rig = make_rig()
    rig.voltages[1][0] = 3.4
    rig.units[0].voltage -= 0.3
    rig.run(6.0)
    rig.silent = {1}
    rig.run(1.0)
    low = rig.guard.judge.cells.bridged_low[1]
    assert 3.4 - 2 * MARGIN < low <= 3.4 - MARGIN + 0.01


def test_the_margin_of_a_bridge_doubles_until_its_string_leaves():
    """What nobody sees drifts apart: the longer it lasts, the less is sure."""
    rig = make_rig(open_after=10.0)
    rig.silent = {1}
    rig.run(1.0)
    low, high = rig.guard.judge.cells.bridged_low, rig.guard.judge.cells.bridged_high
    widths = []
    for _ in range(5):
        widths.append(float(high[1] - low[1]))
        rig.run(1.9)
    assert widths[0] == pytest.approx(2 * MARGIN, abs=0.02)
    assert widths[-1] == pytest.approx(4 * MARGIN, abs=0.06)
    assert np.all(np.diff(widths) > 0.005)


def test_an_open_sense_wire_is_named_and_its_two_cells_are_bridged():
    rig = make_rig()
    rig.voltages[0][1], rig.voltages[0][2] = 0.0, 7.4
    rig.run(3.0)
    assert rig.state() is State.CONNECTED
    assert rig.names() == {('CELL_NOT_MEASURED', 'RSL')}
    assert cause(rig, 'CELL_NOT_MEASURED') == 'the sense wire between cells 2 and 3 is off'
    rig.voltages[0][2] = 5.1  # the two are down together
    rig.units[0].voltage -= 2.3
    rig.run(2.0)
    assert rig.state() is State.FAULTED


def test_the_wire_above_the_topmost_cell_is_found_by_the_string_voltage():
    rig = make_rig()
    rig.voltages[0][3] = 0.0
    rig.run(3.0)
    assert rig.state() is State.CONNECTED
    assert rig.names() == {('CELL_NOT_MEASURED', 'RSL')}


def test_a_board_that_is_heard_again_ends_bridging():
    rig = make_rig()
    rig.silent = {1}
    rig.run(2.0)
    assert np.isfinite(rig.guard.judge.cells.bridged_low[1])
    rig.silent = set()
    rig.run(1.0)
    assert np.isnan(rig.guard.judge.cells.bridged_low).all()
    assert rig.names() == set()


def test_an_unheard_board_warms_up_with_its_current():
    rig = make_rig()
    rig.units[0].current = -80.0
    rig.silent = {1}
    rig.run(10.0)
    heat = rig.guard.judge.cells.temperature_high
    assert heat[0] == pytest.approx(25.0)
    # 80 A through 3 mOhm in 50 J/K, from the loss after 0.5 s on
    assert heat[1] - 25.0 == pytest.approx(9.5 * 80.0**2 * 3e-3 / 50.0, rel=0.1)


@settings(max_examples=20, deadline=None)
@given(
    cells=st.lists(st.floats(2.9, 4.1), min_size=8, max_size=8),
    shift=st.floats(-0.05, 0.05),
    lost=st.sampled_from([{0}, {1}, {0, 1}]),
)
def test_a_bridge_never_allows_more_than_the_board_did(cells, shift, lost):
    """Whatever the cells are at, as long as they lie apart as before the loss."""
    rig = make_rig()
    for number, array in enumerate(rig.voltages):
        array[:] = cells[4 * number : 4 * number + 4]
    rig.units[0].voltage = float(sum(array.sum() for array in rig.voltages))
    rig.run(0.5)
    rig.silent = lost
    rig.run(1.0)
    for array in rig.voltages:
        array += np.float32(shift)
    rig.units[0].voltage = float(sum(array.sum() for array in rig.voltages))
    rig.run(0.3)
    known = rig.guard.judge.cells
    if rig.state() is not State.CONNECTED:  # what may be beyond a limit is not bridged any more
        assert bridged(rig) & {('BRIDGED_OVERVOLTAGE', 'MSL'), ('BRIDGED_UNDERVOLTAGE', 'MSL')}
        return
    for index in lost:
        assert known.bridged_low[index] <= rig.voltages[index].min()
        assert known.bridged_high[index] >= rig.voltages[index].max()


# -- where it is ----------------------------------------------------------------------------------


def heard(pack, silent=(), until=10.0, status=None, pace=None):
    """Return a localiser that heard all modules, some of them no more after half the time."""
    localiser, pace = Localiser(pack, 0.0), pace or {}
    for step in range(round(until / 0.1)):
        now = 0.1 * step
        for index in range(len(pack.modules)):
            off = index in silent and now > until / 2
            if not off and step % pace.get(index, 1) == 0:
                localiser.scan(index, (status or {}).get(index, 0) if step else 0, now)
    return localiser


@pytest.mark.parametrize(
    'silent, units, options, said',
    [
        ({0, 1}, False, {}, 'bus main: nothing on it is heard'),
        ({0, 1}, True, {}, 'its board or its link: others on bus main are heard'),
        ({1}, True, {}, 'its board or its link: others on bus main are heard'),
        ({1}, False, {}, 'its board or its link: others on bus main are heard'),
        ({1}, True, {'status': {1: 131072}}, 'its link: frames of it were lost or refused before'),
        ({1}, True, {'status': {1: 16}}, 'its board: it had just restarted'),
        ({1}, True, {'pace': {1: 8}}, 'its clock: scans come every 0.8 s'),
    ],
)
def test_a_silent_board_is_localised(silent, units, options, said):
    localiser = heard(make_pack(), silent, **options)
    assert localiser.where(1, np.array([units]), 10.0) == said


def test_a_lost_board_says_where_it_is_cut_off():
    rig = make_rig()
    rig.silent = {1}
    rig.run(1.0)
    assert cause(rig, 'MODULE_LOST') == (
        'nothing heard for 0.5 s; its board or its link: others on bus main are heard'
    )
