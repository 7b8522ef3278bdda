# SPDX-License-Identifier: Apache-2.0
"""Two guards and the driver on three hosts: the network is cut, split, slow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from namespace_cases import CASES, HOSTS
from namespaces import NET, Network, why_not

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


ECHO = """
import socket
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.bind(('0.0.0.0', 4000))
print('ready', flush=True)
while True:
    data, who = end.recvfrom(100)
    end.sendto(data, who)
"""
ASK = """
import socket, sys, time
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.settimeout(2.0)
begun = time.monotonic()
for _ in range(3):  # who is cut off says nothing, and the first may be lost while it is found out
    try:
        end.sendto(b'?', (sys.argv[1], 4000))
        end.recvfrom(100)
        break
    except OSError:
        begun = time.monotonic()
else:
    sys.exit(1)
print(time.monotonic() - begun)
"""


def test_the_network_cuts_splits_and_delays(network):
    """What the cases below stand on, tried with datagrams."""
    hosts, _ = network
    words = [*hosts.within('ship'), sys.executable, '-c', ECHO]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as echo:

        def takes(host: str) -> float | None:
            words = [*hosts.within(host), sys.executable, '-c', ASK, f'{NET}.1']
            done = subprocess.run(words, stdout=subprocess.PIPE, check=False)
            return float(done.stdout) if done.returncode == 0 else None

        try:
            assert echo.stdout.readline() == b'ready\n'
            assert takes('fore') is not None
            hosts.cut('fore')
            assert takes('fore') is None and takes('aft') is not None
            hosts.mend('fore')
            hosts.part('ship', 'aft')
            assert takes('fore') is not None and takes('aft') is None
            hosts.part('ship', 'aft', parted=False)
            assert takes('aft') is not None
            with hosts.delayed('fore', 0.2):
                assert takes('fore') >= 0.4
            assert takes('fore') is not None
        finally:
            echo.kill()


@pytest.mark.parametrize('case', CASES)
def test_no_network_makes_two_guards_command(case, network, patient, tmp_path, measured):
    hosts, prefix = network
    environ = {
        **os.environ,
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET',
        'ROS_LOCALHOST_ONLY': '0',
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
    for name, value in numbers['seconds'].items():
        measured(f'three hosts, {case}: {name}', value, numbers['lease'])
