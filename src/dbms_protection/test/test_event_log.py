# SPDX-License-Identifier: Apache-2.0
"""What is kept survives what happens to the file and to the process."""

import math
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from journal_rig import BIRTH, Kept
from protection_rig import make_limits, make_pack

from dbms_protection import event_log, freeze_frame
from dbms_protection.contactors import State
from dbms_protection.event_log import Event, EventLog, WearRow
from dbms_protection.freeze_frame import Recorder
from dbms_protection.measurements import CellData, Reading

NAN = math.nan


def event(number, text='x'):
    return Event(number, BIRTH + number, 'fault', 'MSL', text, {'value': None})


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'deep' / 'events.sqlite'


# -- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'content', [b'', b'not a database', b'SQLite format 3\0' + b'\xff' * 9000]
)
def test_a_file_that_is_none_is_set_aside_and_never_lost(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    told = []
    log = EventLog(path, told.append)
    assert log.open() == 0
    assert log.append([event(1)], {}, [])
    log.close()
    assert [e.number for e in event_log.read(path)] == [1]
    if content:
        assert path.with_name('events.sqlite.unusable.1').read_bytes() == content
        assert 'set aside' in told[0]


def test_the_file_of_somebody_else_is_left_alone(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as base:
        base.execute('CREATE TABLE theirs (x)')
    base.close()
    log = EventLog(path, lambda text: None)
    log.open()
    log.close()
    aside = sqlite3.connect(path.with_name('events.sqlite.unusable.1'))
    assert aside.execute('SELECT name FROM sqlite_master').fetchall() == [('theirs',)]
    aside.close()


def test_a_folder_that_cannot_be_made_is_said_once_and_nothing_raises(tmp_path):
    (tmp_path / 'file').write_text('')
    told = []
    log = EventLog(tmp_path / 'file' / 'events.sqlite', told.append)
    assert log.open() == 0
    assert not log.append([event(1)], {}, [])
    assert not log.append([event(2)], {}, [])
    assert len(told) == 1
    assert log.latched() == log.wear() == []


def test_a_full_disk_is_said_and_the_old_events_stay(path, monkeypatch):
    monkeypatch.setattr(event_log, 'PAGES', 40)
    told = []
    log = EventLog(path, told.append)
    log.open()
    assert log.append([event(1)], {'a': {'name': 'A'}}, [])
    assert not log.keep_frame(1, b'x' * 1_000_000)
    assert not log.append([event(2, 'y' * 1_000_000)], {}, [])
    assert 'full' in log.problem
    assert log.latched() == [{'name': 'A'}]
    log.close()
    assert [e.number for e in event_log.read(path)] == [1]


def test_who_else_writes_is_waited_for_and_then_said(path):
    log = EventLog(path, lambda text: None)
    log.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute('BEGIN IMMEDIATE')
    assert not log.append([event(1)], {}, [])
    assert 'locked' in log.problem
    other.execute('ROLLBACK')
    assert log.append([event(1)], {}, [])
    assert log.problem == ''
    other.close()
    log.close()


def test_the_file_is_bounded(path, monkeypatch):
    monkeypatch.setattr(event_log, 'EVENTS_KEPT', 50)
    monkeypatch.setattr(event_log, 'FRAMES_KEPT', 3)
    log = EventLog(path, lambda text: None)
    log.open()
    for number in range(1, 301):
        log.keep_frame(number, b'x')
        log.append([event(number)], None, [])
    assert [e.number for e in event_log.read(path)] == list(range(251, 301))
    assert event_log.read_frame(path, 297) is None
    assert event_log.read_frame(path, 300) == b'x'
    log.close()


WRITER = """
import sys
from pathlib import Path
from dbms_protection.event_log import Event, EventLog
log = EventLog(Path(sys.argv[1]), print)
log.open()
number = 0
while True:
    number += 1
    assert log.append([Event(number, 0.0, 'fault', 'MSL', 'x', {})], {str(number): {}}, [])
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill(path):
    """Killed while it writes, the file holds everything it had said was written."""
    writer = subprocess.Popen(
        [sys.executable, '-c', WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    said = [int(writer.stdout.readline()) for _ in range(20)]
    writer.send_signal(signal.SIGKILL)
    said += [int(line) for line in writer.stdout.read().splitlines() if line.strip().isdigit()]
    writer.wait()
    log = EventLog(path, lambda text: None)
    newest = log.open()
    assert newest >= max(said)
    assert len(log.latched()) == 1
    assert [e.number for e in event_log.read(path)] == list(range(1, newest + 1))
    log.close()


# -- the journal ----------------------------------------------------------------------------------


def test_a_latched_fault_survives_a_restart_and_keeps_the_string_open(path):
    first = Kept(path)
    first.rig.voltages[1][2] = 4.3
    first.run(0.5)
    first.rig.voltages[1][2] = 3.7
    first.run(0.5)  # not finished: the process dies here
    second = Kept(path)
    second.run(0.5)
    assert second.rig.state() is State.FAULTED
    [fault] = second.rig.guard.book.listing()
    assert (fault.name, str(fault.place)) == ('CELL_OVERVOLTAGE', 'module a2 cell 3')
    assert not fault.active
    assert fault.worst == pytest.approx(4.3)
    assert not second.rig.connect()[0]
    assert second.rig.guard.command('reset_faults', 'me', 'looked at', (), second.rig.now)[0]
    second.run(0.1)
    third = Kept(path)
    assert third.rig.connect()[0]
    assert third.rig.state() is State.CONNECTED


@pytest.mark.parametrize(
    'kept', [{}, {'name': 3}, {'name': 'X', 'level': 'BAD'}, {'level': None, 'string': []}]
)
def test_kept_faults_that_make_no_sense_are_left_out(path, kept):
    log = EventLog(path, lambda text: None)
    log.open()
    log.append([], {'x': kept}, [])
    log.close()
    assert Kept(path).rig.names() == set()


def test_a_fault_of_a_string_that_is_gone_is_left_out(path):
    first = Kept(path, make_pack(strings=2))
    first.rig.voltages[2][0] = 4.3
    first.run(0.5)
    assert Kept(path).rig.names() == set()


def test_a_trip_has_the_ten_seconds_before_and_after(path):
    kept = Kept(path)
    kept.run(15.0)
    kept.rig.voltages[0][1] = 4.3
    kept.run(0.2)
    trip = next(e for e in event_log.read(path) if e.level == 'MSL')
    early = freeze_frame.unpacked(event_log.read_frame(path, trip.number))
    assert early['time'][0] == pytest.approx(-10.0, abs=0.2), 'kept at once, in case of a crash'
    kept.run(12.0)
    frame = freeze_frame.unpacked(event_log.read_frame(path, trip.number))
    assert frame['time'][-1] == pytest.approx(10.0, abs=0.2)
    assert frame['voltages'].shape == (len(frame['time']), 8)
    before = frame['voltages'][frame['time'] < -0.15, 1]
    assert before == pytest.approx(np.full(len(before), 3.7), abs=1e-6)
    assert frame['voltages'][-1, 1] == pytest.approx(4.3)


def test_trips_of_one_moment_share_a_frame(path):
    kept = Kept(path)
    kept.run(1.0)
    kept.rig.voltages[0][:] = 4.3
    kept.run(0.5)
    kept.finish()
    trips = [e for e in event_log.read(path) if e.level == 'MSL']
    frames = [e for e in trips if event_log.read_frame(path, e.number)]
    assert len(trips) == 4
    assert len(frames) == 1


def test_commands_are_kept_with_who_and_why(path):
    kept = Kept(path)
    what = ('connect', 'helm', 'leaving port', '', 'string a is being connected')
    kept.journal.command(*what, stamp=kept.stamp)
    kept.run(0.1)
    command = next(e for e in event_log.read(path) if e.kind == 'command')
    assert command.detail['origin'] == 'helm'
    assert command.text == 'connect by helm (leaving port): string a is being connected'


def test_who_asks_hears_at_once_whether_a_command_is_kept(path, monkeypatch):
    monkeypatch.setattr(event_log, 'PAGES', 40)
    kept = Kept(path)
    answers = []
    what = ('connect', 'helm', 'why', '', 'refused')
    kept.journal.command(*what, stamp=kept.stamp, kept=answers.append)
    assert answers == ['']
    assert [e.kind for e in event_log.read(path)][-1] == 'command'
    kept.journal.command(*what[:-1], 'x' * 1_000_000, stamp=kept.stamp, kept=answers.append)
    assert 'full' in answers[1]
    kept.finish()
    kept.journal.command(*what, stamp=kept.stamp, kept=answers.append)
    assert 'closed' in answers[2]


def test_a_reset_is_kept_together_with_what_it_reset(path):
    kept = Kept(path)
    kept.rig.voltages[1][2] = 4.3
    kept.run(0.5)
    kept.rig.voltages[1][2] = 3.7
    kept.run(0.5)
    assert kept.log.latched()
    assert kept.rig.guard.command('reset_faults', 'me', '', (), kept.rig.now)[0]
    kept.journal.command('reset', 'me', '', '', 'done', stamp=kept.stamp, kept=lambda why: None)
    assert kept.log.latched() == []  # without another cycle


def test_a_file_that_comes_back_late_loses_none_of_its_events(path):
    first = EventLog(path, lambda text: None)
    first.open()
    assert first.append([event(1, 'old'), event(2, 'old')], None, [])
    first.close()
    hidden = path.parent.rename(path.parent.with_name('hidden'))
    path.parent.write_text('in the way')
    log = EventLog(path, lambda text: None)
    assert log.open() == 0
    path.parent.unlink()
    hidden.rename(path.parent)
    assert log.append([event(1, 'new')], None, [])
    assert log.keep_frame(1, b'frame')
    assert [(e.number, e.text) for e in event_log.read(path)] == [
        (1, 'old'), (2, 'old'), (3, 'new'),
    ]  # fmt: skip
    assert event_log.read_frame(path, 3) == b'frame'
    log.close()


def test_contactors_wear_with_every_closing_and_every_load_they_break(path):
    kept = Kept(path)
    kept.rig.guard.command('connect', '', '', (), kept.rig.now)
    kept.run(1.5)
    kept.rig.units[0].current = -60.0
    kept.run(0.2)
    kept.rig.guard.command('disconnect', '', '', (), kept.rig.now)
    kept.run(2.0)
    kept.finish()
    log = EventLog(path, lambda text: None)
    log.open()
    wear = {row.contactor: row for row in log.wear()}
    assert {name: row.cycles for name, row in wear.items()} == {
        'minus': 1, 'precharge': 1, 'plus': 1,
    }  # fmt: skip
    assert wear['plus'].loaded == 1, 'plus breaks a discharge'
    assert wear['plus'].arcs == pytest.approx(9.0)
    assert wear['precharge'] == WearRow('a', 'precharge', 1, 0, 0.0)
    moves = [e.text for e in event_log.read(path) if e.kind == 'contactor']
    assert any('plus opens at -60.0 A' in text for text in moves)
    log.close()


def test_a_restart_goes_on_counting(path):
    for count in (1, 2):
        kept = Kept(path)
        kept.rig.connect()
        kept.run(0.1)
        kept.finish()
        log = EventLog(path, lambda text: None)
        log.open()
        assert {row.cycles for row in log.wear()} == {count}
        log.close()
    numbers = [e.number for e in event_log.read(path)]
    assert numbers == sorted(set(numbers))


def test_guarding_goes_on_when_nothing_can_be_kept(tmp_path):
    (tmp_path / 'file').write_text('')
    kept = Kept(tmp_path / 'file' / 'events.sqlite')
    kept.rig.connect()
    kept.rig.voltages[0][0] = 4.3
    kept.run(0.5)
    assert kept.rig.state() is State.FAULTED
    assert kept.told


def test_a_flood_of_faults_is_bounded(path):
    kept = Kept(path, make_pack(limits=make_limits()))
    for index in range(50):
        kept.rig.voltages[0][:] = 4.3 if index % 2 else 3.7
        kept.run(0.2)
    assert len(kept.journal._frames) <= 4
    assert kept.log.problem == ''


def test_samples_before_there_were_any_are_not_made_up():
    pack = make_pack()
    recorder = Recorder(pack)
    recorder.sample(CellData(pack), [Reading()], 0.0)
    frame = recorder.cut(0.0)
    assert frame['time'].tolist() == [0.0]
    assert np.isnan(frame['voltages']).all()
    assert freeze_frame.csv_lines(frame)[1].endswith(',,')
