# SPDX-License-Identifier: Apache-2.0
"""The QoS overrides for `ros2 bag`, compared with what the nodes offer."""

import os
from pathlib import Path

import pytest
import yaml

from dbms_pack import load_pack

FILE = Path(__file__).parents[2] / 'config' / 'rosbag2' / 'qos.yaml'
NOT_OURS = ('/rosout', '/parameter_events')


@pytest.fixture
def nodes(monkeypatch):
    rclpy = pytest.importorskip('rclpy')
    from dbms_bringup.graph import Options, graph
    from dbms_bringup.one_process import make_nodes
    from dbms_node import middleware
    from dbms_node.runtime import close_node, make_executor

    monkeypatch.setenv('ROS_DOMAIN_ID', str(20 + os.getpid() % 80))
    middleware.init(args=[])
    first = {'protection': {'pair': 'first'}}  # as beside a second guard, whom it tells its beat
    options = Options(simulate=True, bus_interface='virtual', extra=first)
    made = make_nodes(graph(load_pack('robot_13s'), options), 'battery')
    executor = make_executor()
    for node in made:
        executor.add_node(node)
    guard = made[-1]
    for _ in range(1200):
        executor.spin_once(timeout_sec=0.05)
        if any(publisher.topic_name.endswith('/holder') for publisher in publishers([guard])):
            break
    yield made
    for node in reversed(made):
        close_node(node)
    executor.shutdown(timeout_sec=1.0)
    rclpy.try_shutdown()


def publishers(nodes):
    return [one for node in nodes for one in node.publishers]


def test_every_topic_is_named_with_the_qos_that_is_offered(nodes):
    told = yaml.safe_load(FILE.read_text('utf-8'))
    found = {}
    for one in publishers(nodes):
        if one.topic_name in NOT_OURS or one.topic_name.endswith('/transition_event'):
            continue
        profile = one.qos_profile
        found[one.topic_name] = {
            'history': profile.history.name.lower(),
            'depth': profile.depth,
            'reliability': profile.reliability.name.lower(),
            'durability': profile.durability.name.lower(),
        }
    assert '/battery/protection/holder' in found and '/battery/protection/beat' in found
    assert found == {name: told[name] for name in found if name in told}
    # Nobody of today says these: balancing will.
    assert set(told) - set(found) == {f'/battery/modules/{name}/bleed' for name in ('m1', 'm2')}


def test_the_file_is_what_the_recorder_prints(capsys):
    from dbms_replay.record_cli import main

    assert main(['--qos', '--pack', 'robot_13s']) == 0
    assert capsys.readouterr().out == FILE.read_text('utf-8')
    assert main(['--qos']) == 2 and '--pack' in capsys.readouterr().err
