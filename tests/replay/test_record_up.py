# SPDX-License-Identifier: Apache-2.0
"""The recorder beside ./dbms up, and what other people's readers find in its bag."""

import os
import subprocess
import sys

import pytest
from rosbags.highlevel import AnyReader

from dbms_pack import load_pack
from dbms_replay.bags import Bag
from dbms_replay.replay import Replay

NAMESPACE = f'recorded_{os.getpid()}'
NAMES = (
    'modules/m1/cells', 'modules/m2/cells', 'strings/a/measurement', 'battery_state',
    'cells/state', 'limits', 'faults', 'protection/state', '/diagnostics',
)  # fmt: skip


def up(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'dbms_bringup.cli', 'up', *map(str, arguments)],
        capture_output=True, text=True, timeout=110, check=False,
        env={**os.environ, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'},
    )  # fmt: skip


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    directory = tmp_path_factory.mktemp('recorded') / 'bag'
    domain = 20 + os.getpid() % 80
    # A namespace of its own: another test may be in the same domain.
    done = up('--no-view', '--duration', 6, '--domain', domain, '--namespace', NAMESPACE,
              '--record', directory)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def test_every_topic_of_the_battery_is_recorded(bag):
    with AnyReader([bag]) as reader:
        counts = {
            one.topic.removeprefix(f'/{NAMESPACE}/'): one.msgcount for one in reader.connections
        }
        for connection, _, data in reader.messages():
            reader.deserialize(data, connection.msgtype)
    for name in NAMES:
        assert counts[name] > 0, counts


def test_the_recording_replays_without_being_told_the_pack(bag):
    recording = Bag(bag)
    replay = Replay(recording)
    assert replay.pack.path != load_pack('robot_13s').path  # it carries its own
    outcome = replay.run()
    assert not any('pack' in note for note in outcome.notes), outcome.notes
    assert outcome.messages.total() > 20
    assert recording.problems.total() - recording.problems['currents not measured'] == 0


def test_a_directory_in_use_is_refused_before_anything_starts(tmp_path):
    (tmp_path / 'there').write_text('')
    done = up('--no-view', '--record', tmp_path)
    assert done.returncode == 2 and 'not empty' in done.stderr
