# SPDX-License-Identifier: Apache-2.0
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import can
import pytest
from can.interfaces.socketcand.socketcand import SocketCanDaemonBus

from dbms_sim.socketcand_server import running_hub

PATIENCE = 30.0  # s until a missing event is a failure


@pytest.fixture
def hub():
    with running_hub() as (hub, port):
        yield hub, port


@pytest.fixture
def connect(hub):
    buses = []

    def connect(channel='c'):
        bus = can.Bus(
            interface='socketcand', channel=channel, host='127.0.0.1', port=hub[1], tcp_tune=True
        )
        buses.append(bus)
        return bus

    yield connect
    for bus in buses:
        bus.shutdown()


def numbered(i, sender):
    return can.Message(
        arbitration_id=0x100 + sender, data=i.to_bytes(8, 'big'), is_extended_id=False
    )


def receive(bus, count):
    """Return `count` frames; a missing one is a failure at the end of PATIENCE."""
    got = []
    while len(got) < count:
        message = bus.recv(PATIENCE)
        assert message is not None, f'{len(got)} of {count} frames came'
        got.append(message)
    return got


class RawClient:
    """A client that speaks the protocol by hand."""

    def __init__(self, port, channel='c'):
        self.socket = socket.create_connection(('127.0.0.1', port), PATIENCE)
        assert self.socket.recv(100) == b'< hi >'
        if channel:
            assert self.ask(f'< open {channel} >'.encode()) == b'< ok >'
            assert self.ask(b'< rawmode >') == b'< ok >'

    def ask(self, message):
        self.socket.sendall(message)
        return self.socket.recv(100)

    def read_until(self, pattern):
        text = b''
        while not re.search(pattern, text):
            part = self.socket.recv(4096)
            assert part, f'closed after {text!r}'
            text += part
        return text


def test_20000_frames_among_three_clients_none_lost_and_in_order(connect):
    buses = [connect() for _ in range(3)]
    count = 3334

    def send(sender):
        for i in range(count):
            buses[sender].send(numbered(i, sender))

    got = [[], [], []]
    readers = [
        threading.Thread(target=lambda b=bus, g=got[i]: g.extend(receive(b, 2 * count)))
        for i, bus in enumerate(buses)
    ]
    senders = [threading.Thread(target=send, args=(i,)) for i in range(3)]
    for thread in (*readers, *senders):
        thread.start()
    for thread in (*senders, *readers):
        thread.join(2 * PATIENCE)
    for me, messages in enumerate(got):
        for other in {0, 1, 2} - {me}:
            mine = [m for m in messages if m.arbitration_id == 0x100 + other]
            assert [int.from_bytes(m.data, 'big') for m in mine] == list(range(count))


def test_channels_are_apart(connect):
    one, other, also_one = connect('one'), connect('other'), connect('one')
    one.send(numbered(1, 0))
    other.send(numbered(2, 0))
    one.send(numbered(3, 0))
    assert [m.data[7] for m in receive(also_one, 2)] == [1, 3]
    also_one.send(numbered(4, 0))
    assert receive(one, 1)[0].data[7] == 4
    assert other.recv(0.05) is None


def test_a_sender_does_not_hear_itself(connect):
    one, other = connect(), connect()
    one.send(numbered(1, 0))
    other.send(numbered(2, 0))
    assert receive(one, 1)[0].data[7] == 2


@pytest.mark.parametrize('data', [b'', b'\x00', b'\x0f\xf0\x00\xff\x01\x02\x03\x04'])
@pytest.mark.parametrize('can_id, extended', [(0, False), (0x7FF, False), (0x1ABCDEF0, True)])
def test_every_length_and_kind_of_id_arrives_as_it_was(connect, can_id, extended, data):
    one, other = connect(), connect()
    one.send(can.Message(arbitration_id=can_id, data=data, is_extended_id=extended))
    message = receive(other, 1)[0]
    assert bytes(message.data) == data
    assert (message.arbitration_id, message.is_extended_id) == (can_id, extended)
    assert message.timestamp > 1e9


def test_frames_of_a_busy_channel_do_not_disturb_who_joins(connect, hub):
    busy = connect()
    stop = threading.Event()

    def babble():
        i = 0
        while not stop.is_set():
            busy.send(numbered(i, 0))
            i += 1

    thread = threading.Thread(target=babble)
    thread.start()
    try:
        for _ in range(20):
            bus = connect()
            first, second = receive(bus, 2)
            assert second.data[7] == (first.data[7] + 1) & 0xFF
    finally:
        stop.set()
        thread.join()


MALFORMED = [
    b'< send 123 8 1 2 3 >',  # fewer bytes than it says
    b'< send 123 2 1 2 3 >',
    b'< send 123 9 1 2 3 4 5 6 7 8 9 >',
    b'< send 12 1 1 >',
    b'< send xyz 1 1 >',
    b'< send 123 1 111 >',
    b'< send >',
    b'< >',
    b'< rawmode >',
    b'< open other >',
    b'\x00\xff< \xfe\xfd >',
    b'no message at all ' * 20,
]


@pytest.mark.parametrize('message', MALFORMED)
def test_malformed_input_is_counted_and_the_client_stays(hub, message):
    hub, port = hub
    one, other = RawClient(port), RawClient(port)
    one.socket.sendall(message)
    one.socket.sendall(b'< send 123 2 a 0b >')
    text = other.read_until(rb'>')
    assert re.fullmatch(rb'< frame 123 \d+\.\d{6} 0a0b >', text)
    assert hub.counts['malformed'] == 1
    assert hub.counts['frames'] == 1


def test_before_raw_mode_a_malformed_command_is_answered(hub):
    client = RawClient(hub[1], channel=None)
    assert client.ask(b'< send 123 1 1 >').startswith(b'< error')
    assert client.ask(b'< hello >').startswith(b'< error')
    assert client.ask(b'< open c >') == b'< ok >'


def test_frames_cut_anywhere_are_put_together(hub):
    one, other = RawClient(hub[1]), RawClient(hub[1])
    for byte in b'< send 123 2 a 0b >< send 7FF 0  >':
        one.socket.sendall(bytes([byte]))
    assert re.fullmatch(rb'< frame 123 \S+ 0a0b >< frame 7FF \S+  >', other.read_until(rb'7FF.*>'))


def test_a_client_that_does_not_read_is_dropped_and_the_others_go_on(capsys):
    with running_hub(client_buffer=100_000) as (hub, port):
        slow, sender, good = RawClient(port), RawClient(port), RawClient(port)
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent = 0
        while not hub.counts['dropped clients'] and sent < 2_000_000:
            sender.socket.sendall(b'< send 123 8 1 2 3 4 5 6 7 8 >' * 999 + b'< send 7FF 0  >')
            sent += 1000
            assert good.read_until(b'7FF [^>]*>$').count(b'>') == 1000
        assert hub.counts['dropped clients'] == 1
        assert hub.counts['frames'] == sent
    assert 'dropped: it does not read' in capsys.readouterr().err


def test_a_hub_that_ends_frees_its_port_and_its_clients(hub):
    with running_hub() as (_, port):
        client = RawClient(port)
    assert client.socket.recv(100) == b''
    with running_hub(port=port) as (_, again):
        assert again == port
        RawClient(port)


def test_the_process_prints_its_port_and_ends_on_sigterm():
    process = subprocess.Popen(
        [sys.executable, '-m', 'dbms_sim.socketcand_server', '--port', '0'],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONUNBUFFERED': '1'},
    )
    try:
        line = process.stdout.readline()
        port = int(re.fullmatch(r'can_hub listening on 127\.0\.0\.1:(\d+)\n', line).group(1))
        bus = SocketCanDaemonBus('c', '127.0.0.1', port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        bus.shutdown()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def test_a_port_in_use_is_said_in_one_line(hub):
    run = subprocess.run(
        [sys.executable, '-m', 'dbms_sim.socketcand_server', '--port', str(hub[1])],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith('can_hub: cannot listen on 127.0.0.1')
    assert run.stderr.count('\n') == 1
