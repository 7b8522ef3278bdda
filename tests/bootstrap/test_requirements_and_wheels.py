# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from bootstrap import requirements, wheels
from bootstrap.errors import BootstrapError
from bootstrap.layout import REQUIREMENTS

ROOT = Path(__file__).resolve().parents[2]
PLACES = wheels.Places(Path('/my env'), Path(r'/usr/include/python3.12\1'), Path('/my env/numpy'))
EXPORT = (
    'INTERFACE_INCLUDE_DIRECTORIES "/opt/python/cp312-cp312/include/python3.12;'
    '/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include"'
)


@pytest.mark.parametrize('name', REQUIREMENTS)
def test_every_requirement_is_pinned_once(name):
    names = [one.name for one in requirements.read(ROOT / f'tools/requirements/{name}.txt')]
    assert names and len(names) == len(set(names))


def test_a_loose_requirement_is_refused_with_its_line(tmp_path):
    path = tmp_path / 'loose.txt'
    path.write_text('# fine\nnumpy>=2\n')
    with pytest.raises(BootstrapError, match=r'loose\.txt:2: not a pinned .*numpy>=2'):
        requirements.read(path)


def test_pins_keep_extras_and_markers_and_lose_the_comment(tmp_path):
    path = tmp_path / 'some.txt'
    path.write_text('a[x]==1.0; python_version < "3.11"  # min: 0.9\nB_c==2\n')
    first, second = requirements.read(path)
    assert first.pin == 'a[x]==1.0; python_version < "3.11"' and first.minimum == '0.9'
    assert second.minimum == '2'


def test_installed_versions_above_the_minimum_are_left_alone(tmp_path):
    path = tmp_path / 'some.txt'
    path.write_text(
        'numpy==2.2.6  # min: 1.21\nPy_YAML==6.0  # min: 5.4\nrich==14.0  # min: 12.0\n'
    )
    pins = requirements.read(path)
    installed = {'numpy': '1.26.4', 'py-yaml': '5.3.1'}
    assert [one.name for one in requirements.unmet(pins, installed)] == ['Py_YAML', 'rich']


def test_versions_compare_as_numbers():
    assert requirements.release('1.10') > requirements.release('1.9.post1')


def test_build_host_paths_become_this_machines():
    text = wheels.rewrite_text(EXPORT + ' "/opt/python/cp312-cp312"', PLACES)
    assert text == (
        r'INTERFACE_INCLUDE_DIRECTORIES "/usr/include/python3.12\1;/my env/numpy" "/my env"'
    )


def test_rewriting_a_tree_twice_changes_nothing(tmp_path):
    index = tmp_path / 'ament_index' / 'resource_index' / 'parent_prefix_path'
    index.mkdir(parents=True)
    (index / 'rclpy').write_text('/opt/python/cp310-cp310')
    (tmp_path / 'a.cmake').write_text(EXPORT)
    (tmp_path / 'other.txt').write_text('/opt/python/cp310-cp310')
    assert wheels.rewrite_tree(tmp_path, PLACES) == 2
    assert wheels.rewrite_tree(tmp_path, PLACES) == 0
    assert (index / 'rclpy').read_text() == '/my env'


@pytest.mark.parametrize(
    ('where', 'word'),
    [
        (('Darwin', 'arm64', ('', '')), 'Darwin'),
        (('Linux', 'aarch64', ('glibc', '2.36')), 'aarch64'),
        (('Linux', 'x86_64', ('', '')), 'glibc'),
        (('Linux', 'x86_64', ('glibc', '2.17')), '2.17'),
    ],
)
def test_machines_the_wheels_do_not_fit_are_told_why(where, word):
    assert word in wheels.unsupported(*where)
    assert wheels.unsupported('Linux', 'x86_64', ('glibc', '2.28')) == ''
