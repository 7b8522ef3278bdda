# SPDX-License-Identifier: Apache-2.0
"""Whether the current can be true: missing values, then healthy packs, then wrong sensors."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from more_rig import trigger
from protection_rig import Rig, make_limits, make_pack

from dbms_protection.contactors import State
from dbms_protection.measurements import Contact
from dbms_protection.plausibility import CurrentModel
from dbms_protection.signals import MovingMean

NAN = math.nan
OHMS = 3e-3  # of the cell of the rig: R0 and two slow parts of 1 mOhm each


def rig_with(*keys, strings=1, connect=True):
    more = {key: trigger(key) for key in keys}
    rig = Rig(make_pack(strings=strings, limits=make_limits(more=more))).activate()
    if connect:
        rig.connect()
        assert rig.state() is State.CONNECTED
    return rig


def levels_of(rig, key):
    return {level for name, level in rig.names() if name == key.upper()}


def play(model, samples):
    """Return the largest finding; samples are (V per cell, A), 50 per s."""
    found = [model.update(volts, amperes, 25.0, 25.0, 0.02 * n)
             for n, (volts, amperes) in enumerate(samples)]  # fmt: skip
    known = [value for value in found if value == value]
    return max(known, default=NAN)


def test_nothing_known_says_nothing():
    model = CurrentModel(make_pack(), 1.0)
    assert math.isnan(play(model, [(NAN, 50.0), (3.7, NAN), (math.inf, 1.0), (3.7, -math.inf)]))
    assert math.isnan(model.update(3.7, 0.0, NAN, NAN, 0.0))


def test_what_changed_in_a_gap_is_not_compared():
    model = CurrentModel(make_pack(), 1.0)
    gap = [(3.7, 0.0)] * 100 + [(NAN, NAN)] + [(3.4, 0.0)] * 100
    assert play(model, gap) == 0.0
    model = CurrentModel(make_pack(), 1.0)
    for now in (*np.arange(0.0, 2.0, 0.02), *np.arange(9.0, 11.0, 0.02)):
        value = model.update(3.7 if now < 5.0 else 3.4, 0.0, 25.0, 25.0, float(now))
        assert not value > 0.0


def test_a_fast_simulation_is_not_judged_by_its_resistance():
    assert math.isnan(play(CurrentModel(make_pack(), 60.0), [(3.7, 0.0), (3.0, 0.0)] * 100))


@given(
    steps=st.lists(st.floats(-150.0, 80.0), min_size=1, max_size=6),
    factor=st.floats(0.45, 1.8),
    slow=st.floats(0.0, 1.0),
    late=st.integers(0, 5),
)
def test_a_true_current_is_never_off_by_much(steps, factor, slow, late):
    """Any resistance near the file's, with or without its slow part, voltages up to 0.1 s late."""
    ohms = factor * OHMS * (1.0 / 3.0 + slow * 2.0 / 3.0)
    currents = [0.0] * 50 + [step for step in steps for _ in range(60)]
    volts = [3.7 + ohms * current for current in currents]
    seen = [3.7] * late + volts
    worst = play(CurrentModel(make_pack(), 1.0), zip(seen, currents, strict=False))
    assert not worst > 0.15 * 230.0


@pytest.mark.parametrize('wrong', [lambda i: 0.0, lambda i: -i, lambda i: 0.1 * i])
def test_a_current_that_does_not_move_the_voltage_is_off(wrong):
    currents = [0.0] * 100 + [-100.0] * 100
    samples = [(3.7 + OHMS * current, wrong(current)) for current in currents]
    assert play(CurrentModel(make_pack(), 1.0), samples) > 30.0


def test_a_voltage_that_does_not_move_makes_the_current_off_as_well():
    assert play(CurrentModel(make_pack(), 1.0), [(3.7, 0.0)] * 100 + [(3.7, -100.0)] * 100) > 80.0


def test_a_reversed_sensor_is_told():
    rig = rig_with('current_mismatch')
    rig.run(1.0)
    rig.units[0].current = 60.0
    rig.units[0].voltage -= 8 * 60.0 * OHMS
    for array in rig.voltages:
        array -= np.float32(60.0 * OHMS)
    rig.run(0.8)
    assert any('CURRENT_MISMATCH' in text for _, text in rig.guard.book.events)


def test_a_current_while_all_is_open_is_told_and_forbids_to_connect():
    rig = rig_with('open_current', connect=False)
    rig.units[0].changes = {'current': -6.0}
    rig.run(0.2)
    assert levels_of(rig, 'open_current') == {'MSL'}
    done, message = rig.guard.command('connect', 'me', '', (), rig.now)
    assert not done and 'OPEN_CURRENT' in message


def test_a_connect_before_the_debounce_of_an_open_current_is_refused():
    rig = Rig(make_pack()).activate()
    rig.units[0].changes = {'current': -6.0}
    rig.run(0.1)
    done, message = rig.guard.command('connect', 'me', '', (), rig.now)
    assert not done and '-6.00 A flow though its contactors read open' in message


def test_a_current_of_a_string_that_is_not_read_open_is_none_of_it():
    rig = rig_with('open_current', connect=False)
    unit = rig.units[0]
    unit.changes = {'current': -6.0, 'contacts': (Contact.UNKNOWN,) * 3}
    rig.run(0.2)
    assert levels_of(rig, 'open_current') == set()
    unit.changes = {'current': NAN}
    rig.run(0.2)
    assert levels_of(rig, 'open_current') == set()


def test_a_link_that_stays_up_after_the_opening_is_told():
    rig = rig_with('open_link')
    rig.guard.command('disconnect', 'test', '', (), rig.now)
    rig.units[0].changes = {'link_voltage': 0.97 * rig.units[0].voltage}
    rig.run(4.5)
    assert levels_of(rig, 'open_link') == set()
    rig.run(1.5)
    assert levels_of(rig, 'open_link') == {'MSL'}


def test_a_link_that_another_string_holds_up_is_fine():
    rig = rig_with('open_link', strings=2)
    rig.guard.command('disconnect', 'test', '', ('a',), rig.now)
    rig.run(8.0)
    assert rig.state(1) is State.CONNECTED
    assert rig.units[0].link == pytest.approx(rig.units[1].voltage)
    assert rig.names() == set()


def test_a_link_that_was_live_before_is_not_judged():
    rig = rig_with('open_link', connect=False)
    rig.units[0].changes = {'link_voltage': rig.units[0].voltage}
    rig.run(8.0)
    assert rig.names() == set()


def test_the_lowest_resistance_is_that_of_strong_currents_too():
    pack = make_pack()
    bent = replace(pack, cell=replace(pack.cell, saturation=0.05))
    samples = [(3.7, 0.0)] * 100 + [(3.7 - 0.25e-3 * 100.0, -100.0)] * 100
    assert play(CurrentModel(bent, 1.0), samples) < play(CurrentModel(pack, 1.0), samples)


# -- string voltage against the sum of its cells ------------------------------------------------


def pulsing(gap, seconds, window=0.5, leak=1.0):
    """Let a load pulse twice as fast as cells and string voltage are measured, one after another.

    `gap` V per cell the string voltage is off. Returns the rig, connected when it began.
    """
    mismatch = replace(trigger('voltage_mismatch', debounce=1.5, leak=leak), window=window)
    rig = Rig(make_pack(limits=make_limits(more={'voltage_mismatch': mismatch}))).activate()
    rig.connect()
    assert rig.state() is State.CONNECTED
    for step in range(round(seconds / 0.01)):
        volts = 3.7 - (0.25 if step % 25 < 12 else 0.0)  # 4 Hz
        for array in rig.voltages:
            array[:] = volts
        if step % 10 == 5:  # half a scan apart from the cells
            rig.units[0].changes = {'string_voltage': 8 * (volts - gap)}
        rig.step()
    return rig


def test_a_load_that_pulses_is_no_mismatch():
    assert pulsing(0.0, 20.0).names() == set()


@pytest.mark.parametrize('gap', [0.26, -0.26])
def test_a_mismatch_is_found_although_the_load_pulses(gap):
    assert levels_of(pulsing(gap, 5.0), 'voltage_mismatch') == {'MSL'}
    # Each sample for itself is back within the limit again and again.
    assert levels_of(pulsing(gap, 5.0, window=0.0, leak=0.0), 'voltage_mismatch') != {'MSL'}


def test_a_mean_forgets_what_was_before_its_window_and_knows_nothing_of_nan():
    mean = MovingMean(0.5)
    assert [mean.update(value, now) for now, value in ((0.0, 1.0), (0.25, 3.0))] == [1.0, 2.0]
    assert math.isnan(mean.update(NAN, 0.3))
    assert mean.update(5.0, 0.6) == 4.0
    assert mean.update(7.0, 60.0) == 7.0
    assert MovingMean(0.0).update(math.inf, 0.0) != math.inf


def test_a_fuse_that_blows_while_its_string_leaves_is_told():
    rig = rig_with('link_mismatch')
    rig.units[0].current = -60.0
    rig.run(0.1)
    rig.guard.command('disconnect', 'test', '', (), rig.now)
    assert rig.state() is State.LEAVING
    rig.units[0].changes = {'link_voltage': 8 * 3.7 - 1.5}
    rig.run(0.1)
    assert rig.state() is State.LEAVING
    assert levels_of(rig, 'link_mismatch') == {'RSL'}
