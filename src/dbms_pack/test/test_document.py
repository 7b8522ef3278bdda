# SPDX-License-Identifier: Apache-2.0
"""YAML as such: what is read, what is refused, and on which line."""

from pathlib import Path

import pytest
import yaml

from dbms_pack import PackError, document
from dbms_pack.document import MAX_BYTES, parse, read_text

PATH = Path('pack.yaml')


@pytest.fixture(params=['libyaml', 'python'], autouse=True)
def parser(request, monkeypatch):
    if request.param == 'libyaml' and not hasattr(yaml, 'CSafeLoader'):
        pytest.skip('this PyYAML was built without libyaml')
    loader = yaml.CSafeLoader if request.param == 'libyaml' else yaml.SafeLoader
    monkeypatch.setattr(document, '_LOADER', loader)


def refused(text):
    with pytest.raises(PackError) as caught:
        parse(text, PATH)
    return caught.value.problems


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1', 1),
        ('-0.5', -0.5),
        ('1e3', 1000.0),
        ('.5', 0.5),
        ('1.', 1.0),
        ('123456789012345678901234567890', 1.2345678901234568e29),
        ('true', True),
        ('~', None),
        ('', None),
        ('no', 'no'),  # a text, as YAML 1.2 has it
        ('1:30', '1:30'),  # not ninety
        ('4,2', '4,2'),
        ('"4.2"', '4.2'),
        ('1_000', '1_000'),
        ('2020-01-01', '2020-01-01'),
    ],
)
def test_scalars_are_read_as_yaml_1_2_reads_them(text, value):
    result = parse(f'a: {text}', PATH).data['a']
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize('text', ['.nan', '.NaN', '.inf', '-.inf', '1e999', '9' * 5000])
def test_a_number_that_is_not_finite_is_refused(text):
    [problem] = refused(f'a: 1\nb:\n  - {text}\n')
    assert (problem.line, problem.key) == (3, 'b[0]')
    assert 'finite' in problem.allowed


def test_a_duplicate_key_is_refused_with_both_lines():
    [problem] = refused('a: 1\nb: {c: 1,\n  c: 2}\n')
    assert (problem.line, problem.key) == (3, 'b.c')
    assert 'line 2' in problem.allowed


def test_all_problems_are_named_at_once():
    assert [problem.line for problem in refused('a: .nan\na: 1\nb: !!float 2\n')] == [1, 2, 3]


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('a: 1\nb: [1, 2\nc: 3\n', 3),
        ('a: 1\n\tb: 2\n', 2),
        ('a: "1\n', 2),
        ('a: 1\n b: 2\n', 2),
        ('a: 1\nb: *none\n', 2),
        ('a: &x [*x]\n', 1),
        ('a: 1\n? [1, 2]\n: 3\n', 2),
        ('a: 1\n---\nb: 2\n', 2),
        ('a: 1\nb: \x00\n', 2),
        ('a: 1\nb: \ud800\n', 2),
        ('a: 1\nb: !!python/object:os.system {}\n', 2),
        ('%YAML 9.9\n---\na: 1\n', 1),
        ('', 1),
        ('# nothing\n', 1),
    ],
)
def test_bad_yaml_is_refused_with_its_line(text, line):
    problem = refused(text)[0]
    assert problem.path == PATH
    # The two parsers differ by one on where a text that ends too early is wrong.
    assert abs(problem.line - line) <= 1
    assert problem.line > 0


def test_an_alias_is_the_value_of_its_anchor():
    data = parse('a: &x {b: 1}\nc: *x\n', PATH).data
    assert data == {'a': {'b': 1}, 'c': {'b': 1}}


def test_a_merged_key_gives_way_to_one_that_is_written():
    text = 'base: &base {a: 1, b: 2}\nother: &other {b: 7, c: 8}\nx: {<<: [*base, *other], a: 3}\n'
    result = parse(text, PATH)
    assert result.data['x'] == {'a': 3, 'b': 2, 'c': 8}
    assert result.line(('x', 'a')) == 3
    assert result.line(('x', 'c')) == 2


def test_only_mappings_are_merged():
    [problem] = refused('a: &x 1\nb: {<<: *x}\n')
    assert (problem.line, problem.key) == (2, 'b.<<')


def test_a_bomb_of_aliases_is_refused():
    lines = ['l0: &l0 [1, 2, 3, 4, 5, 6, 7, 8, 9]']
    for level in range(1, 20):
        lines.append(f'l{level}: &l{level} [{", ".join([f"*l{level - 1}"] * 9)}]')
    [problem] = refused('\n'.join(lines))
    assert 'too many values' in problem.found
    assert problem.line > 1


def test_a_bomb_of_merges_is_refused():
    lines = ['l0: &l0 {a: [1, 2, 3, 4, 5, 6, 7, 8, 9]}']
    for level in range(1, 30):
        before = f'*l{level - 1}'
        lines.append(f'l{level}: &l{level} {{<<: {before}, k{level}: [{before}, {before}]}}')
    assert 'too many values' in refused('\n'.join(lines))[0].found


@pytest.mark.parametrize('depth', [100, 5_000, 100_000])
def test_deep_nesting_is_refused(depth):
    [problem] = refused('[' * depth)
    assert problem.line == 1


def test_the_line_of_a_missing_key_is_that_of_what_it_is_missing_from():
    result = parse('a: 1\nb:\n  c: {d: 1}\n  e:\n    - f: 1\n', PATH)
    assert result.line(('b', 'c', 'x')) == 3
    assert result.line(('b', 'e', 0, 'x')) == 5
    assert result.line(('x',)) == 1


def test_a_file_is_read_with_and_without_byte_order_mark(tmp_path):
    path = tmp_path / 'pack.yaml'
    path.write_bytes(b'\xef\xbb\xbfa: 1\n')
    assert read_text(path) == 'a: 1\n'


@pytest.mark.parametrize(
    ('raw', 'line'),
    [(b'a: 1\nb: \xff\xfe\n', 2), (b'\x80' * 1000, 1), (b'\n' * MAX_BYTES + b'a', 0)],
)
def test_a_file_that_is_no_text_or_too_long_is_refused(tmp_path, raw, line):
    path = tmp_path / 'pack.yaml'
    path.write_bytes(raw)
    with pytest.raises(PackError) as caught:
        read_text(path)
    assert [(problem.path, problem.line) for problem in caught.value.problems] == [(path, line)]


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / 'none.yaml', Path('a\0b')):
        with pytest.raises(PackError) as caught:
            read_text(path)
        assert caught.value.problems[0].path == path
