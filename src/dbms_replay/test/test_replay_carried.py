# SPDX-License-Identifier: Apache-2.0
"""A recording carries the description of its pack."""

import shutil

import pytest
from dbms_msgs.msg import ProtectionState
from rclpy.serialization import serialize_message
from replay_rig import Scene, replay, trips

from dbms_pack import load_pack, paths
from dbms_replay.bags import Bag
from dbms_replay.carried import carried, restored, without
from dbms_replay.replay import Replay
from dbms_replay.trim import trim


@pytest.fixture
def own(tmp_path):
    """Return a pack file of one's own, with a cell and limits of its own beside it."""
    folder = tmp_path / 'own'
    folder.mkdir()
    shutil.copy(paths.find('cells', 'lg_hg2'), folder / 'my_cell.yaml')
    limits = paths.find('limits', 'nmc').read_text('utf-8')
    (folder / 'my_limits.yaml').write_text(limits, 'utf-8')
    text = load_pack('robot_13s').path.read_text('utf-8')
    text = text.replace('cell: lg_hg2', 'cell: my_cell.yaml')
    text = text.replace('set: nmc', 'set: my_limits.yaml')
    (folder / 'boat.yaml').write_text(text.replace('name: robot_13s', 'name: boat'), 'utf-8')
    return folder / 'boat.yaml'


def high(time, kind, fields):
    if kind == 'm1' and time > 3.0:
        fields['voltages'][2] = 4.5
    return fields


def test_a_pack_of_ones_own_comes_back_with_its_cell_and_limits(own):
    pack = load_pack(own)
    again = restored(carried(pack))
    assert (again.name, again.digest, again.limits) == ('boat', pack.digest, pack.limits)
    assert again.strings == pack.strings and again.cell.capacity == pack.cell.capacity
    assert load_pack(again.path).limits == pack.limits  # as nodes load it


def test_a_recording_replays_where_its_pack_file_is_not(own, tmp_path):
    custom = carried(load_pack(own))
    shutil.rmtree(own.parent)
    outcome = replay(Scene(tmp_path / 'a.mcap', high, custom=custom).run(5).close())
    assert trips(outcome) == [('CELL_OVERVOLTAGE', 'm1:3')] and not outcome.notes


def test_it_is_said_when_the_pack_given_or_the_pack_here_is_another(own, tmp_path, monkeypatch):
    bag = Scene(tmp_path / 'a.mcap', custom=carried(load_pack(own))).run(3).close()
    (note,) = replay(bag, pack='robot_13s').notes
    assert note.startswith('recorded with pack boat (') and 'replayed with robot_13s (' in note
    own.write_text(own.read_text('utf-8') + '# changed\n', 'utf-8')
    assert 'recorded with pack boat' in replay(bag, pack=own).notes[0]
    (tmp_path / 'config' / 'packs').mkdir(parents=True)
    for name in ('boat.yaml', 'my_cell.yaml', 'my_limits.yaml'):
        shutil.copy(own.parent / name, tmp_path / 'config' / 'packs')
    monkeypatch.setenv('DBMS_CONFIG', str(tmp_path / 'config'))
    (note,) = replay(bag).notes
    assert 'the pack file in the recording' in note and '--pack boat' in note


def test_a_pack_file_that_is_no_longer_understood_is_done_without(tmp_path):
    custom = {**carried(load_pack('robot_13s')), 'dbms_pack_file': 'name: robot_13s\n'}
    assert restored(custom) is None
    bag = Scene(tmp_path / 'a.mcap', custom=custom).run(2).close()
    assert Replay(Bag(bag)).pack.path == load_pack('robot_13s').path


def test_a_carried_pack_is_not_taken_for_that_of_another_battery(own, tmp_path):
    scene = Scene(tmp_path / 'a.mcap', custom=carried(load_pack(own)))
    scene.state(serialize_message(ProtectionState(pack='robot_13s')))
    assert Replay(Bag(scene.run(2).close())).pack.name == 'robot_13s'


def test_what_is_cut_down_to_a_test_goes_with_the_pack_of_today(own, tmp_path):
    bag = Scene(tmp_path / 'a.mcap', custom=carried(load_pack('robot_13s'))).run(2).close()
    trim(bag, tmp_path / 'b.mcap', '/battery')
    custom = Bag(tmp_path / 'b.mcap').custom
    assert custom == without(custom) == {'dbms_pack': 'robot_13s'}
