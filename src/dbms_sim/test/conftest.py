# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of the simulator."""

import os
import sys
from pathlib import Path

import pytest

from dbms_pack import load_pack

# Domains above 101 may collide with the ports of outgoing connections on Linux.
os.environ['ROS_DOMAIN_ID'] = str(20 + os.getpid() % 80)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope='session')
def robot():
    return load_pack('robot_13s')


@pytest.fixture(scope='session')
def marine():
    return load_pack('marine_2x16s')


@pytest.fixture(scope='session')
def leaf():
    return load_pack('leaf_module')
