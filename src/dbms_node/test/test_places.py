# SPDX-License-Identifier: Apache-2.0
"""Files are found again, and names cannot lead out of their folder."""

from pathlib import Path

import pytest

from dbms_node.places import NOWHERE, state_file, state_folder


def test_the_folder_is_that_of_the_xdg_specification():
    assert state_folder({'XDG_STATE_HOME': '/var/s', 'HOME': '/h'}) == Path('/var/s/dbms')
    assert state_folder({'XDG_STATE_HOME': 'relative', 'HOME': '/h'}) == Path(
        '/h/.local/state/dbms'
    )


def test_every_namespace_and_pack_has_its_own():
    place = {'XDG_STATE_HOME': '/s'}
    assert state_file('', '/boat/port', 'p', '-events', place) == Path(
        '/s/dbms/boat_port-p-events.sqlite'
    )


@pytest.mark.parametrize('name', ['../../x', '/etc', 'a/../..'])
def test_a_name_stays_in_the_folder(name):
    path = state_file('', name, name, '', {'XDG_STATE_HOME': '/s'})
    assert path.resolve().parent == Path('/s/dbms')


def test_a_path_is_taken_as_it_is_and_nothing_may_be_kept():
    assert state_file('/tmp/x.db', 'n', 'p', '', {}) == Path('/tmp/x.db')
    assert state_file(NOWHERE, 'n', 'p', '', {}) is None
