# SPDX-License-Identifier: Apache-2.0
"""By which transport the processes talk."""

import json
import os
import subprocess
import sys

import pytest
import rclpy

from dbms_node import middleware
from dbms_node.middleware import (
    LOCALHOST_ONLY,
    LOCALHOST_PROFILE,
    PROFILES,
    RANGE,
    SUBNET_PROFILE,
    profile_for,
)


@pytest.mark.parametrize(
    ('environ', 'profile'),
    [
        ({}, SUBNET_PROFILE),
        ({RANGE: 'SUBNET'}, SUBNET_PROFILE),
        ({RANGE: 'SUBNET', 'ROS_STATIC_PEERS': '10.0.0.2'}, SUBNET_PROFILE),
        ({RANGE: 'LOCALHOST'}, LOCALHOST_PROFILE),
        ({LOCALHOST_ONLY: '1'}, LOCALHOST_PROFILE),
        ({LOCALHOST_ONLY: '0'}, SUBNET_PROFILE),
        # As the process that started this one has left it.
        ({RANGE: 'LOCALHOST', **dict.fromkeys(PROFILES, LOCALHOST_PROFILE)}, LOCALHOST_PROFILE),
        ({RANGE: 'SUBNET', **dict.fromkeys(PROFILES, LOCALHOST_PROFILE)}, SUBNET_PROFILE),
        # Where the user has chosen.
        ({PROFILES[0]: 'mine.xml', RANGE: 'LOCALHOST'}, None),
        ({PROFILES[1]: 'mine.xml'}, None),
        ({'FASTDDS_BUILTIN_TRANSPORTS': 'SHM'}, None),
        ({RANGE: 'OFF'}, None),
        ({RANGE: 'LOCALHOST', 'ROS_STATIC_PEERS': '10.0.0.2'}, None),
    ],
)
def test_shared_memory_is_left_out_unless_the_user_has_chosen(environ, profile):
    assert profile_for('rmw_fastrtps_cpp', environ) == profile
    assert profile_for('rmw_cyclonedds_cpp', environ) is None


@pytest.mark.parametrize('name', [RANGE, LOCALHOST_ONLY])
def test_the_range_is_what_it_was_afterwards(monkeypatch, name):
    for one in (RANGE, LOCALHOST_ONLY, *PROFILES):
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setenv(name, {RANGE: 'LOCALHOST', LOCALHOST_ONLY: '1'}[name])
    before = {one: os.environ.get(one) for one in (RANGE, LOCALHOST_ONLY)}
    context = rclpy.Context()
    middleware.init(args=[], context=context)
    rclpy.try_shutdown(context=context)
    assert {one: os.environ.get(one) for one in (RANGE, LOCALHOST_ONLY)} == before


TALK = """
import json, os, sys, rclpy
from dbms_node import middleware
from dbms_node.clocks import steady_now

getattr(*{'ours': (middleware, 'init'), 'plain': (rclpy, 'init')}[sys.argv[1]])()
node = rclpy.create_node(sys.argv[1])
tasks = '/proc/self/task'
names = [open(f'{tasks}/{one}/comm').read().strip() for one in os.listdir(tasks)]
print(json.dumps(sorted(name[:7] for name in names)), flush=True)
end = steady_now() + 20.0
while len(set(node.get_node_names())) < 3 and steady_now() < end:
    rclpy.spin_once(node, timeout_sec=0.05)
print(json.dumps(sorted(set(node.get_node_names()))), flush=True)
sys.stdin.read()
"""


def _talk(kind, name, reach, domain):
    environ = {k: v for k, v in os.environ.items() if k not in (RANGE, LOCALHOST_ONLY, *PROFILES)}
    environ.pop('FASTDDS_BUILTIN_TRANSPORTS', None)
    text = TALK.replace('create_node(sys.argv[1])', f'create_node({name!r})')
    return subprocess.Popen(
        [sys.executable, '-c', text, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environ, RANGE: reach, 'ROS_DOMAIN_ID': str(domain)},
    )


def test_no_shared_memory_and_still_found_by_those_that_have_it():
    """In the local range, in which rmw_fastrtps adds shared memory whatever it is told."""
    domain = 40 + os.getpid() % 60
    talks = [
        _talk('ours', 'first', 'LOCALHOST', domain),
        _talk('ours', 'second', 'LOCALHOST', domain),
        _talk('plain', 'stranger', 'LOCALHOST', domain),
    ]
    try:
        threads = [json.loads(talk.stdout.readline()) for talk in talks]
        found = [json.loads(talk.stdout.readline()) for talk in talks]
    finally:
        for talk in talks:
            talk.communicate()
    assert ['dds.shm' in names for names in threads] == [False, False, True]
    assert all('dds.udp' in names for names in threads)
    assert found == [['first', 'second', 'stranger']] * 3
