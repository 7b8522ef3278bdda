# SPDX-License-Identifier: Apache-2.0
"""However a description is broken, it is refused with a line, and never by another exception."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack_rig import CELLS, PACKS, cell_of, dump, pack_of, shipped

from dbms_pack import PackError
from dbms_pack.limits import QUANTITIES

# Keys that may be missing, and mappings whose keys are names of the owner's choice.
OPTIONAL = {'description', 'bitrate', 'options', 'modules_default'}
OPTIONAL |= {'bus', 'cells', 'temperatures', 'period'}
OPTIONAL |= {key for key, quantity in QUANTITIES.items() if not quantity.required}
OPTIONAL |= {'action', 'reset', 'leak', 'by_temperature', 'by_state', 'window', 'bridge'}
OPTIONAL |= {'energy', 'cool_down', 'expected_cycles', 'expected_arcs'}
OPTIONAL |= {'derating', 'charge_temperature'}
# A level may be left out where the quantity itself may.
LEVELS = ('mol', 'rsl', 'msl')
NUMBERS = [-1e9, 1e30, math.nan, math.inf, 10**400]
WRONG = [None, True, 'x y', '4,2', '', [], {}, [1], {'a': 1}, *NUMBERS]


def places(data, key=()):
    """Yield every key path of plain data."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for name, value in list(pairs):
        yield (*key, name)
        if isinstance(value, dict | list):
            yield from places(value, (*key, name))


def parent_of(data, key):
    for part in key[:-1]:
        data = data[part]
    return data


def assert_refused(load, data):
    text = dump(data)
    with pytest.raises(PackError) as caught:
        load(text)
    assert caught.value.problems
    lines = len(text.splitlines())
    for problem in caught.value.problems:
        assert 0 < problem.line <= lines
        assert problem.found
        assert problem.allowed


FILES = [(pack_of, shipped(name)) for name in PACKS] + [(cell_of, shipped(name)) for name in CELLS]
relaxed = settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def broken(draw):
    """Draw a loader, and data of which one place was deleted, replaced, or renamed."""
    index = draw(st.integers(0, len(FILES) - 1))
    load = FILES[index][0]
    data = shipped((*PACKS, *CELLS)[index])
    key = draw(st.sampled_from(list(places(data))))
    parent, name = parent_of(data, key), key[-1]
    kinds = ['replace']
    if isinstance(parent, dict) and 'options' not in key and key[:-1] != ('buses',):
        spare = name in LEVELS and key[-2] in OPTIONAL
        kinds += ['rename'] + ([] if name in OPTIONAL or spare else ['delete'])
    kind = draw(st.sampled_from(kinds))
    if kind == 'delete':
        del parent[name]
    elif kind == 'rename':
        parent[name + draw(st.sampled_from(['x', '_', ' ', 'é']))] = parent.pop(name)
    else:
        wrong = [value for value in WRONG if not _fits(name, value)]
        parent[name] = draw(st.sampled_from(wrong))
    return load, data


def _fits(name, value):
    if name in ('description', 'source', 'chemistry', 'channel'):
        return isinstance(value, str) and (value != '' or name == 'description')
    if name == 'latch':
        return value is True
    return name in ('modules_default', 'derating') and value == {}


@relaxed
@given(broken())
def test_a_broken_description_is_refused(case):
    assert_refused(*case)


@relaxed
@given(st.sampled_from(PACKS), st.integers(0, 400), st.integers(0, 80), st.characters())
def test_a_changed_character_is_no_other_exception(name, line, column, character):
    lines = dump(shipped(name)).splitlines()
    place = line % len(lines)
    lines[place] = lines[place][:column] + character + lines[place][column + 1 :]
    text = '\n'.join(lines)
    try:
        pack_of(text)
    except PackError as error:
        assert all(problem.line > 0 for problem in error.problems)


@relaxed
@given(st.text())
def test_any_text_is_no_other_exception(text):
    for load in (pack_of, cell_of):
        with pytest.raises(PackError) as caught:
            load(text)
        assert all(problem.line > 0 for problem in caught.value.problems)
