# SPDX-License-Identifier: Apache-2.0
"""The file of the estimator's state: whatever happens to it, something valid is read or said."""

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbms_estimation.store import KEPT_BOARDS, Record, Store


def records(
    count: int = 3, stamp: float = 100.0, serial: int = 7, pack: str = 'p'
) -> list[Record]:
    return [
        Record(pack, 's1', 'm1', serial, k, stamp, 'soc 1', bytes([k % 256]) * 8)
        for k in range(count)
    ]


class Opened:
    """A store with what it told."""

    def __init__(self, path) -> None:
        self.told: list[str] = []
        self.store = Store(path, self.told.append)
        self.records = self.store.load()

    def __enter__(self) -> 'Opened':
        return self

    def __exit__(self, *exception) -> None:
        self.store.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'deep' / 'state.sqlite'


def filled(path, count: int = 3):
    """Make a file with records."""
    with Opened(path) as opened:
        assert opened.store.save(records(count))
    return path


def test_what_was_saved_is_read(path):
    with Opened(path) as first:
        assert first.records == [] and first.told == []
        assert first.store.save(records())
        assert first.store.save(records(2, stamp=200.0))
    with Opened(path) as second:
        assert sorted(second.records) == sorted([*records(2, stamp=200.0), records()[2]])
        assert second.told == []
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    'content', [b'', b'\0', b'garbage' * 999, b'SQLite format 3\0' + b'\xff' * 4096]
)
def test_what_is_no_database_is_set_aside_and_said(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with Opened(path) as opened:
        assert opened.records == []
        assert opened.store.save(records())
    if content:  # an empty file is a new one
        assert path.with_name(path.name + '.1').read_bytes() == content
        assert 'set aside as' in opened.told[0]
    with Opened(path) as again:
        assert len(again.records) == 3 and not again.told


def test_files_set_aside_are_numbered_and_kept(path):
    path.parent.mkdir()
    for number in (1, 2, 3):
        path.write_bytes(b'garbage %d' % number)
        with Opened(path):
            pass
        os.remove(path)
    for number in (1, 2, 3):
        aside = path.with_name(f'{path.name}.{number}')
        assert aside.read_bytes() == b'garbage %d' % number


def test_a_database_of_another_program_is_set_aside(path):
    path.parent.mkdir()
    base = sqlite3.connect(path)
    base.execute('CREATE TABLE accounts (name TEXT)')
    base.commit()
    base.close()
    with Opened(path) as opened:
        assert opened.records == [] and 'another program' in opened.told[0]
        assert opened.store.save(records())
    base = sqlite3.connect(path.with_name(path.name + '.1'))
    assert base.execute('SELECT count(*) FROM accounts').fetchone() == (0,)
    base.close()


def test_another_version_is_set_aside(path):
    base = sqlite3.connect(filled(path))
    base.execute('PRAGMA user_version = 99')
    base.close()
    with Opened(path) as opened:
        assert opened.records == [] and 'version 99' in opened.told[0]


def test_a_record_with_a_wrong_checksum_is_not_used_and_said(path):
    base = sqlite3.connect(filled(path))
    base.execute('UPDATE cells SET stamp = stamp + 1 WHERE cell = 1')
    base.commit()
    base.close()
    with Opened(path) as opened:
        assert [record.cell for record in opened.records] == [0, 2]
        assert '1 records with a wrong checksum' in opened.told[0]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 50), cut=st.floats(0, 1))
def test_whatever_is_damaged_no_wrong_record_is_read(tmp_path_factory, seed, flips, cut):
    path = filled(tmp_path_factory.mktemp('damaged') / 'state.sqlite', 40)
    content = bytearray(path.read_bytes())
    chance = random.Random(seed)
    for _ in range(flips):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content[: len(content) if cut > 0.5 else int(2 * cut * len(content))])
    with Opened(path) as opened:
        assert set(opened.records) <= set(records(40))
        opened.store.save(records())
        opened.store.save(records())
        assert opened.store.saves
    with Opened(path) as again:
        assert set(records()) <= set(again.records)


def test_the_second_process_leaves_the_file_alone_until_it_is_free(path):
    with Opened(path) as first:
        assert first.store.save(records(1))
        with Opened(path) as second:
            assert second.records == [] and 'another process' in second.told[0]
            assert not second.store.save(records(2, stamp=5.0))
            assert not second.store.save(records(2, stamp=5.0))
            assert len(second.told) == 1  # said once
            assert not path.with_name(path.name + '.1').exists()
            assert first.store.save(records(3))
            first.store.close()
            assert second.store.save(records(2, stamp=5.0))
            assert second.store.problem == ''
    with Opened(path) as third:
        assert len(third.records) == 3


@pytest.fixture
def nobody(tmp_path):
    """Be a user to whom permissions matter, and who may enter the folder of the test."""
    if os.geteuid():
        yield lambda: None
        return
    for part in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        part.chmod(0o755)
    yield lambda: os.seteuid(65534)
    os.seteuid(0)


def test_a_file_in_a_folder_that_cannot_be_written_is_read(tmp_path, nobody):
    path = filled(tmp_path / 'state' / 'state.sqlite')
    path.chmod(0o444)
    path.parent.chmod(0o555)
    nobody()
    with Opened(path) as opened:
        assert len(opened.records) == 3
        assert 'nothing will be saved' in opened.told[0] and len(opened.told) == 1
        assert not opened.store.save(records(stamp=1.0))
        assert opened.store.problem


def test_a_file_that_cannot_be_written_is_read_and_set_aside(tmp_path, nobody):
    path = filled(tmp_path / 'state' / 'state.sqlite')
    path.chmod(0o444)
    path.parent.chmod(0o777)
    nobody()
    with Opened(path) as opened:
        assert len(opened.records) == 3
        assert 'cannot be written; set aside' in opened.told[0]
        assert opened.store.save(records(1, stamp=1.0))
    with Opened(path) as again:
        assert again.records == records(1, stamp=1.0)


def test_a_folder_that_cannot_be_is_said(tmp_path):
    (tmp_path / 'file').write_text('')
    with Opened(tmp_path / 'file' / 'state.sqlite') as opened:
        assert opened.records == [] and opened.told
        assert not opened.store.save(records())


def test_a_folder_in_place_of_the_file_is_said_and_stays(tmp_path):
    folder = tmp_path / 'home'
    folder.mkdir()
    (folder / 'precious').write_text('x')
    with Opened(folder) as opened:
        assert opened.records == [] and 'is a folder' in opened.told[0]
        assert not opened.store.save(records())
        assert len(opened.told) == 1
    assert [p.name for p in tmp_path.iterdir()] == ['home']
    assert (folder / 'precious').read_text() == 'x'


def test_boards_of_long_ago_are_forgotten(path):
    with Opened(path) as opened:
        for serial in range(3 * KEPT_BOARDS):
            opened.store.save(records(stamp=float(serial), serial=serial))
    with Opened(path) as again:
        kept = {record.serial for record in again.records}
        assert kept == set(range(2 * KEPT_BOARDS, 3 * KEPT_BOARDS))


def test_the_size_stays_the_same(path):
    with Opened(path) as opened:
        for stamp in range(50):
            opened.store.save(records(200, stamp=float(stamp)))
            if stamp == 5:
                size = path.stat().st_size
    assert path.stat().st_size <= 1.5 * size


WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from dbms_estimation.store import Record, Store
    store = Store(Path(sys.argv[1]), lambda line: print('told', line, flush=True))
    store.load()
    stamp = 0
    while True:
        stamp += 1
        rows = [Record('p', 's1', 'm1', 7, k, float(stamp), 'x', b'12345678') for k in range(300)]
        if not store.save(rows):
            break
        print(stamp, flush=True)
""")


def test_a_kill_at_any_moment_loses_no_save_that_was_acknowledged(path):
    chance = random.Random(1)
    acknowledged = 0
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, '-c', WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        lines = [child.stdout.readline() for _ in range(chance.randrange(1, 5))]
        for _ in range(chance.randrange(3000)):
            pass  # die anywhere in the middle of a transaction
        child.send_signal(signal.SIGKILL)
        lines += child.communicate()[0].splitlines()
        told = [int(line) for line in lines if line.strip().isdigit()]
        assert told and not any('told' in line for line in lines)
        acknowledged = told[-1]
        with Opened(path) as opened:
            assert opened.told == []
            stamps = {record.stamp for record in opened.records}
            assert len(opened.records) == 300 and len(stamps) == 1
            # All of one save: the last one acknowledged, or the one that was on its way.
            assert stamps <= {acknowledged, acknowledged + 1}


def test_a_full_disk_is_said_and_loses_nothing(path):
    filled(path)
    size = path.stat().st_size
    code = textwrap.dedent(f"""
        import resource, sys
        from pathlib import Path
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from test_estimation_store import Opened, records
        resource.setrlimit(resource.RLIMIT_FSIZE, ({size + 4096}, {size + 4096}))
        with Opened(Path({str(path)!r})) as opened:
            assert len(opened.records) == 3
            assert not opened.store.save(records(5000, stamp=9.0))
            print(opened.told)
            assert opened.store.save(records(1, stamp=5.0)), opened.told
    """)
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'not saved' in done.stdout
    with Opened(path) as opened:
        assert sorted(opened.records) == sorted([*records(1, stamp=5.0), *records()[1:]])
