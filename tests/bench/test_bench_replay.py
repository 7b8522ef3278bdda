# SPDX-License-Identifier: Apache-2.0
import json

from bench import replay


def test_readers_and_replay_are_measured_on_the_same_recording(tmp_path, capsys):
    path = tmp_path / 'replay.json'
    words = ['--minutes', '0.1', '--modules', '2', '--cells', '4', '--aim', '1e9', '--json']
    assert replay.main([*words, str(path)]) == 0
    result = json.loads(path.read_text())
    assert result['messages'] == 60 * 3
    assert {'rosbags', 'read and unpack', 'replay'} <= set(result['seconds'])
    assert result['ratio'] > 0.0
    assert 'memory grew' in capsys.readouterr().out


def test_a_missed_aim_is_an_error():
    words = ['--minutes', '0.05', '--modules', '2', '--cells', '4', '--aim', '1e-9']
    assert replay.main(words) == 1
