# SPDX-License-Identifier: Apache-2.0
"""A recording beside many processes, through the kill of protection, and what its replay says."""

import dataclasses

import pytest
from rosbags.highlevel import AnyReader
from system_rig import Ears, closing, running, spy_on
from test_many_processes import TOPICS, connect_and_close, in_state, kill, plan_of

from dbms_bringup.recording import Recording
from dbms_replay.bags import Bag
from dbms_replay.replay import Replay

pytestmark = pytest.mark.slow


def recorded_states(bag):
    """Return the states of the pack that were told, each once for as long as it lasted."""
    with AnyReader([bag]) as reader:
        told = [one for one in reader.connections if one.topic.endswith('/protection/state')]
        names = [
            reader.deserialize(data, connection.msgtype).state_name
            for connection, _, data in reader.messages(told)
        ]
    return [name for name, before in zip(names, ['', *names], strict=False) if name != before]


def test_a_killed_protection_is_recorded_and_is_no_fault_in_a_replay(patient, tmp_path):
    bag = tmp_path / 'bag'
    plan = dataclasses.replace(plan_of(patient), record=bag)
    with Recording(plan, tmp_path), running(plan, tmp_path) as run:
        with closing(spy_on(plan.pack, plan)) as spy, closing(Ears('battery', **TOPICS)) as ears:
            run.wait_connected()
            spy.reported('main_closed')
            opened, told = spy.log.mark, ears.logs['state'].mark
            kill(run, 'protection')
            spy.reported('all_open', opened)
            ears.logs['state'].wait(in_state('STANDBY'), 'STANDBY again', told)
            connect_and_close(ears, spy, spy.log.mark)

    recorded = recorded_states(bag)
    between = recorded[recorded.index('CONNECTED') :]
    assert between.count('CONNECTED') == 2 and 'STANDBY' in between, recorded
    outcome = Replay(Bag(bag)).run()
    # The guard of today was not killed, and nothing that the other one's death did is its fault.
    states = [one.what for one in outcome.events if one.kind == 'state']
    assert states.count('CONNECTED') == 1 and 'FAULTED' not in states, states
    trips = [str(one) for one in outcome.events if one.kind == 'fault' and one.level == 'MSL']
    assert not trips, trips
