# SPDX-License-Identifier: Apache-2.0
import queue

import can
import pytest

from dbms_pack.model import Bus
from dbms_sim.bus_port import BusPort
from dbms_sim.socketcand_server import running_hub
from dbms_sim.wire import Frame

PATIENCE = 30.0  # s until a missing event is a failure


@pytest.fixture
def open_port():
    ports = []

    def open_port(bus):
        frames, told = queue.Queue(), queue.Queue()
        port = BusPort(bus, frames.put, told.put)
        port.start()
        ports.append(port)
        return port, frames, told

    yield open_port
    for port in ports:
        port.close()


def wait_for(told, words):
    """Wait until a text with `words` is told; return what was told before."""
    before = []
    while True:
        text = told.get(timeout=PATIENCE)
        if words in text:
            return before
        before.append(text)


def test_data_frames_pass_and_others_are_ignored(open_port):
    port, frames, told = open_port(Bus('main', 'virtual', 'bus_port_test'))
    wait_for(told, 'open')
    with can.Bus(interface='virtual', channel='bus_port_test') as peer:
        peer.send(can.Message(arbitration_id=1, is_remote_frame=True, is_extended_id=False))
        peer.send(can.Message(arbitration_id=2, is_error_frame=True))
        peer.send(can.Message(arbitration_id=0x12345, data=b'1', is_extended_id=True))
        peer.send(can.Message(arbitration_id=3, data=b'123', is_extended_id=False))
        assert frames.get(timeout=PATIENCE) == Frame('main', 3, b'123')
        assert port.ignored == 3
        port.send([Frame('main', 5, bytes(8)), Frame('main', 6, b'')])
        assert [peer.recv(PATIENCE).arbitration_id for _ in range(2)] == [5, 6]
    assert port.sent == 2


def test_a_hub_that_comes_late_and_restarts_is_found_again(open_port):
    with running_hub() as (_, number):
        pass  # a port that was free a moment ago
    bus = Bus('main', 'socketcand', 'c', options={'host': '127.0.0.1', 'port': number})
    port, frames, told = open_port(bus)
    wait_for(told, 'cannot be opened')
    port.send([Frame('main', 1, b'')])
    assert (port.sent, port.unsent) == (0, 1)
    for _ in range(2):
        with running_hub(port=number):
            assert not [text for text in wait_for(told, 'open on') if 'open on' in text]
            peer = can.Bus(interface='socketcand', channel='c', host='127.0.0.1', port=number)
            port.send([Frame('main', 7, b'x')])
            assert peer.recv(PATIENCE).arbitration_id == 7
            peer.send(can.Message(arbitration_id=8, is_extended_id=False))
            assert frames.get(timeout=PATIENCE) == Frame('main', 8, b'')
            peer.shutdown()
        # Without a frame to send it is noticed too.
        wait_for(told, 'closed the connection')


def test_a_failing_interface_is_told_once_and_tried_again(open_port):
    port, _, told = open_port(Bus('main', 'no_such_interface', 'x'))
    assert 'no_such_interface' in told.get(timeout=PATIENCE)
    assert not port.up
    port.send([Frame('main', 1, b'')])
    assert port.unsent == 1
