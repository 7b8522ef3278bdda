# SPDX-License-Identifier: Apache-2.0
"""Busbars, fuses, and contactors that wear."""

import numpy as np
import pytest
from sim_rig import Controller

from dbms_sim.feeds import ModelFeed
from dbms_sim.loads import make_load
from dbms_sim.string_path import StringPath
from dbms_sim.world import World


def make_rig(pack, load):
    return Controller(World(pack, ModelFeed(pack, make_load(load, pack), seed=1)))


def texts(rig):
    return [event.text for event in rig.world.events]


def test_a_fuse_stands_its_rating_for_ever_and_five_times_it_for_seconds(robot):
    path = StringPath(robot)
    for _ in range(1000):
        path.step(np.array([-99.0]), 3600.0)
    assert not path.open.any()
    for _ in range(39):
        path.step(np.array([-500.0]), 0.1)
    assert not path.open.any()
    for _ in range(2):
        path.step(np.array([-500.0]), 0.1)
    assert path.open.all()


def test_a_blown_fuse_ends_the_current_until_it_is_replaced(robot):
    rig = make_rig(robot, 'constant:-300')
    rig.connect()
    rig.run(13.0)
    assert [str(fault) for fault in rig.world.faults] == ['fuse_open at a']
    assert rig.world.feed.currents[0] == 0.0
    assert any('fuse_open' in text for text in texts(rig))
    rig.world.feed.set_load(make_load('constant:-20', robot))
    rig.world.clear('fuse_open')
    rig.run(0.1)
    assert rig.world.feed.currents[0] == pytest.approx(-20.0)


def test_busbars_take_their_share_of_the_voltage(robot):
    rig = make_rig(robot, 'constant:-20')
    rig.connect()
    feed = rig.world.feed
    drop = feed.voltages.sum() - feed.string_voltages[0]
    assert drop == pytest.approx(20.0 * 13 * 50e-6)
    rig.world.inject('busbar_loose', 'a', {'resistance': 0.05})
    rig.run(0.1)
    drop = feed.voltages.sum() - feed.string_voltages[0]
    assert drop == pytest.approx(20.0 * (13 * 50e-6 + 0.05))
    rig.world.clear('busbar_loose')
    rig.run(0.1)
    drop = feed.voltages.sum() - feed.string_voltages[0]
    assert drop == pytest.approx(20.0 * 13 * 50e-6)


def test_closing_onto_an_empty_link_welds_and_after_precharge_does_not(robot):
    rig = make_rig(robot, 'rest')
    rig.connect()
    assert rig.world.faults == []
    rig = make_rig(robot, 'rest')
    rig.run(0.1)
    rig.hold('Minus', 'Plus')
    rig.run(0.1)
    assert [fault.values['contactor'] for fault in rig.world.faults] == ['plus']
    rig.hold()
    rig.run(0.5)
    assert rig.world.contactors() == {'a': 'plus'}


def test_breaking_a_load_is_an_arc_and_wears_the_contact_out(robot):
    rig = make_rig(robot, 'constant:-19')
    rig.connect()
    rig.hold()
    rig.run(0.5)
    assert not any('ARC' in text for text in texts(rig))
    rig.command()
    rig.world.feed.set_load(make_load('constant:-90', robot))
    breaks = 0
    while not rig.world.faults and breaks < 40:
        breaks += 1
        rig.connect()
        rig.hold()
        rig.run(0.5)
        rig.command()
    assert breaks == 31  # at 90 A of 500 A
    assert 'string a: ARC, plus opened under -90 A' in texts(rig)
    assert str(rig.world.faults[0]) == 'contactor_welded at a contactor=plus'
