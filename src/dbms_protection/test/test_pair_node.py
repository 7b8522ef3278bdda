# SPDX-License-Identifier: Apache-2.0
"""Two protection nodes over DDS, against a fake driver that says who is in office."""

import time
from dataclasses import replace

import pytest
from dbms_msgs.msg import Holder
from dbms_msgs.srv import SetContactors
from node_rig import World
from protection_rig import UNIT
from rclpy.parameter import Parameter
from test_protection_node import patient_pack

from dbms_node import qos
from dbms_protection import protection_node
from dbms_protection.protection_node import ProtectionNode

CLOSED = (True, False, True)


class Pair(World):
    """Two guards; the driver obeys one in office, and another one after two thirds of a lease."""

    def __init__(self, pack):
        super().__init__(pack, pair='first')
        self.office, self.term, self.until_when = '', 0, 0.0
        self.obeyed = []
        driver = self.driver
        driver.destroy_service(driver.service)
        name = f'contactors/{pack.strings[0].name}/set'
        driver.service = driver.create_service(SetContactors, name, self.arbitrate)
        self.told = []
        self.listener.create_subscription(Holder, 'protection/holder', self.told.append, qos.STATE)
        parameters = {'pack': 'test', 'autostart': False, 'event_file': 'none', 'pair': 'second'}
        self.second = self.add(
            ProtectionNode(
                context=self.context,
                cli_args=['--ros-args', '-r', '__node:=protection_standby'],
                parameter_overrides=[Parameter(one, value=two) for one, two in parameters.items()],
            )
        )

    def arbitrate(self, request, response):
        now = time.monotonic()
        newcomer = (request.guard, request.term) != (self.office, self.term)
        if request.term < self.term or (newcomer and now < self.until_when):
            response.accepted, response.deposed = False, request.term < self.term
        else:
            self.office, self.term = request.guard, request.term
            self.until_when = now + request.lease * 2 / 3
            self.driver.set(request, response)
            self.obeyed.append((request.guard, request.term, self.driver.closed))
        response.holder, response.highest_term = self.office, self.term
        return response

    def begin(self):
        for node in (self.node, self.second):
            node.trigger_configure()
            node.trigger_activate()
            assert node.is_active
        self.until(lambda: self.office == '/protection', 'the first in office')
        self.in_state('STANDBY')
        while not self.ask('connect').success:
            pass  # until all measurements are there
        self.in_state('CONNECTED')
        return self


@pytest.fixture
def pair(monkeypatch):
    # A lease that a change of guards takes most of: shorter than elsewhere, to be soon over.
    pack = patient_pack(unit=replace(UNIT, lease=1.0, feedback_timeout=2.0))
    monkeypatch.setattr(protection_node, 'load_pack', lambda name: pack)
    made = Pair(pack)
    yield made
    made.close()


def test_the_second_goes_on_with_closed_contactors_and_the_first_stays_deposed(pair):
    pair.begin()
    pair.executor.remove_node(pair.node)  # hangs
    since = len(pair.obeyed)
    pair.until(lambda: pair.office == '/protection_standby', 'the second in office')
    pair.until(lambda: len(pair.obeyed) > since + 3, 'renewals')
    pair.executor.add_node(pair.node)  # and finds itself deposed
    again = len(pair.obeyed)
    pair.until(lambda: len(pair.obeyed) > again + 5, 'renewals with the first back')
    assert {closed for _, _, closed in pair.obeyed[since:]} == {CLOSED}
    assert {guard for guard, _, _ in pair.obeyed[again:]} == {'/protection_standby'}
    terms = [term for _, term, _ in pair.obeyed]
    assert terms == sorted(terms)
    assert len({(guard, term) for guard, term, _ in pair.obeyed}) == len(set(terms))
    assert pair.told[-1].guard == '/protection_standby'
    # It guards: asked to open, it opens.
    assert pair.ask('disconnect').success
    pair.until(lambda: pair.driver.closed == (False,) * 3, 'open contactors')


def test_what_the_second_finds_wrong_does_not_open_beside_a_first_that_guards(pair):
    """One guard commands at a time; the one in office finds the same and opens."""
    pair.begin()
    since = len(pair.obeyed)
    module = pair.pack.modules[0].name
    pair.driver.volts[module][2] = 4.5
    pair.until(lambda: pair.driver.closed == (False,) * 3, 'open contactors')
    assert {guard for guard, _, _ in pair.obeyed[since:]} == {'/protection'}
    pair.until(lambda: ('CELL_OVERVOLTAGE', 3, module) in pair.listener.names(), 'the fault')
