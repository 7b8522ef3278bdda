# SPDX-License-Identifier: Apache-2.0
"""Network namespaces joined by a switch: hosts on one machine whose network can be cut.

Needs root and iproute2; `why_not` says what is missing. No packet leaves the namespaces.
"""

import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

NET = '10.77.0'
EVERYTHING = 0x0003  # ETH_P_ALL: frames of every protocol
SOL_PACKET, PACKET_VNET_HDR = 263, 15  # of linux/if_packet.h; Python has no names for them


def why_not() -> str:
    """Say why there can be no namespaces here; '' if there can."""
    if shutil.which('ip') is None or shutil.which('bridge') is None:
        return 'no network namespaces: iproute2 (ip, bridge) is not installed'
    name = f'dbms{os.getpid()}try'
    done = subprocess.run(['ip', 'netns', 'add', name], capture_output=True, text=True)
    if done.returncode:
        return f'no network namespaces here: {done.stderr.strip()}'
    try:
        made = subprocess.run(
            ['ip', '-n', name, 'link', 'add', 'sw', 'type', 'bridge'],
            capture_output=True, text=True,
        )  # fmt: skip
        return f'no bridge in network namespaces: {made.stderr.strip()}' * bool(made.returncode)
    finally:
        subprocess.run(['ip', 'netns', 'del', name], check=False)


def run(*words: str) -> None:
    subprocess.run(words, check=True)


class Network:
    """Hosts on one switch. The port of host `x` is `px`, in the namespace of the switch."""

    def __init__(self, prefix: str, hosts: Sequence[str]) -> None:
        self._switch = f'{prefix}switch'
        self._hosts = {host: f'{prefix}{host}' for host in hosts}

    def make(self) -> None:
        """Make all of it; on the hosts only loopback and `eth`."""
        run('ip', 'netns', 'add', self._switch)
        # Without snooping: multicast, by which participants find each other, goes everywhere.
        self._in_switch('link', 'add', 'sw', 'type', 'bridge', 'mcast_snooping', '0')
        self._in_switch('link', 'set', 'sw', 'up')
        for number, (host, name) in enumerate(self._hosts.items(), 1):
            run('ip', 'netns', 'add', name)
            run('ip', 'link', 'add', 'eth', 'netns', name, 'type', 'veth',
                'peer', 'name', f'p{host}', 'netns', self._switch)  # fmt: skip
            self._in_switch('link', 'set', f'p{host}', 'master', 'sw', 'up')
            run('ip', '-n', name, 'address', 'add', f'{NET}.{number}/24', 'dev', 'eth')
            run('ip', '-n', name, 'link', 'set', 'lo', 'up')
            run('ip', '-n', name, 'link', 'set', 'eth', 'up')
            run('ip', '-n', name, 'route', 'add', '224.0.0.0/4', 'dev', 'eth')

    def remove(self) -> None:
        """Remove what there is of it."""
        for name in (*self._hosts.values(), self._switch):
            subprocess.run(['ip', 'netns', 'del', name], capture_output=True, check=False)

    def within(self, host: str) -> list[str]:
        """Return the words that run a command on a host, in the same process."""
        return ['ip', 'netns', 'exec', self._hosts[host]]

    def cut(self, host: str) -> None:
        """Take a host off the network."""
        self._in_switch('link', 'set', f'p{host}', 'down')

    def mend(self, host: str) -> None:
        """Put a host back on the network."""
        self._in_switch('link', 'set', f'p{host}', 'up')

    def part(self, *hosts: str, parted: bool = True) -> None:
        """Let some hosts not reach each other; all others reach them as before."""
        for host in hosts:
            run('ip', 'netns', 'exec', self._switch, 'bridge', 'link', 'set', 'dev', f'p{host}',
                'isolated', 'on' if parted else 'off')  # fmt: skip

    @contextmanager
    def delayed(self, host: str, seconds: float) -> Iterator[None]:
        """Let every frame from and to a host take so much longer."""
        self._in_switch('link', 'add', 'inside', 'type', 'veth', 'peer', 'name', 'outside')
        self._in_switch('link', 'set', f'p{host}', 'nomaster')
        self._in_switch('link', 'set', 'outside', 'master', 'sw', 'up')
        self._in_switch('link', 'set', 'inside', 'up', 'promisc', 'on')
        words = ['ip', 'netns', 'exec', self._switch, sys.executable, __file__]
        relay = subprocess.Popen(
            [*words, f'p{host}', 'inside', str(seconds)], stdout=subprocess.PIPE
        )
        try:
            assert relay.stdout is not None and relay.stdout.readline() == b'relaying\n'
            yield
        finally:
            relay.kill()
            relay.wait()
            self._in_switch('link', 'del', 'inside')
            self._in_switch('link', 'set', f'p{host}', 'master', 'sw')

    def _in_switch(self, *words: str) -> None:
        run('ip', '-n', self._switch, *words)


def relay(one: str, other: str, seconds: float) -> None:
    """Hand frames from either of two interfaces to the other, `seconds` later, until killed."""
    ends = []
    for name in (one, other):
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
        # With each frame, whether its checksum is still to be made: on virtual wires it never is,
        # and a frame that came out here without that would be taken for damaged.
        end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        end.bind((name, EVERYTHING))
        end.setblocking(False)
        ends.append(end)
    print('relaying', flush=True)
    under_way: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, to, frame = under_way.popleft()
            try:
                to.send(frame)
            except OSError:
                pass  # a frame that is lost: networks do that
        wait = under_way[0][0] - now if under_way else None
        for end in select.select(ends, [], [], wait)[0]:
            frame, address = end.recvfrom(1 << 17)
            if address[2] != socket.PACKET_OUTGOING:  # not what was just sent
                other_end = ends[1 - ends.index(end)]
                under_way.append((time.monotonic() + seconds, other_end, frame))


if __name__ == '__main__':
    relay(sys.argv[1], sys.argv[2], float(sys.argv[3]))
