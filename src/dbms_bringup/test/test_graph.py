# SPDX-License-Identifier: Apache-2.0
import importlib
from dataclasses import replace

import pytest

from dbms_bringup.graph import Options, graph, programs, simulators
from dbms_pack import load_pack

SIMULATED = Options(simulate=True, bus_interface='virtual')
HUB = Options(simulate=True, bus_interface='socketcand', bus_port=4711)


@pytest.fixture(scope='module')
def robot():
    return load_pack('robot_13s')


def by_name(nodes):
    return {node.name: node for node in nodes}


@pytest.mark.parametrize('name', ['robot_13s', 'marine_2x16s', 'leaf_module'])
def test_hardware_has_nothing_virtual(name):
    nodes = graph(load_pack(name), Options())
    assert [node.name for node in nodes] == ['driver', 'estimation', 'protection']
    assert not any('bus_interface' in node.parameters for node in nodes)
    assert not by_name(nodes)['protection'].parameters['simulation']
    assert programs(Options()) == []


def test_only_those_on_the_bus_are_redirected(robot):
    nodes = by_name(graph(robot, HUB))
    on_bus = {name for name, node in nodes.items() if 'bus_port' in node.parameters}
    assert on_bus == {'sim', 'driver'}
    (hub,) = programs(HUB)
    assert hub.arguments[-1] == str(nodes['driver'].parameters['bus_port'])


def test_what_is_named_exists(robot):
    for node in graph(robot, replace(HUB, boards=('m2',))):
        module = importlib.import_module(node.module)
        assert callable(module.main) and hasattr(module, node.class_name)
    for program in programs(HUB):
        assert callable(importlib.import_module(program.module).main)


def test_every_node_has_every_parameter_it_is_given(robot):
    """A misspelt override is silent in ROS 2: nobody declares it, nobody misses it."""
    import rclpy

    from dbms_bringup.one_process import make_nodes
    from dbms_node import middleware
    from dbms_node.runtime import close_node

    options = replace(SIMULATED, time_scale=2.0, load='rest')
    specs = graph(robot, options)
    middleware.init()
    try:
        nodes = make_nodes(specs, 'graph_test')
        try:
            for spec, node in zip(specs, nodes, strict=True):
                assert not [name for name in spec.parameters if not node.has_parameter(name)]
                for name, value in spec.parameters.items():
                    assert node.get_parameter(name).value == value
        finally:
            for node in reversed(nodes):
                close_node(node)
    finally:
        rclpy.try_shutdown()


def test_battery_time_is_one_for_all(robot):
    nodes = graph(robot, replace(SIMULATED, time_scale=60.0))
    scales = [n.parameters['time_scale'] for n in nodes if 'time_scale' in n.parameters]
    assert scales == [60.0, 60.0, 60.0]
    assert by_name(nodes)['protection'].parameters['simulation']


def test_a_board_of_its_own_is_played_once(robot):
    played = by_name(simulators(robot, replace(HUB, boards=('m2',))))
    assert played['sim'].parameters['modules'] == ['m1']
    assert played['sim_m2'].parameters['modules'] == ['m2']
    assert played['sim_m2'].parameters['units'] is False


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (Options(play='x.csv'), 'not on hardware'),
        (Options(time_scale=2.0), 'simulation only'),
        (Options(boards=('m1',)), 'not on hardware'),
        (Options(simulate=True), 'set bus_interface'),
        (replace(HUB, boards=('m7',)), 'no module m7'),
        (replace(HUB, boards=('m1', 'm2')), 'one module at least'),
        (replace(HUB, bus_port=0), 'needs a port'),
    ],
)
def test_contradictions_are_refused(robot, options, said):
    with pytest.raises(ValueError, match=said):
        graph(robot, options)


def test_extra_parameters_win(robot):
    options = replace(SIMULATED, extra={'sim': {'load': 'rest', 'seed': 3}})
    parameters = by_name(graph(robot, options))['sim'].parameters
    assert (parameters['load'], parameters['seed']) == ('rest', 3)


def test_a_second_guard_is_the_same_node_by_another_name(robot):
    nodes = by_name(graph(robot, replace(HUB, standby=True)))
    first, second = nodes['protection'], nodes['protection_standby']
    assert (first.factory, first.lifecycle) == (second.factory, second.lifecycle)
    assert first.parameters == {**second.parameters, 'pair': 'first'}
    assert second.parameters['pair'] == 'second'
    assert 'pair' not in by_name(graph(robot, HUB))['protection'].parameters
