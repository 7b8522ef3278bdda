# SPDX-License-Identifier: Apache-2.0
"""When things are made again, and when they are not."""

import os
import subprocess
import sys

import pytest

from bootstrap import workspace
from bootstrap.layout import Layout, read_stamp, write_stamp
from bootstrap.ros import Ros
from bootstrap.venv import Environment

WHEELS = Ros(False, 'jazzy', '')


def made(layout, **environ) -> Environment:
    """Return an environment that looks made and filled."""
    environment = Environment(layout, WHEELS, environ)
    layout.python.parent.mkdir(parents=True, exist_ok=True)
    layout.python.touch()
    stamp = {'skeleton': environment._skeleton(), 'version': '3.12.1', 'known_as': ['/p']}
    write_stamp(layout.stamp('venv'), stamp)
    for group in ('base', 'dev'):
        write_stamp(layout.stamp(group), {'key': environment._key(group)})
    return environment


def change(layout, name: str, text: str = 'changed\n') -> None:
    path = layout.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    'name',
    [
        'src/msgs/msg/A.msg',
        'src/msgs/msg/New.msg',
        'src/logic/setup.py',
        'src/logic/logic/new_module.py',
        'src/logic/logic/schema.json',
        'config/packs/small.yaml',
        'launch/pack.launch.py',
    ],
)
def test_what_gets_installed_makes_a_build_stale(layout, name):
    before = workspace.fingerprint(layout)
    change(layout, name)
    assert workspace.fingerprint(layout) != before


@pytest.mark.parametrize(
    'name',
    [
        'src/logic/logic/__init__.py',  # linked: an edit works at once
        'src/logic/test/test_logic.py',
        'src/logic/logic/__pycache__/x.pyc',
        'README.md',
        'tests/test_all.py',
    ],
)
def test_nothing_else_does(layout, name):
    before = workspace.fingerprint(layout)
    change(layout, name)
    assert workspace.fingerprint(layout) == before


def test_a_touch_is_no_change(layout):
    before = workspace.fingerprint(layout)
    os.utime(layout.root / 'src/msgs/msg/A.msg', (1, 1))
    assert workspace.fingerprint(layout) == before


def test_a_removed_module_is_a_change(layout):
    before = workspace.fingerprint(layout)
    (layout.root / 'src/logic/logic/__init__.py').unlink()
    assert workspace.fingerprint(layout) != before


def test_a_build_is_fresh_only_with_its_stamp_and_environment(layout):
    assert not workspace.is_built(layout, 'key')
    write_stamp(layout.stamp('build'), {**workspace._key(layout, 'key'), 'packages': ['logic']})
    assert workspace.is_built(layout, 'key')
    assert not workspace.is_built(layout, 'other')


def test_a_removed_package_starts_the_build_from_nothing(layout):
    names = ['gone', 'logic', 'msgs']
    key = workspace._key(layout, 'key')
    write_stamp(layout.stamp('build'), {**key, 'packages': names})
    (layout.install / 'share' / 'gone').mkdir(parents=True)
    workspace._drop_stale(layout, key, ['logic', 'msgs'])
    assert not (layout.install / 'share' / 'gone').exists()


def test_an_unfinished_build_is_carried_on_but_not_one_from_elsewhere(layout):
    key = workspace._key(layout, 'key')
    workspace._drop_stale(layout, key, ['logic'])
    half = layout.build / 'msgs' / 'CMakeCache.txt'
    half.parent.mkdir()
    half.touch()
    workspace._drop_stale(layout, key, ['logic'])
    assert half.exists()
    (layout.build / '.location').write_text('/elsewhere\n')
    workspace._drop_stale(layout, key, ['logic'])
    assert not half.exists()


def test_a_whole_environment_is_left_alone(layout):
    environment = made(layout)
    assert environment.is_made() and environment.has('base') and environment.has('dev')


def test_changed_requirements_are_noticed_by_the_group_they_belong_to(layout):
    environment = made(layout)
    change(layout, 'tools/requirements/dev.txt', 'pytest==9.0.1\n')
    assert environment.has('base') and not environment.has('dev')
    change(layout, 'tools/requirements/ros.txt', 'x==1\n')
    assert not environment.has('base') and environment.is_made()


def test_a_moved_environment_is_not_used(layout, tmp_path):
    made(layout)
    layout.root.rename(tmp_path / 'moved')
    moved = type(layout)(tmp_path / 'moved', tmp_path / 'moved' / '.dbms')
    assert not Environment(moved, WHEELS, {}).is_made()


def test_an_environment_whose_python_is_gone_is_not_used(layout):
    environment = made(layout)
    layout.python.unlink()
    layout.python.symlink_to('/nowhere/python3.12')
    assert not environment.is_made()


def test_an_installation_cut_short_is_not_trusted(layout):
    environment = made(layout)
    environment._unfinished.touch()
    assert not environment.is_made() and not environment.has('base')


def test_another_python_asked_for_makes_another_environment(layout):
    assert made(layout, DBMS_PYTHON='/p').is_made()
    assert not made(layout, DBMS_PYTHON='/q').is_made()


def test_a_damaged_stamp_counts_as_none(layout):
    path = layout.stamp('venv')
    path.parent.mkdir(parents=True)
    path.write_text('{"half": ')
    assert read_stamp(path) == {}


def test_scripts_start_from_a_path_with_blanks(tmp_path):
    layout = Layout(tmp_path, tmp_path / 'a b')
    layout.python.parent.mkdir(parents=True)
    layout.python.symlink_to(sys.executable)
    script = layout.install / 'lib' / 'logic' / 'node'
    script.parent.mkdir(parents=True)
    script.write_text(f'#!"{layout.python}"\nimport sys\nprint(sys.argv[1:])\n')
    script.chmod(0o755)
    assert workspace.mend_scripts(layout) == 1
    assert workspace.mend_scripts(layout) == 0
    done = subprocess.run([script, 'x y'], capture_output=True, text=True, check=True)
    assert done.stdout == "['x y']\n"


def test_scripts_that_start_anyway_are_left_alone(layout):
    script = layout.install / 'lib' / 'logic' / 'node'
    script.parent.mkdir(parents=True)
    script.write_text(f'#!{layout.python}\n')
    if len(str(layout.python)) < 120:
        assert workspace.mend_scripts(layout) == 0
