# SPDX-License-Identifier: Apache-2.0
"""Who may command: holders, leases, takeover, emergency stop. Without ROS."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from protection_rig import Rig, make_pack

from dbms_protection.commander import Commander
from dbms_protection.contactors import State
from dbms_protection.emergency import EmergencyStop
from dbms_protection.holder import Claim, Request, Rules

OPEN = (False, False, False)


class Desk(Rig):
    """A rig whose commands go through a commander."""

    def __init__(self, rules=None, timeout=0.0, **options):
        super().__init__(**options)
        self.activate()
        self.commander = Commander(self.guard, rules or Rules(), EmergencyStop(timeout))

    def step(self, dt=0.01):
        if hasattr(self, 'commander'):
            self.commander.tick(self.now)
        super().step(dt)

    def ask(self, kind, holder='', lease=0.0, **values):
        origin = f'origin of {holder}'
        request = Request(kind, origin, 'test', holder=holder, lease=lease, **values)
        return self.commander.command(request, self.now)


def test_nobody_else_connects_or_disconnects_what_is_held():
    desk = Desk()
    assert desk.ask('connect', 'dock', 10.0)[0]
    desk.run(1.5)
    for holder in ('planner', ''):
        for kind in ('connect', 'disconnect'):
            done, said = desk.ask(kind, holder, 5.0)
            assert not done and 'held by dock for another 8.5 s' in said
    assert desk.state() is State.CONNECTED
    assert desk.ask('disconnect', 'dock')[0]
    desk.run(0.5)
    assert desk.ask('connect', 'planner', 5.0)[0]


def test_asking_again_renews_the_lease_and_changes_nothing_else():
    desk = Desk()
    desk.ask('connect', 'dock', 3.0)
    sequence = desk.guard.strings[0].sequence
    for _ in range(5):
        desk.run(2.0)
        said = 'connected already; held by dock for 3 s'
        assert desk.ask('connect', 'dock', 3.0) == (True, said)
        assert sequence.state is State.CONNECTED
    assert desk.commander.claim.left(desk.now) == pytest.approx(3.0)


def test_a_lapsed_lease_frees_the_pack_and_leaves_it_connected():
    desk = Desk()
    desk.ask('connect', 'dock', 2.0)
    desk.run(2.5)
    assert desk.state() is State.CONNECTED
    assert desk.commander.events == ['the lease of dock has lapsed']
    assert desk.ask('disconnect')[0]


def test_a_lapsed_lease_disconnects_announced_where_the_owner_wants_it():
    desk = Desk(Rules(disconnect_on_lapse=True))
    desk.ask('connect', 'dock', 2.0)
    desk.units[0].current = -60.0
    desk.run(2.1)
    assert desk.state() is State.LEAVING
    desk.run(1.5)
    assert desk.state() is State.OPEN
    assert 'lease of dock has lapsed' in desk.guard.last_command


def test_a_person_takes_over_by_force_and_the_first_is_told():
    desk = Desk(Rules(may_force=('helm*',)))
    desk.ask('connect', 'planner', 10.0)
    desk.run(1.5)
    done, said = desk.ask('connect', 'dock', 5.0, force=True)
    assert not done and 'dock may not take over' in said
    assert not desk.ask('connect', '', 5.0, force=True)[0]
    done, said = desk.ask('connect', 'helm 1', 5.0, force=True)
    assert done and 'taken over from planner' in said
    assert desk.state() is State.CONNECTED, 'taking over moves no contactor'
    assert 'held by helm 1' in desk.ask('connect', 'planner', 10.0)[1]


def test_disconnecting_by_force_ends_the_claim():
    desk = Desk()
    desk.ask('connect', 'planner', 10.0)
    desk.run(1.5)
    assert 'taken over from planner' in desk.ask('disconnect', 'helm', force=True)[1]
    assert desk.commander.claim.holder == ''


def test_a_connect_that_is_refused_claims_nothing():
    desk = Desk()
    desk.silent = {0, 1}
    desk.run(1.0)
    assert not desk.ask('connect', 'dock', 10.0)[0]
    assert desk.commander.claim.holder == ''


def test_a_string_that_tripped_is_not_renewed_but_the_claim_stands():
    desk = Desk()
    desk.ask('connect', 'dock', 10.0)
    desk.run(1.5)
    desk.voltages[0][:] = 4.3
    desk.run(0.5)
    done, said = desk.ask('connect', 'dock', 10.0)
    assert not done and 'faults stand' in said
    assert desk.commander.claim.holder == 'dock'


def test_a_part_of_the_strings_leaves_the_holder():
    desk = Desk(pack=make_pack(strings=2))
    desk.ask('connect', 'dock', 10.0)
    desk.run(3.0)
    assert desk.ask('disconnect', 'dock', strings=('a',))[0]
    assert desk.commander.claim.holder == 'dock'
    assert 'no string x' in desk.ask('connect', 'dock', 5.0, strings=('x',))[1]


@pytest.mark.parametrize('lease', [math.nan, -1.0, 0.0, 0.4, math.inf, 1e6])
def test_a_lease_that_is_none_is_refused(lease):
    claim = Claim()
    assert 'lease' in claim.refusal(Request('connect', holder='dock', lease=lease), 0.0)


@pytest.mark.parametrize('name', ['x' * 81, 'a\nb', 'a\x00'])
def test_a_name_that_is_none_is_refused(name):
    assert 'name' in Claim().refusal(Request('connect', holder=name, lease=1.0), 0.0)


def test_a_pack_may_ask_for_a_name():
    desk = Desk(Rules(required=True))
    assert 'named holder' in desk.ask('connect')[1]
    assert desk.ask('connect', 'dock', 5.0)[0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(['connect', 'disconnect']),
            st.sampled_from(['', 'a', 'b']),
            st.floats(0.0, 3.0),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_a_holder_loses_the_pack_by_force_by_himself_or_by_time_only(steps):
    claim, now, held, until = Claim(), 0.0, '', 0.0
    for kind, who, wait, force in steps:
        now += wait
        if claim.lapsed(now):
            assert now >= until
            held = ''
        request = Request(kind, holder=who, lease=2.0, force=force)
        if claim.refusal(request, now):
            assert held and who != held
            continue
        assert not held or who == held or (force and who)
        claim.grant(request, now)
        if kind == 'connect' and who:
            held, until = who, now + 2.0
        elif kind == 'disconnect':
            held = ''
        assert claim.holder == held


# -- emergency stop -------------------------------------------------------------------------------


def stop_faults(desk):
    return {fault.name for fault in desk.guard.book.listing() if 'STOP' in fault.name}


def test_the_button_opens_at_once_under_full_load():
    desk = Desk()
    desk.connect()
    desk.units[0].current = -90.0
    desk.run(0.1)
    desk.commander.stop.hear(desk.guard, True, desk.now)
    assert desk.commands()[-1].contacts == OPEN, 'within the call'
    desk.run(0.5)
    assert desk.state() is State.FAULTED
    assert 'still active' in desk.ask('reset_faults')[1]
    desk.commander.stop.hear(desk.guard, False, desk.now)
    desk.run(0.1)
    assert desk.state() is State.FAULTED, 'released is not reset'
    assert not desk.ask('connect')[0]
    assert desk.ask('reset_faults')[0]
    assert desk.ask('connect')[0]


def test_a_button_pressed_with_all_open_forbids_to_connect_until_it_is_released():
    desk = Desk()
    desk.commander.stop.hear(desk.guard, True, desk.now)
    desk.run(0.1)
    assert 'EMERGENCY_STOP' in desk.ask('connect')[1]
    desk.commander.stop.hear(desk.guard, False, desk.now)
    assert desk.ask('connect')[0]


def test_a_call_stops_once_and_is_latched():
    desk = Desk()
    desk.connect()
    desk.commander.stop.press(desk.guard, 'called', desk.now)
    assert desk.commands()[-1].contacts == OPEN
    desk.run(0.5)
    assert not desk.ask('connect')[0]
    assert desk.ask('reset_faults')[0]
    desk.commander.stop.press(desk.guard, 'called', desk.now)
    assert stop_faults(desk) == {'EMERGENCY_STOP'}, 'also with all open'


def test_the_button_stops_a_precharge_between_its_attempts():
    desk = Desk()
    desk.ask('connect')
    desk.run(0.05)
    desk.commander.stop.hear(desk.guard, True, desk.now)
    desk.run(5.0)
    assert desk.commands()[-1].contacts == OPEN
    assert desk.state() is State.FAULTED


def test_a_button_that_has_to_be_heard_and_is_not_stops():
    desk = Desk(timeout=0.5)
    for _ in range(10):
        desk.run(0.2)
        desk.commander.stop.hear(desk.guard, False, desk.now)
        if desk.state() is State.OPEN:
            desk.ask('connect')
    assert desk.state() is State.CONNECTED
    desk.run(0.6)
    assert desk.state() is State.FAULTED
    assert stop_faults(desk) == {'EMERGENCY_STOP_LOST'}
    desk.commander.stop.hear(desk.guard, False, desk.now)
    assert desk.ask('reset_faults')[0]


def test_a_button_never_heard_forbids_to_connect_without_a_latch():
    desk = Desk(timeout=0.5)
    desk.run(0.7)
    assert 'EMERGENCY_STOP_LOST' in desk.ask('connect')[1]
    desk.commander.stop.hear(desk.guard, False, desk.now)
    assert desk.ask('connect')[0]
