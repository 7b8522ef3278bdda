# SPDX-License-Identifier: Apache-2.0
"""Files are found by path and by name."""

import os

import pytest

from dbms_pack import PackError, paths


def make(root, kind, name):
    path = root / kind / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('a: 1\n')
    return path


def test_a_name_is_found_with_and_without_suffix(tmp_path, monkeypatch):
    monkeypatch.setenv('DBMS_CONFIG', str(tmp_path))
    path = make(tmp_path, 'packs', 'mine.yaml')
    assert paths.find('packs', 'mine') == path
    assert paths.find('packs', 'mine.yaml') == path


def test_the_first_directory_of_dbms_config_wins_over_the_installed_one(tmp_path, monkeypatch):
    installed = make(tmp_path / 'ros/share/dbms_bringup/config', 'can', 'x.dbc')
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'ros'))
    monkeypatch.setenv('DBMS_CONFIG', os.pathsep.join([str(tmp_path / 'a'), str(tmp_path / 'b')]))
    assert paths.find('can', 'x.dbc') == installed
    second = make(tmp_path / 'b', 'can', 'x.dbc')
    assert paths.find('can', 'x.dbc') == second
    assert paths.find('can', 'x.dbc') == second
    first = make(tmp_path / 'a', 'can', 'x.dbc')
    assert paths.find('can', 'x.dbc') == first


def test_a_path_wins_over_a_name_and_is_taken_beside_the_file_that_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('DBMS_CONFIG', str(tmp_path / 'config'))
    make(tmp_path / 'config', 'cells', 'c.yaml')
    here = make(tmp_path, '.', 'c.yaml')
    assert paths.find('cells', 'c.yaml').samefile(here)
    beside = make(tmp_path, 'packs', 'c.yaml')
    assert paths.find('cells', 'c.yaml', beside=tmp_path / 'packs') == beside


def test_the_nearest_name_is_suggested(tmp_path, monkeypatch):
    monkeypatch.setenv('DBMS_CONFIG', str(tmp_path))
    make(tmp_path, 'packs', 'harbour_tug.yaml')
    with pytest.raises(PackError, match="did you mean 'harbour_tug'"):
        paths.find('packs', 'harbor_tug')
    with pytest.raises(PackError, match='one of: .*harbour_tug'):
        paths.find('packs', 'zzz')
    with pytest.raises(PackError, match='a path that exists'):
        paths.find('none_of_this_kind', 'zzz')


@pytest.mark.parametrize('name', ['', 'a\0b', 'none/at/all.yaml'])
def test_no_file_is_a_pack_error(name):
    with pytest.raises(PackError):
        paths.find('packs', name)


def test_a_directory_of_that_name_does_not_hide_a_shipped_pack(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'robot_13s').mkdir()
    assert paths.find('packs', 'robot_13s').is_file()
