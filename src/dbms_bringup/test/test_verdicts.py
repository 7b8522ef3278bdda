# SPDX-License-Identifier: Apache-2.0
"""The judge of scenarios: what is met, when, and what is said of it."""

import numpy as np
import pytest

from dbms_bringup.scenario_node import Rate
from dbms_bringup.story import FaultSeen
from dbms_bringup.verdicts import Judge, View, is_true, what_is
from dbms_pack import load_pack
from dbms_sim.scenario import Expectation
from dbms_sim.scenario_words import Condition, Place


def fault(name='MODULE_LOST', level=2, module='m2', cell=0, sensor=0):
    return FaultSeen(
        name, level, 'a', module, cell, sensor, np.nan, np.nan, '', True, False, f'{name}!'
    )


@pytest.fixture
def view():
    view = View(load_pack('robot_13s'))
    view.voltages = np.linspace(3.0, 4.2, 13)
    return view


def expect(condition, at=1.0, until=2.0, holds=False):
    return Expectation(at, until, holds, condition, 7)


def test_an_expectation_passes_when_it_comes_true(view):
    judge = Judge([expect(Condition('fault', 'MODULE_LOST', level='RSL'))], view)
    view.faults = [fault()]
    judge.look(0.5)
    assert not judge.verdicts  # before its time nothing counts
    judge.look(1.25)
    (verdict,) = judge.verdicts
    assert verdict.passed and verdict.time == 1.25 and verdict.happened == 'MODULE_LOST!'
    assert judge.done


def test_an_expectation_fails_at_its_deadline_and_says_what_was_instead(view):
    judge = Judge([expect(Condition('fault', 'MODULE_LOST', place=Place('a', 'm1')))], view)
    view.faults = [fault()]
    judge.look(1.9)
    assert not judge.done
    judge.look(2.01)
    (verdict,) = judge.verdicts
    assert not verdict.passed and 'MODULE_LOST RSL at m2' in verdict.happened


def test_what_has_to_hold_fails_at_once(view):
    judge = Judge([expect(Condition('cell_voltage', below=4.25), holds=True)], view)
    judge.look(1.1)
    view.voltages = view.voltages + 0.1
    judge.look(1.2)
    (verdict,) = judge.verdicts
    assert not verdict.passed and verdict.time == 1.2 and '4.3' in verdict.happened


def test_what_held_tells_its_extremes(view):
    judge = Judge([expect(Condition('cell_voltage', below=4.25), holds=True)], view)
    judge.look(1.0)
    view.voltages = view.voltages - 0.5
    judge.look(1.5)
    judge.look(2.0)
    (verdict,) = judge.verdicts
    assert verdict.passed and verdict.happened == '2.5 to 4.2 V'


def test_what_is_not_known_meets_nothing(view):
    assert not is_true(Condition('soc', above=-1e9), view)
    assert not is_true(Condition('charge_limit', below=1e9), view)
    assert not is_true(Condition('contactors', 'open'), view)
    assert what_is(Condition('soc', above=0.0), view) == 'not known'
    judge = Judge([expect(Condition('soc', above=0.0), holds=True)], view)
    judge.look(1.0)
    assert not judge.verdicts[0].passed


def test_a_place_covers_what_lies_in_it(view):
    view.faults = [fault('CELL_OVERVOLTAGE', 3, 'm1', cell=3)]
    for place in (Place(), Place('a'), Place('a', 'm1'), Place('a', 'm1', 3)):
        assert is_true(Condition('fault', 'CELL_OVERVOLTAGE', place=place), view), place
    for place in (Place('b'), Place('a', 'm2'), Place('a', 'm1', 4)):
        assert not is_true(Condition('fault', 'CELL_OVERVOLTAGE', place=place), view), place
        assert is_true(Condition('no_fault', 'any', place=place), view), place
    assert is_true(Condition('cell_voltage', above=3.19, below=3.21, place=Place('a', 'm1', 3)),
                   view)  # fmt: skip


def test_an_early_end_fails_all_that_is_still_expected(view):
    judge = Judge(
        [expect(Condition('state', 'FAULT')), expect(Condition('soc', above=0), 5)], view
    )
    judge.look(1.0)
    judge.end(1.5, 'the graph failed')
    assert [one.passed for one in judge.verdicts] == [False, False] and judge.done


def test_measured_values_are_held_against_the_truth_and_each_other(view):
    for kind in ('measured_error', 'string_drop', 'measured_current', 'scan_rate'):
        assert what_is(Condition(kind, above=0.0), view) == 'not known'
    view.measured = view.voltages.copy()
    view.measured[2] += 0.05
    view.measured[3] = np.nan
    third = Place('a', 'm1', 3)
    assert is_true(Condition('measured_error', above=0.04, below=0.06, place=third), view)
    assert is_true(Condition('measured_error', above=-1e-9, below=0.06), view)
    view.string_voltages['a'] = 40.0
    assert what_is(Condition('string_drop', above=0.0), view) == 'not known'
    view.measured[3] = view.voltages[3]
    assert is_true(Condition('string_drop', above=6.84, below=6.86, place=Place('a')), view)
    view.measured_currents['a'] = -3.0
    assert is_true(Condition('measured_current', below=-2.9), view)
    view.scan_rates = {'m1': 10.0, 'm2': 6.7}
    assert is_true(Condition('scan_rate', above=5, below=8, place=Place('a', 'm2')), view)
    assert not is_true(Condition('scan_rate', below=8), view)


def test_a_rate_is_known_after_a_whole_span_and_follows_it():
    rate = Rate()
    told = [rate.add(0.1 * index) for index in range(40)]
    assert np.isnan(told[19]) and told[-1] == pytest.approx(10.0)
    told = [rate.add(3.9 + 0.2 * index) for index in range(1, 30)]
    assert 5.0 < told[2] < 10.0 and told[-1] == pytest.approx(5.0)
