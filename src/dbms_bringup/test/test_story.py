# SPDX-License-Identifier: Apache-2.0
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dbms_bringup.story import FaultSeen, Moment, Story, clock

FAULT = FaultSeen(
    'CELL_UNDERVOLTAGE', 3, 'a', 'm1', 4, 0, 3.05, 3.1, 'V', True, True, 'CELL_UNDERVOLTAGE ..'
)


@pytest.fixture
def told():
    return []


@pytest.fixture
def story(told):
    return Story(told.append, time_scale=10.0)


def at(seconds):
    return Moment(seconds, 10.0 * seconds)


def connect(story, when=1.0):
    story.on_state(at(when), 'CONNECTED', [('a', 'CONNECTED', 'connected')])


def test_a_run_is_told_in_its_order(story, told):
    story.on_state(at(0), 'STANDBY', [('a', 'OPEN', 'not connected yet')])
    connect(story)
    story.on_faults(at(2), [FAULT])
    story.on_state(at(2), 'FAULT', [('a', 'FAULTED', 'CELL_UNDERVOLTAGE at m1:4')])
    assert story.opened_on_fault
    assert 'never connected' not in '\n'.join(story.lines())
    content = story.summary()
    (connection,) = content['connections']
    assert connection['connected'] == {'wall': 1.0, 'battery': 10.0}
    assert connection['opened']['wall'] == 2.0
    assert content['faults'][0]['place'] == 'm1:4'
    assert [line.split('  ')[-1] for line in told][-2:] == [
        'string a: FAULTED, CELL_UNDERVOLTAGE at m1:4',
        'pack: FAULT',
    ]


def test_what_estimation_warns_of_is_told_once(story, told):
    for when, text in enumerate(['', 'file damaged', 'file damaged', '', 'file damaged']):
        story.on_estimation(at(when), 'state', text)
        story.on_estimation(at(when), 'inputs', '')
    assert [line.split('  ')[-1] for line in told] == ['estimation: file damaged'] * 2


def test_what_did_not_change_is_told_once(story, told):
    for when in range(5):
        story.on_state(at(when), 'STANDBY', [('a', 'OPEN', '')])
        story.on_faults(at(when), [replace(FAULT, value=3.0 - when, text=f'{when}')])
        story.on_limits(at(when), 0.0, 0.0, 'x', f'reason {when}')
    assert len(told) == 3 + 1  # string, pack, fault; and once that the limits are zero
    assert len(story.faults) == 1


def test_a_fault_that_comes_again_is_told_again(story, told):
    story.on_faults(at(0), [FAULT])
    story.on_faults(at(1), [replace(FAULT, active=False)])
    assert told[-1].endswith('fault over: CELL_UNDERVOLTAGE MSL at m1:4, latched')
    story.on_faults(at(2), [FAULT])
    story.on_faults(at(3), [])
    assert told[-1].endswith('fault over: CELL_UNDERVOLTAGE MSL at m1:4')
    assert len(story.faults) == 2


def test_charge_is_integrated_in_battery_time_while_connected(story):
    story.on_string('a', 0.0, -36.0, 50.0)
    story.on_string('a', 0.5, -36.0, 50.0)  # not connected: not counted
    connect(story)
    for tenth in range(5, 16):
        story.on_string('a', tenth / 10, -36.0, 50.0)
    assert story.discharged == pytest.approx(36.0 * 1.0 * 10 / 3600)
    assert story.energy_out == pytest.approx(50.0 * story.discharged)
    assert (story.charged, story.energy_in) == (0.0, 0.0)


@pytest.mark.parametrize(
    'samples',
    [
        [(0.0, math.nan, 50.0), (0.5, -1.0, 50.0)],  # not measured
        [(0.0, -1.0, 50.0), (30.0, -1.0, 50.0)],  # a gap in which anything may have flowed
        [(5.0, -1.0, 50.0), (4.0, -1.0, 50.0)],  # a clock that was set back
    ],
)
def test_charge_is_not_made_up(story, samples):
    connect(story)
    for sample in samples:
        story.on_string('a', *sample)
    assert (story.charged, story.discharged) == (0.0, 0.0)


def test_extremes_name_their_cell_and_leave_out_what_is_not_measured(story):
    story.on_cells(at(1), 'm1', np.array([3.7, np.nan, 3.6], dtype=np.float32))
    story.on_cells(at(2), 'm2', np.array([np.nan, np.nan], dtype=np.float32))
    story.on_cells(at(3), 'm2', np.array([3.9, 3.65], dtype=np.float32))
    assert (story.lowest.module, story.lowest.cell, story.lowest.at.wall) == ('m1', 3, 1)
    assert (story.highest.module, story.highest.cell) == ('m2', 1)


def test_contacts_tell_what_a_dead_protection_cannot(story):
    connect(story)
    story.on_contactors(at(2), 'a', False, False)
    assert story.connected
    story.on_contactors(at(3), 'a', True, True)
    assert not story.connected
    story.on_state(at(5), 'STANDBY', [('a', 'OPEN', 'not connected yet')])
    (connection,) = story.connections
    assert (connection.opened, connection.why) == (at(3), 'the lease ran out')


def test_protection_says_why_also_when_the_contacts_were_faster(story):
    connect(story)
    story.on_contactors(at(2), 'a', True, False)
    assert not story.connected
    assert not story.settled
    story.on_state(at(3), 'STANDBY', [('a', 'OPEN', 'disconnect by somebody')])
    assert story.settled
    story.on_state(at(4), 'STANDBY', [('a', 'OPEN', 'not connected yet')])
    (connection,) = story.connections
    assert (connection.opened, connection.why) == (at(2), 'disconnect by somebody')


def test_protection_that_has_put_its_strings_away_says_nothing_of_them(story):
    connect(story)
    story.on_contactors(at(2), 'a', True, False)
    story.on_state(at(3), 'UNCONFIGURED', [])
    assert not story.settled
    assert 'UNCONFIGURED' not in story.connections[0].why


def test_an_empty_story_is_one_too(story):
    json.dumps(story.summary(), allow_nan=False)
    assert story.lines()[0] == 'never connected'
    assert 'waiting' in story.status_line(Moment(0.0))


def test_clock():
    assert clock(3725.9) == '1:02:05'
