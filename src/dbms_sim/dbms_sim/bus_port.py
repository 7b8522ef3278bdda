# SPDX-License-Identifier: Apache-2.0
"""A CAN bus that comes and goes: opened, read and opened again in a thread of its own."""

import logging
import socket
import threading
from collections.abc import Callable, Iterable

import can

from dbms_pack.model import Bus
from dbms_sim.wire import Frame

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # s between attempts to open
_READ = 0.2  # s a read waits at most
_PROBE = 0.5  # s

_LOG = logging.getLogger(__name__)


class BusPort:
    """One bus. `on_frame` gets each 11-bit data frame in the reader's thread.

    Failures are contained: what cannot be sent is dropped and counted, as a board drops what
    its bus does not take, and the bus is opened again after a growing pause.
    """

    def __init__(
        self, bus: Bus, on_frame: Callable[[Frame], None], tell: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._on_frame = on_frame
        self._tell = tell
        self._port: can.BusABC | None = None
        self._failed = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f'bus {bus.name}', daemon=True)
        self.sent = 0
        self.unsent = 0
        self.ignored = 0  # error, remote and extended frames

    @property
    def up(self) -> bool:
        """Whether the bus is open."""
        return self._port is not None

    def start(self) -> None:
        """Open the bus, now or as soon as it is there."""
        self._thread.start()

    def close(self) -> None:
        """Close the bus and end the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def send(self, frames: Iterable[Frame]) -> None:
        """Send frames in order; never raises, never waits for a bus that is down."""
        port = self._port
        for frame in frames:
            if port is None or self._failed.is_set():
                self.unsent += 1
                continue
            message = can.Message(
                arbitration_id=frame.can_id, data=frame.data, is_extended_id=False
            )
            try:
                port.send(message)
                self.sent += 1
            except (can.CanError, OSError, ValueError) as error:
                self.unsent += 1
                self._failed.set()
                self._tell(f'bus {self._bus.name}: sending failed: {error}')

    def _run(self) -> None:
        pause = FIRST_PAUSE
        told = ''
        while not self._stop.is_set():
            try:
                self._open()
            except Exception as error:  # each interface of python-can raises its own
                if str(error) != told:
                    told = str(error)
                    self._tell(f'bus {self._bus.name}: cannot be opened: {error}')
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause, told = FIRST_PAUSE, ''
            try:
                self._read()
            except Exception as error:  # likewise
                self._tell(f'bus {self._bus.name}: reading failed: {error}')
            self._shut()
            self._stop.wait(FIRST_PAUSE)

    def _open(self) -> None:
        options = self._bus.can_arguments()
        if options['interface'] == 'socketcand':
            # python-can would try for 10 s without a pause where nobody listens.
            socket.create_connection((options['host'], options['port']), _PROBE).close()
            # It warns of every message that a read of its 1024 bytes has cut, dozens a second.
            logging.getLogger('can.interfaces.socketcand').setLevel(logging.ERROR)
        port = can.Bus(**options)
        self._failed.clear()
        self._port = port
        self._tell(f'bus {self._bus.name}: open on {port.channel_info}')

    def _read(self) -> None:
        port = self._port
        assert port is not None
        while not (self._stop.is_set() or self._failed.is_set()):
            message = port.recv(_READ)
            if message is None:
                if _hung_up(port):
                    raise can.CanError('the server closed the connection')
            elif message.is_error_frame or message.is_remote_frame or message.is_extended_id:
                self.ignored += 1
            else:
                self._on_frame(Frame(self._bus.name, message.arbitration_id, bytes(message.data)))

    def _shut(self) -> None:
        port, self._port = self._port, None
        try:
            if port is not None:
                port.shutdown()
        except (can.CanError, OSError) as error:
            _LOG.debug('bus %s: closing failed: %s', self._bus.name, error)


def _hung_up(port: can.BusABC) -> bool:
    """Tell whether a socketcand server is gone: python-can's recv takes that for silence."""
    connection = getattr(port, '_SocketCanDaemonBus__socket', None)
    if not isinstance(connection, socket.socket):
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b''
    except BlockingIOError:
        return False
    except OSError:
        return True
