# SPDX-License-Identifier: Apache-2.0
"""The schemas themselves, and what is said about values that they refuse."""

import re
from pathlib import Path

import jsonschema
import pytest
from pack_rig import CELLS, DELETE, cell_of, changed, line_of, pack_of, problems_of, shipped

from dbms_pack.schema import load_schema
from dbms_pack.validate_levels import NEEDED


def properties(schema, key=''):
    """Yield every property of a schema with its dotted key."""
    for name, value in schema.get('properties', {}).items():
        yield f'{key}.{name}', value
        yield from properties(value, f'{key}.{name}')
    for name in ('items', 'additionalProperties'):
        if isinstance(schema.get(name), dict):
            yield from properties(schema[name], key)


@pytest.mark.parametrize('name', ['pack', 'cell'])
def test_a_schema_describes_every_key_and_gives_numbers_a_unit(name):
    schema = load_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft7Validator.check_schema(schema)
    everything = dict(properties(schema))
    for definition, value in schema.get('$defs', {}).items():
        everything |= properties(value, definition)
    assert len(everything) > 15
    for key, value in everything.items():
        assert value.get('description'), key
        if value.get('type') in ('number', 'integer'):
            assert value['description'].endswith(']'), key
            assert 'maximum' in value, key


@pytest.mark.parametrize('name', ['pack', 'cell'])
def test_no_mapping_of_a_schema_takes_unknown_keys(name):
    def mappings(schema):
        if isinstance(schema, dict):
            if 'properties' in schema and 'type' in schema:
                yield schema
            for value in schema.values():
                yield from mappings(value)

    found = list(mappings(load_schema(name)))
    assert found
    assert all(schema['additionalProperties'] is False for schema in found)


def test_no_limit_has_a_default():
    text = str(load_schema('pack')['$defs'])
    assert text.count("'default'") == 1  # the bit rate


@pytest.mark.parametrize('name', ['pack', 'cell'])
def test_the_guide_names_every_key(name):
    guide = (Path(__file__).resolve().parents[3] / 'docs/packs.md').read_text(encoding='utf-8')
    schema = load_schema(name)
    keys = {key for key, _ in properties(schema)}
    for value in schema.get('$defs', {}).values():
        keys |= {key for key, _ in properties(value)}
    for key in keys:
        last = key.rsplit('.', 1)[1]
        assert re.search(rf'[`.]{last}[`.]', guide), key


LIMITS = sorted(NEEDED)


@pytest.mark.parametrize('name', LIMITS)
def test_a_missing_limit_is_named(name):
    text = changed('robot_13s', (f'limits.{name}', DELETE))
    [problem] = problems_of(text)
    assert (problem.key, problem.found) == (f'limits.{name}', 'missing')
    assert problem.line == line_of(text, 'limits:')


@pytest.mark.parametrize('level', ['mol', 'rsl', 'msl'])
@pytest.mark.parametrize('key', ['at', 'debounce', 'hysteresis', 'latch'])
def test_a_missing_part_of_a_limit_is_named(level, key):
    text = changed('robot_13s', (f'limits.cell_undervoltage.{level}.{key}', DELETE))
    [problem] = problems_of(text)
    assert (problem.key, problem.found) == (f'limits.cell_undervoltage.{level}.{key}', 'missing')
    assert problem.line == line_of(text, f'{level}:', 2)


def test_all_missing_limits_are_named_one_by_one():
    text = changed('robot_13s', ('limits', {'rest_current': 1}))
    missing = {problem.key for problem in problems_of(text)}
    assert missing == {f'limits.{name}' for name in LIMITS} - {'limits.rest_current'}


def test_missing_limits_altogether_are_listed():
    [problem] = problems_of(changed('robot_13s', ('limits', DELETE)))
    assert problem.key == 'limits'
    assert all(name in problem.allowed for name in LIMITS)


@pytest.mark.parametrize(
    ('key', 'wrong', 'right'),
    [
        ('strings', 'string', 'strings'),
        ('strings.0.modules.1.cells', 'cell', 'cells'),
        ('limits.cell_overvoltage.msl.latch', 'latched', 'latch'),
        ('limits.cell_overvoltage', 'cell_over_voltage', 'cell_overvoltage'),
        ('buses.main.bitrate', 'baudrate', 'bitrate'),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_right_one(key, wrong, right):
    parent, _, name = key.rpartition('.')
    data = shipped('robot_13s')
    where = f'{parent}.{wrong}' if parent else wrong
    value = data
    for part in key.split('.'):
        value = value[int(part) if part.isdigit() else part]
    text = changed('robot_13s', (key, DELETE), (where, value))
    dotted = where.replace('.0.', '[0].').replace('.1.', '[1].')
    problem = next(p for p in problems_of(text) if p.found == 'unknown key')
    assert problem.key == dotted
    assert problem.allowed == f'did you mean {right!r}?'
    # What was renamed stands last in its mapping, behind another key of that name.
    assert problem.line == line_of(text, f'{wrong}:', text.count(f'{wrong}:'))
    assert name == right


@pytest.mark.parametrize(
    ('key', 'value', 'found', 'said'),
    [
        ('limits.cell_overvoltage.msl.at', '4,2', "'4,2'", 'write 4.2 with a point'),
        ('limits.cell_overvoltage.msl.at', '4.2', "'4.2'", 'without quotes'),
        ('limits.cell_overvoltage.msl.at', '4.2V', "'4.2V'", 'without its unit'),
        ('limits.cell_overvoltage.msl.at', True, 'true', 'a number above 0, at most 6'),
        ('limits.cell_overvoltage.msl.at', 42, '42', '[V]'),
        ('limits.cell_overvoltage.msl.latch', 'yes', "'yes'", 'true or false'),
        ('limits.cell_overvoltage.msl.debounce', -1, '-1', 'from 0 to 60'),
        ('limits.overtemperature_charge.msl.at', 400, '400', '[degC]'),
        ('parallel', 1.5, '1.5', 'a whole number from 1 to 1000'),
        ('parallel', None, 'nothing', 'a whole number from 1 to 1000'),
        ('strings', [], 'a list of 0', 'a list of 1 to 64'),
        ('strings.0.name', 'Main', "'Main'", 'small letters'),
        ('strings.0.name', 'a__b', "'a__b'", 'small letters'),
        ('strings.0.name', 'a\n', r"'a\n'", 'small letters'),
        ('strings.0.name', 'a' * 49, f'{"a" * 49!r}', 'at most 48 characters'),
        ('strings.0.contactors.lease', 0.01, '0.01', 'from 0.05 to 2'),
        ('strings.0.contactors.lease', 3, '3', 'from 0.05 to 2'),
        ('strings.0.modules.0.address', 64, '64', 'from 0 to 63'),
        ('strings.0.modules.0.cells', 25, '25', 'from 1 to 24'),
        ('strings.0.modules.0.temperatures', 13, '13', 'from 0 to 12'),
        ('strings.0.contactors.address', 16, '16', 'from 0 to 15'),
        ('strings.0.modules', 'm1', "'m1'", 'a list'),
        ('limits.module_lost.derate', 1.1, '1.1', 'from 0 to 1'),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(key, value, found, said):
    text = changed('robot_13s', (key, value))
    parts = key.replace('.0.', '[0].')
    problem = next(p for p in problems_of(text) if p.key == parts)
    assert problem.found == found
    assert said in problem.allowed
    assert problem.line > 0


def test_a_bus_name_is_a_name():
    text = changed('robot_13s', ('buses.Main Bus', shipped('robot_13s')['buses']['main']))
    [problem] = problems_of(text)
    assert (problem.key, problem.line) == ('buses.Main Bus', line_of(text, 'Main Bus:'))
    assert 'small letters' in problem.allowed


@pytest.mark.parametrize('text', ['5', '[1, 2]', 'robot', '"a: 1"', 'true'])
def test_a_file_that_is_no_mapping_is_refused(text):
    for load in (cell_of, pack_of):
        problems = problems_of(text, load)
        assert [problem.line for problem in problems] == [1]
        assert 'a mapping' in problems[0].allowed


def test_a_whole_number_may_be_written_as_a_float():
    pack = pack_of(changed('robot_13s', ('parallel', 6.0)))
    assert pack.parallel == 6
    assert isinstance(pack.parallel, int)


@pytest.mark.parametrize('name', CELLS)
def test_a_missing_key_of_a_cell_is_named(name):
    for key in load_schema('cell')['required']:
        [problem] = problems_of(changed(name, (key, DELETE)), cell_of)
        assert (problem.key, problem.found) == (key, 'missing')
        assert problem.line == 1
