# SPDX-License-Identifier: Apache-2.0
"""`./dbms events`: what was kept, listed, followed and exported."""

import csv
import json

import numpy as np
import pytest
from journal_rig import Kept

from dbms_pack import Level
from dbms_protection import event_log, events_cli


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'events.sqlite'


@pytest.fixture
def written(path):
    kept = Kept(path)
    kept.run(1.0)
    kept.rig.voltages[0][0] = 4.3
    kept.run(0.5)
    kept.finish()
    return path


def test_the_command_lists_and_exports(written, tmp_path, capsys):
    assert events_cli.main(['--file', str(written)]) == 0
    text = capsys.readouterr().out
    assert 'raised: CELL_OVERVOLTAGE MSL at module a1 cell 1' in text
    for name in ('out.csv', 'out.json'):
        assert events_cli.main(['--file', str(written), '--export', str(tmp_path / name)]) == 0
        assert 'CELL_OVERVOLTAGE' in (tmp_path / name).read_text()


def test_the_command_shows_a_frame(written, capsys):
    number = next(e.number for e in event_log.read(written) if e.level == Level.MSL.name)
    assert events_cli.main(['--file', str(written), '--frame', str(number)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('time_s,current_1,voltage_1,link_1,cell_1')
    assert len(lines) > 10


@pytest.mark.parametrize('words', [['--frame', '999999'], []])
def test_the_command_says_what_is_not_there(words, written, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'nothing'))
    file = ['--file', str(written)] if words else []
    assert events_cli.main([*file, *words]) == 1
    assert 'dbms: ' in capsys.readouterr().err
    assert events_cli.main(['--file', str(tmp_path / 'no.sqlite')]) == 1


def trip_of(path):
    return next(e.number for e in event_log.read(path) if e.level == Level.MSL.name)


def test_a_frame_is_exported_with_all_values_ten_seconds_before_and_after(path, tmp_path):
    kept = Kept(path)
    kept.rig.connect()
    kept.run(12.0)
    kept.rig.units[0].current = -30.0
    kept.run(1.0)
    kept.rig.voltages[1][2] = 4.3
    kept.rig.voltages[1][3] = np.nan
    kept.run(11.0)
    kept.finish()
    out = tmp_path / 'frame.csv'
    words = ['--file', str(path), '--frame', str(trip_of(path)), '--export', str(out)]
    assert events_cli.main(words) == 0
    with out.open(newline='') as file:
        rows = list(csv.DictReader(file))
    pack = kept.rig.pack
    wanted = {'time_s', 'current_1', 'voltage_1', 'link_1'}
    wanted |= {f'cell_{number + 1}' for number in range(pack.cells)}
    wanted |= {f'temperature_{number + 1}' for number in range(pack.temperatures)}
    assert {*rows[0]} == wanted
    times = np.array([float(row['time_s']) for row in rows])
    assert times[0] == pytest.approx(-10.0, abs=0.15)
    assert times[-1] == pytest.approx(10.0, abs=0.15)
    assert np.diff(times) == pytest.approx(0.1, abs=0.03), 'without a gap'
    before = [row for row in rows if float(row['time_s']) < -0.15]
    after = [row for row in rows if float(row['time_s']) > 0.15]
    assert {row['cell_7'] for row in before} == {'3.7000'}
    assert {row['cell_7'] for row in after} == {'4.3000'}
    assert {row['cell_8'] for row in after} == {''}, 'not measured stays so'
    assert '-30.0000' in {row['current_1'] for row in before}
    assert {row['current_1'] for row in after[5:]} == {'0.0000'}, 'it has opened'


def test_an_export_has_every_event_with_its_detail(path, tmp_path):
    kept = Kept(path)
    kept.rig.connect()
    kept.journal.command('connect', 'helm', 'to sail', 'all', 'taken up', kept.stamp)
    kept.run(0.5)
    kept.rig.voltages[0][0] = 4.3
    kept.run(0.5)
    kept.finish()
    for name in ('out.json', 'out.csv'):
        words = ['--file', str(path), '--export', str(tmp_path / name)]
        assert events_cli.main(words) == 0
    events = json.loads((tmp_path / 'out.json').read_text())
    with (tmp_path / 'out.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [int(row['number']) for row in rows] == [one['number'] for one in events]
    assert {one['kind'] for one in events} == {'start', 'command', 'contactor', 'fault'}
    [command] = [one for one in events if one['kind'] == 'command']
    assert (command['detail']['origin'], command['detail']['reason']) == ('helm', 'to sail')
    fault = next(one['detail'] for one in events if one['level'] == 'MSL')
    assert (fault['module'], fault['cell']) == ('a1', 1)
    assert fault['limit'] == pytest.approx(4.22)
