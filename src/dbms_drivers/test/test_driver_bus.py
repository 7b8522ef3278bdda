# SPDX-License-Identifier: Apache-2.0
import queue
import threading

import can
import pytest
from boards import decode, make_string
from socketcand_server import WAIT, Server

from dbms_drivers.bus import CanLink, LinkState, open_bus
from dbms_drivers.keeper import ContactorKeeper
from dbms_drivers.socketcand import SocketcandBus
from dbms_pack.model import Bus


def tcp_bus(port):
    return Bus('main', 'socketcand', 'can0', options={'host': '127.0.0.1', 'port': port})


class Watch:
    """A link whose frames and states come in queues."""

    def __init__(self, bus, **options):
        self.frames, self.states, self.told = queue.Queue(), queue.Queue(), []
        self.link = CanLink(
            bus, lambda message, now: self.frames.put(message), self.changed,
            self.told.append, **options,
        )  # fmt: skip
        self.link.start()

    def changed(self, link):
        self.states.put((link.state, link.error))

    def until(self, state):
        while True:
            found, error = self.states.get(timeout=WAIT)
            if found is state:
                return error


@pytest.fixture
def watch():
    made = []

    def make(bus, **options):
        made.append(Watch(bus, **options))
        return made[-1]

    yield make
    for one in made:
        one.link.close()
        assert one.link.state is LinkState.CLOSED


def test_frames_of_a_server_arrive_also_in_pieces_and_right_after_the_handshake(watch):
    server = Server(after=b'< frame 123 1.5 01 02 >< frame 0')
    one = watch(tcp_bus(server.port))
    first = one.frames.get(timeout=WAIT)
    assert (first.arbitration_id, bytes(first.data), first.is_extended_id) == (
        0x123, b'\1\2', False
    )  # fmt: skip
    server.say(b'60 2.0 0A0B0c >< error 040 3.0 >< nonsense >< frame 00000060 4.0 ff >')
    second, error, extended = (one.frames.get(timeout=WAIT) for _ in range(3))
    assert (second.arbitration_id, bytes(second.data)) == (0x60, b'\x0a\x0b\x0c')
    assert error.is_error_frame and extended.is_extended_id
    server.leave()


def test_frame_is_sent_as_socketcand_writes_it(watch):
    server = Server()
    one = watch(tcp_bus(server.port))
    one.until(LinkState.UP)
    assert one.link.send(0x21, bytes([0, 10, 255]))
    assert server.received.get(timeout=WAIT).split() == b'< send 021 3 00 0a ff >'.split()
    server.leave()


def test_server_that_leaves_is_noticed_and_found_again(watch):
    server = Server()
    one = watch(tcp_bus(server.port))
    one.until(LinkState.UP)
    server.ready.wait(WAIT)
    server.leave()
    assert 'closed the connection' in one.until(LinkState.CONNECTING)
    assert not one.link.send(0x20, bytes(8))
    assert one.link.send_failures == 1
    again = Server(server.port)
    one.until(LinkState.UP)
    again.ready.wait(WAIT)
    again.say(b'< frame 123 1.5 01 >')
    assert one.frames.get(timeout=WAIT).arbitration_id == 0x123
    assert one.link.losses == 1
    again.leave()


def test_server_that_says_something_else_is_refused():
    server = Server(greeting=b'HTTP/1.1 400 Bad Request\r\n')
    with pytest.raises(can.CanInitializationError, match='HTTP'):
        SocketcandBus('can0', '127.0.0.1', server.port)
    server.leave()


def test_server_that_is_silent_does_not_hold_the_reader_for_ever():
    server = Server(greeting=b'')
    with pytest.raises((OSError, can.CanError)):
        SocketcandBus('can0', '127.0.0.1', server.port)
    server.leave()


def test_server_that_does_not_read_blocks_no_sender():
    server = Server()
    bus = SocketcandBus('can0', '127.0.0.1', server.port)
    server.received.put = lambda data: threading.Event().wait()  # it reads no more
    message = can.Message(arbitration_id=0x20, data=bytes(8), is_extended_id=False)
    with pytest.raises(can.CanOperationError):
        for _ in range(1_000_000):
            bus.send(message)
    bus.shutdown()
    server.leave()


def test_missing_interface_is_waited_for(watch):
    attempts = []

    def opener(bus):
        attempts.append(bus)
        if len(attempts) < 4:
            raise OSError('No such device')
        return open_bus(bus)

    one = watch(Bus('main', 'virtual', 'test_missing'), opener=opener)
    one.until(LinkState.UP)
    assert 'No such device' in one.told[0]
    assert len(attempts) == 4


class Broken:
    """An adapter whose driver behaves badly once it was opened."""

    def __init__(self, behave):
        self.behave = behave

    def recv(self, timeout):
        return self.behave()

    def shutdown(self):
        raise OSError('gone')


def unplugged():
    raise ValueError('read failed: device reports readiness to read but returned no data')


@pytest.mark.parametrize('behave, reason', [
    (unplugged, 'read failed'),
    (lambda: None, 'returns without waiting'),
])  # fmt: skip
def test_adapter_that_was_unplugged_is_opened_again(watch, behave, reason):
    buses = iter([Broken(behave)])
    one = watch(
        Bus('main', 'virtual', 'test_unplugged'), opener=lambda bus: next(buses, None) or
        open_bus(bus),
    )  # fmt: skip
    assert reason in one.until(LinkState.CONNECTING)
    one.until(LinkState.UP)


def test_bus_off_is_told_and_ends_with_the_next_frame(watch):
    one = watch(Bus('main', 'virtual', 'test_bus_off'))
    one.until(LinkState.UP)
    with can.Bus(interface='virtual', channel='test_bus_off') as other:
        other.send(can.Message(arbitration_id=0x40, is_error_frame=True, data=bytes(8)))
        assert 'bus-off' in one.until(LinkState.BUS_OFF)
        other.send(can.Message(arbitration_id=0x60, is_extended_id=False, data=bytes(8)))
        one.until(LinkState.UP)


def test_silent_bus_is_opened_anew(watch):
    one = watch(Bus('main', 'virtual', 'test_silent'), silence=0.3)
    one.until(LinkState.UP)
    assert 'no frame' in one.until(LinkState.CONNECTING)
    one.until(LinkState.UP)


def test_handler_that_raises_does_not_end_the_reader(watch):
    one = watch(Bus('main', 'virtual', 'test_handler'))
    seen = threading.Event()

    def receive(message, now):
        if message.arbitration_id == 2:
            seen.set()
        raise RuntimeError('no')

    one.link._receive = receive
    one.until(LinkState.UP)
    with can.Bus(interface='virtual', channel='test_handler') as other:
        for can_id in (1, 2):
            other.send(can.Message(arbitration_id=can_id, is_extended_id=False))
        assert seen.wait(WAIT)
    assert one.told == ["bus main: RuntimeError('no')"]


def test_keeper_opens_when_nobody_renews_and_resends_only_what_still_holds():
    sent = queue.Queue()
    keeper = ContactorKeeper(
        [make_string(lease=0.2)],
        lambda bus, can_id, data: sent.put(decode((can_id, data))) is None,
    )
    keeper.start()
    assert keeper.ask('a', (True, False, False), 0.2, 1) == (True, '')
    minus = [sent.get(timeout=WAIT)[2]['Minus'] for _ in range(4)]
    assert minus == [2, 2, 2, 1]
    keeper.resend('main')
    assert sent.get(timeout=WAIT)[2]['Plus'] == 1
    keeper.resend('other')
    keeper.ask('a', (False, True, False), 0.2, 2)
    assert sent.get(timeout=WAIT)[2]['Precharge'] == 2
    keeper.close()
    last = sent.get(timeout=WAIT)[2]
    assert (last['Minus'], last['Precharge'], last['Plus']) == (1, 1, 1)
    assert keeper.ask('a', (True, False, False), 0.2, 9)[0] is False
