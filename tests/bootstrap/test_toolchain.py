# SPDX-License-Identifier: Apache-2.0
import pytest

from bootstrap.errors import BootstrapError
from bootstrap.interpreters import Interpreter
from bootstrap.toolchain import Installer, assess, find_installer, install_line, require_fixable

APT = Installer((), True, 'running as root')
NO_APT = Installer(('sudo',), False, 'not root, and there is no sudo')
PYTHON = Interpreter('/usr/bin/python3.11', (3, 11, 2), '/include', True, True)
BARE = Interpreter('/usr/bin/python3.11', (3, 11, 2), '/include', False, False)
FOREIGN = Interpreter('/opt/python3.12', (3, 12, 1), '/include', False, True)


def having(*names: str):
    return lambda name: f'/usr/bin/{name}' if name in names else None


def test_nothing_missing_means_nothing_to_do():
    needs = assess(PYTHON, NO_APT, {}, having('gcc', 'g++', 'cmake', 'ninja'))
    assert not needs and not needs.packages and not needs.wheels


def test_an_installer_brings_everything_as_packages():
    needs = assess(BARE, APT, {}, having())
    assert needs.packages == ('build-essential', 'cmake', 'python3.11-dev', 'python3.11-venv')
    assert needs.wheels == ()
    require_fixable(needs, APT, BARE)


def test_without_one_wheels_stand_in_for_cmake_and_make():
    needs = assess(PYTHON, NO_APT, {}, having('cc', 'c++'))
    assert needs.wheels == ('cmake', 'ninja') and not needs.packages
    require_fixable(needs, NO_APT, PYTHON)


def test_a_missing_compiler_without_rights_ends_with_the_line_to_run():
    needs = assess(PYTHON, NO_APT, {}, having('cmake', 'make'))
    with pytest.raises(BootstrapError, match='C compiler') as caught:
        require_fixable(needs, NO_APT, PYTHON)
    assert 'sudo apt-get install -y build-essential' in caught.value.remedy
    assert caught.value.code != 0


def test_headers_nothing_can_bring_are_an_error():
    needs = assess(FOREIGN, APT, {}, having('cc', 'c++', 'cmake', 'make'))
    with pytest.raises(BootstrapError, match='headers') as caught:
        require_fixable(needs, APT, FOREIGN)
    assert 'DBMS_PYTHON' in caught.value.remedy


def test_cc_and_cxx_name_the_compilers():
    needs = assess(
        PYTHON,
        NO_APT,
        {'CC': 'ccache icc', 'CXX': 'icpc'},
        having('ccache', 'icpc', 'cmake', 'make'),
    )
    assert not needs


def test_root_with_apt_can_install_and_others_are_told_why_not():
    assert find_installer(having('apt-get'), uid=0).possible
    assert 'no apt-get' in find_installer(having(), uid=0).reason
    assert 'no sudo' in find_installer(having('apt-get'), uid=1000).reason


def test_the_line_updates_first():
    assert install_line(('cmake',)).startswith('sudo apt-get update && ')
