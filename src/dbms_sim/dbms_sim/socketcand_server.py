# SPDX-License-Identifier: Apache-2.0
"""A small CAN hub on TCP: the server side of socketcand's text protocol.

python-can's `socketcand` interface connects to it, any number of clients on any number of
channels; a frame goes to all other clients of its channel, in order. It stands in for a bus
between processes where the kernel has none; it arbitrates and acknowledges nothing.

Protocol: https://github.com/linux-can/socketcand/blob/master/doc/protocol.md (raw mode).
"""

import argparse
import asyncio
import re
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

# Bytes that may wait for a client: some 100,000 frames, or half a minute of a busy bus.
CLIENT_BUFFER = 4_000_000
# The client reads the answer to "rawmode" with one recv and fails if a frame follows in it.
SETTLING = 0.2  # s in which frames wait after that answer
LONGEST_MESSAGE = 256  # bytes without an end that are kept

_MESSAGE = re.compile(rb'<([^<>]*)>')
_SEND = re.compile(
    rb'\s*send\s+([0-9A-Fa-f]{3}|[0-9A-Fa-f]{8})\s+([0-8])((?:\s+[0-9A-Fa-f]{1,2})*)\s*'
)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, hub: 'Hub') -> None:
        self._hub = hub
        self._received = b''
        self._raw = False
        self._held: bytearray | None = None  # frames that wait for SETTLING
        self._transport: asyncio.Transport | None = None
        self.channel: str | None = None
        self.name = '?'

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.name = '{}:{}'.format(*transport.get_extra_info('peername')[:2])
        transport.write(b'< hi >')

    def connection_lost(self, exc: Exception | None) -> None:
        self._hub.leave(self)

    def data_received(self, data: bytes) -> None:
        """Take what came; all frames of one read go out as one write per client."""
        self._received += data
        frames: list[bytes] = []
        done = 0
        for match in _MESSAGE.finditer(self._received):
            done = match.end()
            self._take(match.group(1), frames)
        self._received = self._received[done:]
        if len(self._received) > LONGEST_MESSAGE:
            self._received = b''
            self._hub.counts['malformed'] += 1
        if frames and self.channel is not None:
            self._settle()  # a client that sends has read all answers
            self._hub.relay(self, self.channel, frames)

    def _take(self, message: bytes, frames: list[bytes]) -> None:
        send = _SEND.fullmatch(message)
        if send is None:
            self._command(message.split())
            return
        parts = send.group(3).split()
        if not self._raw or len(parts) != int(send.group(2)):
            self._refuse()
            return
        data = b''.join([part if len(part) == 2 else b'0' + part for part in parts])
        frames.append(b'< frame %b %b %b >' % (send.group(1), self._hub.stamp(), data))

    def _command(self, words: list[bytes]) -> None:
        if words[:1] == [b'open'] and len(words) == 2 and self.channel is None:
            self.channel = words[1].decode('ascii', errors='replace')
            self._answer(b'< ok >')
        elif words == [b'rawmode'] and self.channel is not None and not self._raw:
            self._answer(b'< ok >')
            self._raw = True
            self._held = bytearray()
            self._hub.join(self)
            asyncio.get_running_loop().call_later(SETTLING, self._settle)
        elif words == [b'echo']:
            self._answer(b'< echo >')
        else:
            self._refuse()

    def _refuse(self) -> None:
        self._hub.counts['malformed'] += 1
        # In raw mode the client takes every answer for a frame, and fails.
        if not self._raw:
            self._answer(b'< error unknown command >')

    def _answer(self, text: bytes) -> None:
        if self._transport is not None:
            self._transport.write(text)

    def _settle(self) -> None:
        held, self._held = self._held, None
        if held:
            self.deliver(bytes(held))

    def deliver(self, frames: bytes) -> None:
        """Send `frames`, without ever waiting; a client that does not read is dropped."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._held is not None:
            self._held += frames
            waiting = len(self._held)
        else:
            transport.write(frames)
            waiting = transport.get_write_buffer_size()
        if waiting > self._hub.client_buffer:
            self._hub.drop(self, waiting)
            transport.abort()

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()


class Hub:
    """All clients and channels. Runs in one asyncio loop."""

    def __init__(self, client_buffer: int = CLIENT_BUFFER) -> None:
        self.client_buffer = client_buffer
        self.counts: Counter[str] = Counter()
        self._channels: dict[str, set[Client]] = defaultdict(set)
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; 0 takes a free one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Client(self), host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and close all connections."""
        if self._server is not None:
            self._server.close()
        for clients in list(self._channels.values()):
            for client in list(clients):
                client.close()

    def stamp(self) -> bytes:
        """Return the time of a frame as the protocol has it: s since 1970."""
        return b'%.6f' % time.time()

    def join(self, client: Client) -> None:
        """Let a client hear its channel."""
        assert client.channel is not None
        self._channels[client.channel].add(client)

    def leave(self, client: Client) -> None:
        """Forget a client."""
        if client.channel is not None:
            self._channels[client.channel].discard(client)

    def relay(self, sender: Client, channel: str, frames: list[bytes]) -> None:
        """Give frames to all other clients of a channel."""
        self.counts['frames'] += len(frames)
        block = b''.join(frames)
        for client in list(self._channels[channel]):
            if client is not sender:
                client.deliver(block)

    def drop(self, client: Client, waiting: int) -> None:
        """Say that a client was too slow."""
        self.counts['dropped clients'] += 1
        self.leave(client)
        print(
            f'can_hub: {client.name} on {client.channel} dropped: it does not read, '
            f'{waiting} bytes were waiting',
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def running_hub(
    host: str = '127.0.0.1', port: int = 0, client_buffer: int = CLIENT_BUFFER
) -> Iterator[tuple[Hub, int]]:
    """Run a hub in a thread of its own; yields the hub and its port."""
    hub = Hub(client_buffer)
    loop = asyncio.new_event_loop()
    bound = loop.run_until_complete(hub.start(host, port))
    thread = threading.Thread(target=loop.run_forever, name='can_hub', daemon=True)
    thread.start()
    try:
        yield hub, bound
    finally:
        asyncio.run_coroutine_threadsafe(hub.stop(), loop).result(5.0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _serve(host: str, port: int) -> int:
    hub = Hub()
    try:
        bound = await hub.start(host, port)
    except OSError as error:
        print(f'can_hub: cannot listen on {host}:{port}: {error}', file=sys.stderr)
        return 1
    print(f'can_hub listening on {host}:{bound}', flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    await hub.stop()
    return 0


def main(args: list[str] | None = None) -> int:
    """Run the hub until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog='can_hub', description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on')
    parser.add_argument('--port', type=int, default=29536, help='0: a free one, it is printed')
    arguments = parser.parse_args(args)
    return asyncio.run(_serve(arguments.host, arguments.port))


if __name__ == '__main__':
    sys.exit(main())
