# SPDX-License-Identifier: Apache-2.0
"""Precharge resistor, joining current, coils, wear: what contactors stand, and what they had."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from protection_rig import CELL, UNIT, Rig, make_pack

from dbms_pack import Level
from dbms_protection import event_log, events_cli
from dbms_protection.contactors import ALL_OPEN, State
from dbms_protection.event_log import EventLog
from dbms_protection.journal import Journal
from dbms_protection.resistor import PrechargeResistor

NAN = math.nan
CHARGE = replace(UNIT.precharge, energy=100.0, cool_down=60.0)
START = 1_700_000_000.0  # stamp of the first test run


def rig_of(unit, strings=1, activate=True):
    rig = Rig(make_pack(strings=strings, unit=unit))
    return rig.activate() if activate else rig


# -- precharge resistor ---------------------------------------------------------------------------


def test_what_is_not_measured_warms_nothing_and_a_clock_that_steps_cools_nothing():
    resistor = PrechargeResistor(CHARGE, 0.0)
    resistor.step(1.0, 50.0, 2.0, True)
    assert resistor.joules == pytest.approx(100.0)
    for gap, current in ((NAN, 1.0), (1.0, NAN), (math.inf, 1.0)):
        resistor.step(1.0, gap, current, True)
    resistor.step(0.0, 50.0, 2.0, True)
    assert resistor.joules == pytest.approx(100.0)


@pytest.mark.parametrize('joules, age', [(NAN, 1.0), (-5.0, 1.0), (math.inf, 0.0)])
def test_an_odd_memory_is_none(joules, age):
    resistor = PrechargeResistor(CHARGE, 0.0)
    resistor.restore(joules, age)
    assert resistor.joules == 0.0


@given(age=st.floats(allow_nan=True, allow_infinity=True))
def test_a_memory_of_any_age_is_never_warmer_than_it_was(age):
    resistor = PrechargeResistor(CHARGE, 0.0)
    resistor.restore(90.0, age)
    assert 0.0 <= resistor.joules <= 90.0
    if not age > 0.0:
        assert resistor.joules == 90.0, 'a clock that went back cools nothing'


@given(
    powers=st.lists(st.floats(0.0, 500.0), min_size=1, max_size=30),
    pauses=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=30),
)
def test_who_waits_as_told_never_exceeds_what_the_resistor_stands(powers, pauses):
    """Precharges alike one after the other: none begins before the last one fits again."""
    resistor, now = PrechargeResistor(CHARGE, 0.0), 0.0
    energy = min(powers[0], 99.0)
    for pause in pauses:
        now += max(pause, resistor.wait())
        resistor.step(now, 0.0, 0.0, False)
        resistor.begin()
        now += 1e-6
        resistor.step(now, energy * 1e6, 1.0, True)
        assert not resistor.joules > 100.0 * 1.01


def test_the_next_attempt_waits_until_the_resistor_stands_it_not_only_for_the_pause():
    """19.6 V times 0.9 A for 2 s are 35 J; of 60 J the same fits again 20 s later."""
    charge = replace(UNIT.precharge, energy=60.0, cool_down=60.0, pause=1.0)
    rig = rig_of(replace(UNIT, precharge=charge))
    rig.units[0].changes = {'link_voltage': 10.0}
    rig.guard.command('connect', '', '', (), rig.now)
    start, again = rig.now, []
    for _ in range(2600):
        rig.units[0].changes['current'] = -0.9 if rig.units[0].command[1] else 0.0
        before = rig.state()
        rig.step()
        if rig.state() is State.CLOSING_MINUS and before is not rig.state():
            again.append(rig.now)
        assert rig.guard.strings[0].sequence.resistor.joules < 60.0
    assert len(again) == 1, 'the first attempt and one more'
    assert 15.0 < again[0] - start < 30.0


def test_without_an_energy_nothing_is_counted():
    resistor = PrechargeResistor(UNIT.precharge, 0.0)
    resistor.step(100.0, 50.0, 100.0, True)
    assert (resistor.too_hot, resistor.wait(), resistor.refusal()) == (False, 0.0, '')


class Hungry:
    """A link that takes up energy through the precharge resistor for ever."""

    def __init__(self, rig, amperes):
        self.rig, self.amperes = rig, amperes

    def run(self, seconds):
        unit = self.rig.units[0]
        for _ in range(round(seconds / 0.01)):
            flows = unit.command == (True, True, False)
            unit.changes = {'current': -self.amperes if flows else 0.0}
            unit.link = min(unit.link, 20.0)
            self.rig.step()


def test_a_resistor_that_takes_up_too_much_ends_the_precharge_and_forbids_the_next():
    rig = rig_of(replace(UNIT, precharge=CHARGE))
    rig.guard.command('connect', 'test', '', (), rig.now)
    Hungry(rig, 20.0).run(2.0)
    fault = rig.guard.book.blocking('a')[0]
    assert fault.name == 'PRECHARGE_FAILED'
    assert 'its resistor took up more than 100 J' in fault.cause
    assert rig.units[0].command == ALL_OPEN
    rig.units[0].changes = {}
    rig.run(1.0)
    assert rig.guard.command('reset_faults', 'test', '', (), rig.now)[0]
    done, message = rig.guard.command('connect', 'test', '', (), rig.now)
    assert not done
    assert 'the precharge resistor has to cool for' in message
    rig.guard.deactivate(rig.now, 'test')
    rig.guard.activate(rig.now)
    rig.run(1.0)
    assert not rig.guard.command('connect', 'test', '', (), rig.now)[0], 'it forgets nothing'


def test_after_a_pause_it_connects_again():
    rig = rig_of(replace(UNIT, precharge=replace(CHARGE, cool_down=1.0)))
    rig.guard.resistors[0].restore(99.5, 0.0)
    assert rig.connect()[0] is False
    rig.run(3.0)
    assert rig.connect()[0]
    assert rig.state() is State.CONNECTED


# -- joining --------------------------------------------------------------------------------------


def joined(rig, volts):
    """Connect a, then ask b to join with that many V less."""
    assert rig.connect('a')[0]
    rig.units[1].voltage -= volts
    for index in (2, 3):
        rig.voltages[index] -= np.float32(volts / 8)
    rig.run(0.4)
    return rig.connect('b')


@pytest.mark.parametrize('limit, volts, joins', [(100.0, 1.0, True), (50.0, 1.0, False)])
def test_a_string_joins_only_with_a_current_that_may_flow(limit, volts, joins):
    """1 V over twice eight cells of 1 mOhm: 62 A."""
    rig = rig_of(replace(UNIT, join_current=limit), strings=2)
    done, message = joined(rig, volts)
    assert done is joins
    assert rig.state(1) is (State.CONNECTED if joins else State.OPEN)
    if not joins:
        assert 'would equalise with 62 A, at most 50 A allowed' in message


def test_without_a_limit_the_lower_warning_of_both_currents_is_one():
    rig = rig_of(replace(UNIT, join_current=None), strings=2)
    assert 'at most 50 A allowed' in joined(rig, 1.0)[1]


def test_a_cold_string_equalises_with_less():
    table = np.array([[4e-3], [1e-3]])
    cold = replace(CELL, temperatures=np.array([-20.0, 25.0]), r0=table)
    pack = replace(make_pack(strings=2, unit=replace(UNIT, join_current=50.0)), cell=cold)
    rig = Rig(pack, degrees=-8.0).activate()
    assert joined(rig, 1.0)[0]
    for sensors in rig.temperatures:
        sensors[0] = NAN  # not known: as at the warmest
    rig.run(0.3)
    assert rig.guard._joining(0) > 0.0


def test_temperatures_that_are_not_known_count_as_warm():
    rig = rig_of(UNIT, strings=2)
    rig.connect('a')
    known = rig.guard._joining(1)
    rig.guard.judge.cells.temperature_high[:] = NAN
    assert 0.0 < rig.guard._joining(1) <= known


def test_a_string_that_leaves_takes_its_share_of_the_limits_along():
    rig = rig_of(UNIT, strings=2)
    rig.connect()
    rig.run(1.5)
    both = rig.guard.limits.discharge_current
    rig.guard.command('disconnect', 'test', '', ('b',), rig.now)
    rig.run(1.0)
    assert rig.guard.limits.discharge_current == pytest.approx(both / 2)
    rig.units[0].current = -60.0
    rig.run(0.1)
    rig.guard.command('disconnect', 'test', '', ('a',), rig.now)
    rig.run(0.2)
    assert rig.state(0) is State.LEAVING, 'announced'
    assert rig.guard.limits.discharge_current == 0.0


# -- coils ----------------------------------------------------------------------------------------


def test_coils_pull_in_one_after_the_other():
    rig = rig_of(replace(UNIT, coil_pause=0.3))
    rig.connect()
    rig.run(1.0)
    assert rig.state() is State.CONNECTED
    closed = {}
    for at, command in rig.sent:
        closed.setdefault(command.contacts, at)
    times = [closed[c] for c in ((True, False, False), (True, True, False), (True, True, True))]
    assert all(after - before >= 0.3 for before, after in zip(times, times[1:], strict=False))


def test_plus_waits_for_the_economiser_of_the_precharge_contactor_too():
    """Here nothing else makes it wait: the link has been charged before."""
    rig = rig_of(replace(UNIT, coil_pause=0.4))
    unit = rig.units[0]
    unit.link = unit.voltage
    unit.changes = {'link_voltage': unit.voltage}
    rig.connect()
    times = {command.contacts: at for at, command in reversed(rig.sent)}
    assert times[True, True, True] - times[True, True, False] >= 0.4
    assert rig.state() is State.CONNECTED


# -- wear and heat, kept --------------------------------------------------------------------------


class Life:
    """A rig whose guard is followed by a journal on a file, again and again."""

    def __init__(self, path, unit):
        self.path, self.unit, self.stamp = path, unit, START
        self.begin()

    def begin(self):
        self.rig = rig_of(self.unit, activate=False)
        log = EventLog(self.path, lambda text: None)
        self.journal = Journal(self.rig.pack, log, lambda work: work())
        self.journal.attach(self.rig.guard, self.stamp)
        for keeper in self.rig.guard._keepers:
            send = keeper._send

            def both(command, send=send):
                self.journal.contactors(command)
                send(command)

            keeper._send = both
        self.rig.activate()

    def cycle(self):
        self.rig.connect()
        self.rig.guard.command('disconnect', 'test', '', (), self.rig.now)
        self.rig.run(1.0)
        self.journal.observe(self.stamp)

    def again(self, later=0.0):
        """End without a word, as by a kill, and begin anew."""
        self.stamp += later
        self.begin()

    def worn(self):
        faults = self.rig.guard.book.listing()
        return [fault for fault in faults if fault.name == 'CONTACTOR_WORN']


def test_a_worn_contactor_is_told_until_it_is_named_as_replaced(tmp_path, capsys):
    life = Life(tmp_path / 'e.sqlite', replace(UNIT, expected_cycles=3))
    for _ in range(2):
        life.cycle()
    assert life.worn() == []
    life.cycle()
    assert 'plus has closed 3 times' in life.worn()[0].cause
    life.again()
    assert life.worn(), 'after a restart too'
    life.cycle()
    assert life.rig.state() is not State.FAULTED, 'it warns, and keeps nothing open'
    assert not life.rig.guard.command('reset_faults', 'me', 'all new', (), life.rig.now)[0]
    done, _ = life.rig.guard.command(
        'reset_faults', 'me', 'CONTACTOR_WORN: all three replaced', (), life.rig.now
    )
    assert done
    life.journal.observe(life.stamp)
    assert life.worn() == []
    life.again()
    assert life.worn() == []
    assert {row.cycles for row in event_log.read_wear(life.path)} == {0}
    assert events_cli.main(['--file', str(life.path), '--wear']) == 0
    assert 'precharge' in capsys.readouterr().out


def test_a_contactor_near_its_end_is_told_before_it_is_there(tmp_path):
    life = Life(tmp_path / 'e.sqlite', replace(UNIT, expected_cycles=10))
    for _ in range(8):
        life.cycle()
    assert life.worn() == [] and life.journal.wear.all_worn() == ''
    life.cycle()
    said = 'plus has closed 9 times, 90% of what it is made for'
    assert said in life.worn()[0].cause
    assert said in life.journal.wear.all_worn()
    assert life.worn()[0].level is Level.MOL and life.rig.state() is not State.FAULTED
    life.cycle()
    assert 'plus has closed 10 times, 100%' in life.worn()[0].cause, 'it goes on counting'


def test_arcs_wear_the_contactor_that_breaks_and_no_other(tmp_path):
    """80 A at a break current of 20 A: 16 each time."""
    life = Life(tmp_path / 'e.sqlite', replace(UNIT, expected_arcs=40))
    for count in (1, 2, 3):
        life.rig.units[0].current = -80.0
        life.cycle()
        life.rig.run(0.5)  # the grace is over by then
        told = dict(life.journal.wear.told())
        assert (
            told['a plus']
            == f'{count} of inf closings, {count} under load, {16.0 * count} of 40 arcs'
        )
        assert told['a minus'] == f'{count} of inf closings, 0 under load, 0.0 of 40 arcs'
        assert bool(life.worn()) == (count == 3)
    life.journal.observe(life.stamp)
    assert 'plus has broken 48 times its break current, 120%' in life.worn()[0].cause
    life.again()
    assert dict(life.journal.wear.told())['a plus'].startswith('3 of inf closings, 3 under load')


@pytest.mark.parametrize('later, connects', [(5.0, False), (-3600.0, False), (3600.0, True)])
def test_a_warm_resistor_is_warm_after_a_restart(tmp_path, later, connects):
    life = Life(tmp_path / 'e.sqlite', replace(UNIT, precharge=CHARGE))
    life.rig.guard.resistors[0].restore(99.9, 0.0)
    life.journal.observe(life.stamp)
    life.again(later)
    assert life.rig.connect()[0] is connects


def test_a_file_from_before_is_taken_over(tmp_path):
    import sqlite3
    from contextlib import closing

    life = Life(tmp_path / 'e.sqlite', UNIT)
    life.cycle()
    with closing(sqlite3.connect(life.path)) as base:
        base.execute('DROP TABLE heat')
        base.commit()
    life.again()
    life.cycle()
    assert not list(tmp_path.glob('*unusable*'))
    assert {row.cycles for row in event_log.read_wear(life.path)} == {2}
