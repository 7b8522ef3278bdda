# SPDX-License-Identifier: Apache-2.0
"""./dbms up beside a graph that has its namespace already."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
import rclpy
from dbms_msgs.msg import ProtectionState
from rclpy.node import Node

from dbms_bringup.neighbours import guarding, nobody_else
from dbms_node import middleware, qos


@contextmanager
def protection_in(namespace):
    """Let a protection be heard of, in a process or not: what is looked at is the wire."""
    context = rclpy.Context()
    middleware.init(args=[], context=context)
    node = Node('protection', namespace=namespace, context=context)
    node.create_publisher(ProtectionState, 'protection/state', qos.STATE)
    try:
        yield
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def up(*arguments):
    return subprocess.run(
        [sys.executable, '-m', 'dbms_bringup.cli', 'up', '--no-view', '--load', 'rest',
         *arguments],
        capture_output=True, text=True, timeout=100, check=False, env=os.environ,
    )  # fmt: skip


def test_a_namespace_in_use_is_refused_with_a_remedy_unless_forced():
    with protection_in('battery'):
        done = up('--duration', '30')
        assert done.returncode == 1
        assert 'in /battery already, by /battery/protection' in done.stderr
        assert '--namespace' in done.stderr and '--force' in done.stderr
        assert 'ended' not in done.stdout
        forced = up('--duration', '0.5', '--force')
        assert forced.returncode == 0, forced.stderr


def test_another_namespace_is_no_matter():
    with protection_in('other'):
        assert not nobody_else()
        assert guarding('battery', 3.0) == []
        done = up('--duration', '0.5')
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('namespace', ['/battery', 'fleet/seven'])
def test_who_is_there_is_named_and_gone_when_it_ends(namespace):
    with protection_in(namespace):
        assert guarding(namespace, 30.0) == [f'/{namespace.strip("/")}/protection']
    assert guarding(namespace, 0.5) == []


def test_nobody_is_there_in_an_empty_domain_and_on_a_network_one_cannot_know(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', '19')  # no test has it: theirs begin at 20
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    assert nobody_else()
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    assert not nobody_else()
