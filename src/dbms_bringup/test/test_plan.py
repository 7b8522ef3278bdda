# SPDX-License-Identifier: Apache-2.0
import pytest

from dbms_bringup.graph import graph
from dbms_bringup.plan import fitting_pack, make_plan


def recording(path, cells):
    names = ','.join(f'Cell {i + 1}' for i in range(cells))
    rows = [f'{t},-10.0,' + ','.join(['3.7'] * cells) for t in range(3)]
    path.write_text('\n'.join([f'Time,Current,{names}', *rows]) + '\n', encoding='utf-8')
    return path


def test_the_demo_needs_no_words():
    plan = make_plan([], terminal=True)
    assert plan.pack.name == 'robot_13s'
    assert plan.options.bus_interface == 'virtual'
    assert plan.connect and plan.view and not plan.processes


def test_hardware_takes_the_buses_of_the_pack_and_connects_only_when_told():
    plan = make_plan(['--hardware'], terminal=False)
    assert (plan.options.simulate, plan.options.bus_interface) == (False, '')
    assert not plan.connect
    assert make_plan(['--hardware', '--connect'], terminal=False).connect


def test_two_plans_have_two_hubs():
    ports = {make_plan(['--processes'], terminal=False).options.bus_port for _ in range(3)}
    assert len(ports) == 3 and 0 not in ports


def test_a_recording_chooses_the_pack(tmp_path):
    six = recording(tmp_path / 'six.csv', 6)
    plan = make_plan(['--play', str(six)], terminal=False)
    assert plan.pack.name == 'leaf_module'
    assert 'played on leaf_module' in plan.notes[0]


def test_a_recording_that_fits_no_pack_is_refused(tmp_path):
    with pytest.raises(ValueError, match='no shipped pack fits.*7 columns'):
        fitting_pack(recording(tmp_path / 'seven.csv', 7))


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--hardware', '--play', 'x.csv'], '--play is for a simulated pack'),
        (['--hardware', '--speed', '2'], '--speed is for a simulated pack'),
        (['--hardware', '--load', 'rest'], '--load is for a simulated pack'),
        (['--play', '/no/such/file.csv'], 'no such file'),
        (['--speed', '0'], 'allowed are 0.001 to 10000'),
        (['--speed', 'nan'], 'allowed are'),
        (['--initial-soc', '1.5'], 'allowed are 0 to 1'),
        (['--initial-soc', 'nan'], 'allowed are 0 to 1'),
        (['--boards', 'm1'], 'add --processes'),
        (['--connect', '--no-connect'], 'contradict'),
        (['--domain', '400'], 'allowed are 0 to 232'),
        (['--duration', '0'], 'must be positive'),
        (['--duration', 'nan'], 'must be positive'),
        (['no_such_pack'], 'no_such_pack'),
    ],
)
def test_what_makes_no_sense_is_refused(words, said):
    with pytest.raises(ValueError, match=said):
        make_plan(words, terminal=False)


def test_the_state_of_a_simulated_pack_is_kept_only_where_it_is_asked_for():
    def kept(*words: str) -> object:
        plan = make_plan(words, terminal=False)
        nodes = {node.name: node for node in graph(plan.pack, plan.options)}
        return nodes['estimation'].parameters.get('state_file')

    assert kept() == 'none'
    assert kept('--state', '/x/state.sqlite') == '/x/state.sqlite'
    assert kept('--hardware') is None  # where the node has such files


def test_a_second_guard_needs_a_process_of_its_own():
    assert make_plan(['--processes', '--standby'], terminal=False).options.standby
    with pytest.raises(ValueError, match='add --processes'):
        make_plan(['--standby'], terminal=False)
