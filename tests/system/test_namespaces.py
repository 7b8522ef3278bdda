# SPDX-License-Identifier: Apache-2.0
"""Two guards and the driver on three hosts: the network is cut, split, slow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from namespace_cases import CASES, HOSTS
from namespaces import Network, why_not

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.fixture
def network():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    prefix = f'dbms{os.getpid()}'
    made = Network(prefix, HOSTS)
    try:
        made.make()
        yield made, prefix
    finally:
        made.remove()


@pytest.mark.parametrize('case', CASES)
def test_no_network_makes_two_guards_command(case, network, patient, tmp_path, record_property):
    hosts, prefix = network
    environ = {
        **os.environ,
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET',
        'ROS_LOCALHOST_ONLY': '0',
        # Memory is shared across namespaces: what is to be cut has to go by the network.
        'FASTDDS_BUILTIN_TRANSPORTS': 'UDPv4',
    }
    words = [sys.executable, str(HERE / 'namespace_cases.py'), case, prefix, str(patient)]
    done = subprocess.run(
        [*hosts.within('ship'), *words, str(tmp_path)],
        env=environ, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    logs = ''.join(
        f'--- {log.name}\n{log.read_text(errors="replace")[-1500:]}'
        for log in tmp_path.glob('protection*.log')
    )
    assert done.returncode == 0, done.stdout + done.stderr + logs
    numbers = json.loads(done.stdout.splitlines()[-1])
    print(f'{case}: {numbers}')
    for name, value in numbers.items():
        record_property(name, value)
