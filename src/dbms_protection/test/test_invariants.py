# SPDX-License-Identifier: Apache-2.0
"""What must hold whatever happens, tried on random histories."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
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
SOON = st.sampled_from([0.0, 0.04, 0.2, 0.7])  # s that go by afterwards
CHOSEN = st.sampled_from([(), (), ('a',), ('b',)])
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


class Commands(RuleBasedStateMachine):
    """Random commands, answers, faults and times against a guard of two strings, all watched."""

    def __init__(self):
        super().__init__()
        more = {key: trigger(key, debounce=0.2) for key in MORE}
        bridged = LossRule(timeout=0.5, derate=0.5, open_after=5.0, bridge=0.05)
        low = (0.05, 0.15), (0.0, 1.0)
        rules = DeratingRules(soc=(None, low), power=True)
        limits = make_limits(more=more, module_lost=bridged, derating=rules)
        self.rig = rig = Rig(make_pack(strings=2, limits=limits), answer=True)
        self.sent_at = {}  # string -> time of the guard
        self.asked = {}  # (string, sequence) -> time of the guard
        self.granted = [-math.inf, -math.inf]  # when what was granted last had been sent
        self.whole = {}  # module -> rig time of the last scan without a gap, None: it had one
        self.faulted = [None, None]  # time of the guard, since when an MSL fault stands
        self.apart = [None, None]  # and since when contacts do not read as commanded
        for keeper in rig.guard._keepers:
            keeper._send = self.check
        rig.scan, self.scan = self.scanned, rig.scan
        rig.guard.on_answer, self.on_answer = self.answered, rig.guard.on_answer
        rig.activate()

    @initialize(connected=st.booleans(), current=CURRENTS)
    def begin(self, connected, current):
        """Begin with a pack that is at work, or with an open one."""
        if connected:
            self.rig.connect()
            self.rig.run(1.0)
            assert [self.rig.state(index) for index in (0, 1)] == [State.CONNECTED] * 2
            self.rig.units[0].current = min(current, 0.0) / 10.0

    def scanned(self, module):
        """See every scan, as the guard gets it."""
        rig = self.rig
        known = np.isfinite(rig.voltages[module]).all()
        known = known and np.isfinite(rig.temperatures[module]).all()
        self.whole[module] = rig.now if known else None
        self.scan(module)

    def answered(self, string, sequence, accepted, message, now):
        """See every answer, as the guard gets it."""
        if accepted:
            self.granted[string] = max(self.granted[string], self.asked[string, sequence])
        self.on_answer(string, sequence, accepted, message, now)

    def check(self, command):
        """See every command at the moment it is sent."""
        rig, index = self.rig, command.string
        previous = rig.commands(index)[-1].contacts if rig.commands(index) else ALL_OPEN
        now = rig.guard.now
        late = now - self.sent_at.get(index, now)
        self.sent_at[index] = self.asked[index, command.sequence] = now
        rig._send(command)
        if command.contacts == ALL_OPEN:
            return
        assert rig.guard.active, 'closed although not active'
        if previous == ALL_OPEN:
            self.granted[index] = max(self.granted[index], now)  # it has a lease of time
        else:
            assert late <= UNIT.lease + 1e-9, 'renewed after it had lapsed'
            since = now - self.granted[index]
            assert since <= UNIT.lease + 1e-9, 'renewed although nothing was granted'
        string = rig.guard.strings[index]
        if sum(command.contacts) > sum(previous):
            self.check_closing(index, previous, command.contacts)
        if string.faulted:
            # Announced: contactors stay for the grace, and one of them breaks the load first.
            state = string.sequence.state
            assert state in (State.LEAVING, State.OPENING), state
            assert sum(command.contacts) <= sum(previous), 'closes more with a fault standing'
            since = self.faulted[index]
            most = UNIT.grace + UNIT.feedback_timeout + 0.1
            assert since is None or now - since <= most, 'stays closed beyond the grace'

    def check_closing(self, index, previous, contacts):
        """See one contactor more being closed."""
        rig, string = self.rig, self.rig.guard.strings[index]
        reading = string.reading
        assert (previous, contacts) in CLOSING_ORDER, 'plus without precharge'
        assert not string.faulted, 'closes with an MSL fault, active or latched'
        assert reading.interlock != Interlock.OPEN
        for module in (2 * index, 2 * index + 1):
            seen = self.whole.get(module)
            timeout = rig.pack.limits.module_lost.timeout
            assert seen is not None, 'closes with something not measured'
            assert rig.guard.judge.watchdog.heard[module] > rig.guard.now - timeout, 'silent'
        values = reading.current, reading.string_voltage, reading.link_voltage
        assert np.isfinite(values).all(), 'closes with something not measured'
        read = tuple(Contact.CLOSED if closed else Contact.OPEN for closed in previous)
        assert reading.contacts == read, 'closes the next before the last has moved'
        if contacts[2]:
            gap = abs(reading.string_voltage - reading.link_voltage)
            ohms = rig.guard._joining(index)
            assert gap <= (UNIT.join_voltage if ohms else UNIT.precharge.voltage)
            assert not ohms or gap <= rig.guard._join_current(string.string) * ohms + 1e-9
            assert abs(reading.current) <= UNIT.precharge.current

    @rule(module=MODULES, volts=st.sampled_from([2.4, 3.7, 4.3, math.nan]), then=SOON)
    def bad_cell(self, module, volts, then):
        self.rig.voltages[module][0] = volts
        self.rig.run(then)

    @rule(string=STRINGS, contact=st.integers(0, 2), reading=st.integers(0, 4), then=SOON)
    def stick(self, string, contact, reading, then):
        unit = self.rig.units[string]
        unit.stuck = {} if reading == 4 else {contact: reading}
        self.rig.run(then)

    @rule(string=STRINGS, interlock=st.sampled_from([Interlock.CLOSED, Interlock.OPEN]), then=SOON)
    def interlock(self, string, interlock, then):
        self.rig.units[string].interlock = interlock
        self.rig.run(then)

    @rule(
        string=STRINGS,
        field=st.sampled_from(['current', 'link_voltage', 'string_voltage', '']),
        value=st.sampled_from([math.nan, math.nan, 5.0]),
        then=SOON,
    )
    def blind(self, string, field, value, then):
        self.rig.units[string].changes = {field: value} if field else {}
        self.rig.run(then)

    @rule(string=STRINGS, level=st.sampled_from(list(Level)))
    def restored(self, string, level):
        """A fault of an earlier run stands again, as after a restart."""
        name = self.rig.pack.strings[string].name
        nan = math.nan
        fault = Fault('LEASE_EXPIRED', level, Place(name), nan, nan, '', 0.0, 0.0)
        fault.active, fault.latched = False, True
        if not self.rig.guard.strings[string].sequence.closed:
            self.rig.guard.book.restore(fault)

    @rule(answers=st.booleans(), then=SOON)
    def driver(self, answers, then):
        self.rig.answer = answers
        self.rig.run(then)

    @rule(jump=st.sampled_from([-1e6, -0.1, 0.15, 0.3, 40.0]))
    def jump(self, jump):
        self.rig.now += jump

    @rule(kind=st.sampled_from(['connect', 'connect', 'disconnect']), strings=CHOSEN, then=SOON)
    def command(self, kind, strings, then):
        self.rig.guard.command(kind, 'test', 'random', strings, self.rig.now)
        self.rig.run(then)

    @rule(strings=CHOSEN, then=SOON)
    def reset(self, strings, then):
        guard = self.rig.guard
        wrong = [fault for fault in guard.book.latched() if fault.active]
        guard.command('reset_faults', 'test', 'random', strings, self.rig.now)
        stays = guard.book.latched()
        assert all(fault in stays for fault in wrong), 'reset while its cause stands'
        self.rig.run(then)

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
        latched = [fault.text for fault in rig.guard.book.latched()]
        assert [rig.commands(n)[-1].contacts for n in (0, 1)] == [ALL_OPEN] * 2, 'left closed'
        before = len(rig.sent)
        rig.run(0.5)
        assert len(rig.sent) == before, 'sent although not active'
        rig.guard.activate(rig.now)
        assert [fault.text for fault in rig.guard.book.latched()] == latched, 'forgotten'

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
        for index, string in enumerate(self.rig.guard.strings):
            if not string.faulted or string.sequence.at_rest:
                self.faulted[index] = None
            elif self.faulted[index] is None:
                self.faulted[index] = self.rig.guard.now
            if string.faulted:
                assert string.state in (State.FAULTED, State.LEAVING, State.OPENING)

    @invariant()
    def contacts_that_do_not_follow_end_a_connection(self):
        for index, string in enumerate(self.rig.guard.strings):
            minus, precharge, plus = string.reading.contacts
            # The open one may be silent: it is the closed ones that have to say so.
            follow = minus == plus == Contact.CLOSED
            follow &= precharge in (Contact.OPEN, Contact.UNKNOWN)
            if string.sequence.state is not State.CONNECTED or follow:
                self.apart[index] = None
                continue
            now = self.rig.guard.now
            if self.apart[index] is None:
                self.apart[index] = now
            assert now - self.apart[index] <= UNIT.feedback_timeout + UNIT.lease + 0.1


class Histories(Commands):
    """The same with everything that can be measured, or not."""

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

    @rule(string=STRINGS, obeys=st.booleans())
    def refuse(self, string, obeys):
        self.rig.units[string].obeys = obeys

    @rule(string=STRINGS, volts=st.floats(-10.0, 60.0))
    def link(self, string, volts):
        self.rig.units[string].link = volts

    @rule(string=STRINGS, ohms=st.sampled_from([10.0, 2e4, 1e7, math.inf, math.nan]))
    def insulation(self, string, ohms):
        self.rig.units[string].changes = {'insulation': ohms, 'insulation_age': 0.0}

    @rule(
        soc=st.sampled_from([math.nan, 0.0, 0.5, 1.0]), power=st.sampled_from([math.nan, 0.0, 9.0])
    )
    def estimates(self, soc, power):
        guard, now = self.rig.guard, self.rig.now
        guard.on_soc([soc] * 16, [0.01] * 16, now)
        guard.on_power([2.0, 30.0], [power] * 2, [power] * 2, now)


class TestCommands(Commands.TestCase):
    settings = settings(
        max_examples=20,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


class TestHistories(Histories.TestCase):
    settings = settings(
        max_examples=25,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestManyCommands(Commands.TestCase):
    settings = settings(
        max_examples=150,
        stateful_step_count=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestManyHistories(Histories.TestCase):
    settings = settings(
        max_examples=150,
        stateful_step_count=80,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
