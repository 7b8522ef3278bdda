# SPDX-License-Identifier: Apache-2.0
"""What must hold whatever happens, tried on random histories."""

import math

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from more_rig import trigger
from protection_rig import UNIT, Rig, make_limits, make_pack

from dbms_pack import Level, LossRule
from dbms_pack.limits import DeratingRules
from dbms_protection.contactors import ALL_OPEN, State
from dbms_protection.faults import Fault, Place
from dbms_protection.measurements import Contact, Interlock

STRINGS = st.integers(0, 1)
MODULES = st.integers(0, 3)
VOLTS = st.sampled_from([2.4, 2.7, 3.7, 3.7, 3.7, 4.16, 4.3, math.nan, math.inf])
DEGREES = st.sampled_from([-30.0, 0.0, 25.0, 25.0, 25.0, 58.0, 70.0, math.nan])
CURRENTS = st.sampled_from([-500.0, -160.0, -50.0, 0.0, 0.0, 30.0, 90.0])


MORE = (
    'voltage_spread', 'voltage_mismatch', 'link_mismatch', 'temperature_rise', 'insulation',
    'overload', 'voltage_age', 'voltage_stuck', 'open_current', 'open_link', 'current_mismatch',
    'deep_discharge', 'string_overvoltage',
)  # fmt: skip
CLOSING_ORDER = {
    (ALL_OPEN, (True, False, False)),
    ((True, False, False), (True, True, False)),
    ((True, True, False), (True, True, True)),
}


class Histories(RuleBasedStateMachine):
    """Random measurements, failures and commands against a guard of two strings."""

    def __init__(self):
        super().__init__()
        more = {key: trigger(key, debounce=0.2) for key in MORE}
        bridged = LossRule(timeout=0.5, derate=0.5, open_after=5.0, bridge=0.05)
        low = (0.05, 0.15), (0.0, 1.0)
        rules = DeratingRules(soc=(None, low), power=True)
        limits = make_limits(more=more, module_lost=bridged, derating=rules)
        self.rig = Rig(make_pack(strings=2, limits=limits), answer=True)
        self.sent_at = {}  # string -> time of the guard
        self.rig.guard._keepers[0]._send = self.check
        self.rig.guard._keepers[1]._send = self.check
        self.leaving = {}
        self.rig.activate()

    def check(self, command):
        """See every command at the moment it is sent."""
        rig, index = self.rig, command.string
        string = rig.guard.strings[index]
        minus, precharge, plus = command.contacts
        previous = rig.commands(index)[-1].contacts if rig.commands(index) else ALL_OPEN
        late = rig.guard.now - self.sent_at.get(index, rig.guard.now)
        self.sent_at[index] = rig.guard.now
        rig._send(command)
        if command.contacts == ALL_OPEN:
            return
        assert rig.guard.active, 'closed although not active'
        assert previous == ALL_OPEN or late <= UNIT.lease + 1e-9, 'renewed after it had lapsed'
        if sum(command.contacts) > sum(previous):
            assert (previous, command.contacts) in CLOSING_ORDER
            assert not string.faulted, 'closes with a latched MSL fault'
        state = string.sequence.state
        if string.faulted:
            # Announced: contactors stay for the grace, and one of them breaks the load first.
            assert state in (State.LEAVING, State.OPENING), state
            assert sum(command.contacts) <= sum(previous), 'closes more with a fault standing'
        if plus and not previous[2]:
            assert previous == (True, True, False), 'plus without precharge'
            reading = string.reading
            gap = abs(reading.string_voltage - reading.link_voltage)
            others = [other for other in rig.guard.strings if other is not string]
            joins = any(o.sequence.state in (State.CONNECTED, State.LEAVING) for o in others)
            assert gap <= (UNIT.join_voltage if joins else UNIT.precharge.voltage)
            assert abs(reading.current) <= UNIT.precharge.current
            assert reading.contacts == (Contact.CLOSED, Contact.CLOSED, Contact.OPEN)
        assert not (precharge and not minus)

    @rule(module=MODULES, cell=st.integers(0, 3), volts=VOLTS)
    def cell(self, module, cell, volts):
        self.rig.voltages[module][cell] = volts

    @rule(module=MODULES, sensor=st.integers(0, 1), degrees=DEGREES)
    def sensor(self, module, sensor, degrees):
        self.rig.temperatures[module][sensor] = degrees

    @rule(string=STRINGS, current=CURRENTS)
    def current(self, string, current):
        self.rig.units[string].current = current

    @rule(module=MODULES)
    def silence(self, module):
        self.rig.silent ^= {module}

    @rule(string=STRINGS)
    def dumb(self, string):
        self.rig.dumb ^= {string}

    @rule(string=STRINGS, contact=st.integers(0, 2), reading=st.integers(0, 4))
    def stick(self, string, contact, reading):
        unit = self.rig.units[string]
        unit.stuck = {} if reading == 4 else {contact: reading}

    @rule(string=STRINGS, obeys=st.booleans())
    def refuse(self, string, obeys):
        self.rig.units[string].obeys = obeys

    @rule(string=STRINGS, interlock=st.sampled_from([Interlock.CLOSED, Interlock.OPEN]))
    def interlock(self, string, interlock):
        self.rig.units[string].interlock = interlock

    @rule(string=STRINGS, field=st.sampled_from(['current', 'link_voltage', 'string_voltage', '']))
    def blind(self, string, field):
        self.rig.units[string].changes = {field: math.nan} if field else {}

    @rule(string=STRINGS, volts=st.floats(-10.0, 60.0))
    def link(self, string, volts):
        self.rig.units[string].link = volts

    @rule(string=STRINGS, ohms=st.sampled_from([10.0, 2e4, 1e7, math.inf, math.nan]))
    def insulation(self, string, ohms):
        self.rig.units[string].changes = {'insulation': ohms, 'insulation_age': 0.0}

    @rule(string=STRINGS, level=st.sampled_from(list(Level)))
    def restored(self, string, level):
        """A fault of an earlier run stands again, as after a restart."""
        name = self.rig.pack.strings[string].name
        nan = math.nan
        fault = Fault('LEASE_EXPIRED', level, Place(name), nan, nan, '', 0.0, 0.0)
        fault.active, fault.latched = False, True
        if not self.rig.guard.strings[string].sequence.closed:
            self.rig.guard.book.restore(fault)

    @rule(
        soc=st.sampled_from([math.nan, 0.0, 0.5, 1.0]), power=st.sampled_from([math.nan, 0.0, 9.0])
    )
    def estimates(self, soc, power):
        guard, now = self.rig.guard, self.rig.now
        guard.on_soc([soc] * 16, [0.01] * 16, now)
        guard.on_power([2.0, 30.0], [power] * 2, [power] * 2, now)

    @rule(answers=st.booleans())
    def driver(self, answers):
        self.rig.answer = answers

    @rule(jump=st.sampled_from([-1e6, -0.1, 0.15, 0.3, 40.0]))
    def jump(self, jump):
        self.rig.now += jump

    @rule(kind=st.sampled_from(['connect', 'connect', 'disconnect', 'reset_faults']))
    def command(self, kind):
        self.rig.guard.command(kind, 'test', 'random', (), self.rig.now)

    @rule()
    def heal(self):
        """Make everything fine, so that histories get beyond the first fault."""
        rig = self.rig
        rig.silent, rig.dumb, rig.answer = set(), set(), True
        for values, good in ((rig.voltages, 3.7), (rig.temperatures, 25.0)):
            for array in values:
                array[:] = good
        for unit in rig.units:
            unit.stuck, unit.changes, unit.obeys, unit.current = {}, {}, True, 0.0
            unit.interlock = Interlock.CLOSED
        rig.run(0.8)
        rig.guard.command('reset_faults', 'test', 'healed', (), rig.now)
        rig.guard.command('connect', 'test', 'healed', (), rig.now)
        rig.run(1.0)

    @rule(seconds=st.sampled_from([0.02, 0.1, 0.6, 2.0]))
    def run_on(self, seconds):
        self.rig.run(seconds)

    @precondition(lambda self: self.rig.guard.active)
    @rule()
    def deactivate(self):
        rig = self.rig
        rig.guard.deactivate(rig.now, 'test')
        before = len(rig.sent)
        rig.run(0.5)
        assert len(rig.sent) == before, 'sent although not active'
        rig.guard.activate(rig.now)

    @invariant()
    def limits_are_numbers_and_zero_when_nothing_is_connected(self):
        guard = self.rig.guard
        limits = guard.limits
        values = [limits.charge_current, limits.discharge_current, *limits.charge_peak]
        assert np.isfinite(values).all()
        assert min(values) >= 0.0

    @invariant()
    def what_is_commanded_is_what_was_sent(self):
        for index, string in enumerate(self.rig.guard.strings):
            assert self.rig.commands(index)[-1].contacts == string.sequence.command

    @invariant()
    def a_faulted_string_is_open_or_on_its_way(self):
        for string in self.rig.guard.strings:
            if string.faulted:
                assert string.state in (State.FAULTED, State.LEAVING, State.OPENING)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
