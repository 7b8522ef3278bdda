# SPDX-License-Identifier: Apache-2.0
"""The security policy: it allows what the nodes do, no more, and lets only named ones call."""

import time
from fnmatch import fnmatchcase
from xml.etree import ElementTree

import pytest
import rclpy

from dbms_bringup import security
from dbms_bringup.cli import main
from dbms_bringup.graph import Options, graph
from dbms_bringup.one_process import make_nodes
from dbms_monitor.status_node import StatusNode
from dbms_node import middleware
from dbms_node.runtime import close_node
from dbms_pack import load_pack, paths

OWN = 'battery'
# Taken up only with use_sim_time, and only where the pack lowers limits by estimates.
SOMETIMES = {'/clock', f'/{OWN}/cells/state', f'/{OWN}/power'}
MONITORED = {f'/{OWN}/modules/*/cells', f'/{OWN}/strings/*/measurement'}  # once it has seen them


def allowed(text):
    """Return {enclave: {(kind, qualifier): names}}, names absolute as SROS2 makes them."""
    found = {}
    # The names that SROS2 takes since Foxy; it refuses a policy with others.
    for enclave in ElementTree.fromstring(text.encode()).findall('enclaves/enclave'):
        rules = found.setdefault(enclave.get('path'), {})
        for profile in enclave.findall('profiles/profile'):
            for group in profile:
                [(qualifier, word)] = group.items()
                assert word == 'ALLOW'
                for entry in group:
                    name = entry.text
                    whole = name if name.startswith('/') else f'{profile.get("ns")}/{name}'
                    rules.setdefault((entry.tag, qualifier), set()).add(whole)
    return found


@pytest.fixture
def nodes():
    middleware.init()
    pack = load_pack('marine_2x16s')
    options = Options(simulate=True, bus_interface='virtual', standby=True, autostart=False)
    specs = [spec for spec in graph(pack, options) if spec.name != 'sim']
    specs = [spec for spec in specs if spec.name != 'protection_standby']
    made = make_nodes(specs, OWN)
    made.append(StatusNode(lambda: None, namespace=OWN))
    guard = next(node for node in made if node.get_name() == 'protection')
    guard.trigger_configure()
    guard.enter_office(1)
    yield {node.get_name(): node for node in made}
    for node in reversed(made):
        close_node(node)
    rclpy.shutdown()


def does(node):
    """Return what the graph says that a node does."""
    name, space = node.get_name(), node.get_namespace()
    found = {
        ('topic', 'publish'): node.get_publisher_names_and_types_by_node(name, space),
        ('topic', 'subscribe'): node.get_subscriber_names_and_types_by_node(name, space),
        ('service', 'reply'): node.get_service_names_and_types_by_node(name, space),
        ('service', 'request'): node.get_client_names_and_types_by_node(name, space),
    }
    return {key: {one for one, _ in value} for key, value in found.items()}


def differences(node, rules):
    """Return what the node does and may not, and what it may and does not do."""
    too_much, unused = [], []
    doing = does(node)
    for key, names in doing.items():
        patterns = rules.get(key, set())
        too_much += [(*key, n) for n in names if not any(fnmatchcase(n, p) for p in patterns)]
        idle = patterns - SOMETIMES - (MONITORED if node.get_name() == 'status' else set())
        unused += [(*key, p) for p in idle if not any(fnmatchcase(n, p) for n in names)]
    return too_much, unused


def test_every_node_may_do_what_it_does_and_no_more(nodes):
    rules = allowed(security.policy(OWN))
    assert set(nodes) == {'driver', 'estimation', 'protection', 'status'}
    for name, node in nodes.items():
        end = time.monotonic() + 15.0
        while any(found := differences(node, rules[f'/{OWN}/{name}'])):
            if time.monotonic() > end:
                break
            time.sleep(0.01)  # the graph of ROS 2 follows the nodes
        assert found == ([], []), name


def test_a_standby_guard_may_do_what_the_first_may():
    rules = allowed(security.policy(OWN))
    first, second = rules[f'/{OWN}/protection'], rules[f'/{OWN}/protection_standby']
    for key, names in first.items():
        other = {name.replace('protection_standby/', 'protection/') for name in second[key]}
        assert other == names


@pytest.mark.parametrize(
    'service, callers',
    [
        ('connect', {'helm', 'planner', 'dock'}),
        ('disconnect', {'helm', 'planner', 'dock'}),
        ('reset_faults', {'helm'}),
        ('emergency_stop', {'helm', 'emergency_stop'}),
        ('contactors/a/set', {'protection', 'protection_standby'}),
        ('protection/change_state', {'manager'}),
        ('protection/set_parameters', set()),
    ],
)
def test_only_named_enclaves_may_call(service, callers):
    rules = allowed(security.policy(OWN))
    may = {
        enclave.rpartition('/')[2]
        for enclave, rule in rules.items()
        if any(fnmatchcase(f'/{OWN}/{service}', p) for p in rule.get(('service', 'request'), ()))
    }
    assert may == callers


@pytest.mark.parametrize(
    'topic, speakers',
    [
        ('modules/m1/bleed', {'balancing'}),
        ('modules/m1/cells', {'driver'}),
        ('strings/a/measurement', {'driver'}),
        ('battery_state', {'estimation'}),
        ('limits', {'protection', 'protection_standby'}),
        ('emergency_stop/pressed', {'helm', 'emergency_stop'}),
    ],
)
def test_only_one_may_say(topic, speakers):
    rules = allowed(security.policy(OWN))
    may = {
        enclave.rpartition('/')[2]
        for enclave, rule in rules.items()
        if any(fnmatchcase(f'/{OWN}/{topic}', p) for p in rule[('topic', 'publish')])
    }
    assert may == speakers


def test_another_namespace_is_another_world(tmp_path):
    file = tmp_path / 'aft.xml'
    assert main(['policy', '--namespace', 'aft/battery', '-o', str(file)]) == 0
    rules = allowed(file.read_text())
    assert '/aft/battery/connect' in rules['/aft/battery/helm'][('service', 'request')]
    assert all(enclave.startswith('/aft/battery/') for enclave in rules)
    assert main(['policy', '-o', str(tmp_path / 'no' / 'folder.xml')]) == 1


def test_the_shipped_file_is_what_the_command_prints():
    shipped = paths.find('security', 'battery.policies.xml')
    assert shipped.read_text(encoding='utf-8') == security.policy(OWN)
