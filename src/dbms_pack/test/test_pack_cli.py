# SPDX-License-Identifier: Apache-2.0
"""`check` tells people and scripts what a pack is, and fails on a wrong one."""

import io
import json

import pytest
from pack_rig import DELETE, PACKS, changed
from rich.console import Console

from dbms_pack import busload, cli, load_pack, summary


def run(*packs, **options):
    console = Console(file=io.StringIO(), width=120, color_system=None)
    code = cli.check(packs, console=console, **options)
    return code, console.file.getvalue()


def test_a_frame_of_8_bytes_is_135_bits_at_worst():
    assert busload.FRAME_BITS == 135


def test_the_load_of_a_bus_is_that_of_every_frame_on_it():
    pack = load_pack('robot_13s')
    # 7 cells: 3 frames, 6 cells: 2; each with 3 temperatures: 1, and a status, ten times a second.
    modules = (3 + 1 + 1) / 0.1 + (2 + 1 + 1) / 0.1 + 2 * (1 + 1)
    sensor = 1 / 0.02 + 1 / 0.1 + 1
    contactors = 3 / 0.25 + 20
    rate, load = summary.bus_loads(pack)['main']
    assert rate == pytest.approx(modules + sensor + contactors)
    assert load == pytest.approx(rate * 135 / 500_000)


def test_every_bus_has_the_load_of_its_own_units():
    loads = summary.bus_loads(load_pack('marine_2x16s'))
    assert loads['port'] == loads['starboard']
    assert loads['port'][0] > 0


@pytest.mark.parametrize('name', PACKS)
def test_a_right_pack_is_summed_up(name):
    pack = load_pack(name)
    code, text = run(name)
    assert code == 0
    for module in pack.modules:
        assert f'module {module.name}: bus {module.bus}, address {module.address}' in text
    for quantity in ('cell_overvoltage', 'short_circuit', 'module_lost', 'rest_current'):
        assert quantity in text
    assert f'{pack.capacity:.1f} Ah' in text
    assert '135 bits' in text


def test_a_wrong_pack_is_refused_with_every_problem(tmp_path):
    path = tmp_path / 'wrong.yaml'
    path.write_text(changed('robot_13s', ('parallel', '6,0'), ('limits.rest_current', DELETE)))
    code, text = run(str(path))
    assert code == 1
    assert '2 problems' in text
    assert f"{path}:4: parallel: '6,0'; a whole number" in text
    assert 'limits.rest_current: missing' in text


def test_what_a_file_says_is_not_read_as_markup(tmp_path):
    path = tmp_path / 'pack.yaml'
    path.write_text(changed('robot_13s', ('description', '[/bold] [red]x')))
    code, text = run(str(path))
    assert (code, '[/bold] [red]x' in text) == (0, True)
    path.write_text(changed('robot_13s', ('name', '[/bold]')))
    code, text = run(str(path))
    assert (code, '[/bold]' in text) == (1, True)


def test_a_script_gets_the_same_as_json(tmp_path):
    path = tmp_path / 'wrong.yaml'
    path.write_text(changed('robot_13s', ('parallel', 0)))
    code, text = run('marine_2x16s', str(path), as_json=True)
    right, wrong = json.loads(text)
    assert code == 1
    assert (right['ok'], right['cells'], right['series']) == (True, 32, 16)
    assert right['limits']['cell_overvoltage']['msl']['at'] == 3.65
    assert right['limits']['overcurrent_charge']['unit'] == 'A'
    assert right['buses']['port']['load'] == pytest.approx(
        summary.bus_loads(load_pack('marine_2x16s'))['port'][1]
    )
    assert wrong['ok'] is False
    [problem] = wrong['problems']
    assert (problem['line'], problem['key'], problem['found']) == (4, 'parallel', '0')


def test_the_command_line_is_what_bringup_calls(capsys):
    assert cli.main(['leaf_module', '--json']) == 0
    assert json.loads(capsys.readouterr().out)[0]['name'] == 'leaf_module'
    assert cli.main(['no_such_pack']) == 1
    assert 'no such file' in capsys.readouterr().out
