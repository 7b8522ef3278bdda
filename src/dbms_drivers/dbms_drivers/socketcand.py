# SPDX-License-Identifier: Apache-2.0
"""A socketcand client for python-can that notices its server's end.

python-can's own (4.6.1) spins without pause while no server listens, waits for ever in the
handshake, fails it when frames follow the last answer in the same packet, and takes a closed
connection for a bus without traffic. None of this may happen to a bus that has contactors on it.
"""

import contextlib
import select
import socket
import struct
import time
from typing import Any

import can

CONNECT_TIMEOUT = 1.0  # s
SEND_TIMEOUT = 0.05  # s, then the connection counts as lost
_LONGEST_MESSAGE = 4096  # bytes without '>': this is no socketcand server


class SocketcandBus(can.BusABC):
    """A CAN bus served by socketcand: protocol of linux-can/socketcand, raw mode.

    Raises `can.CanError` or `OSError` from the constructor when there is no server, and
    `can.CanOperationError` from `recv` and `send` when it has gone.
    """

    def __init__(
        self, channel: str, host: str, port: int, tcp_tune: bool = True, **kwargs: Any
    ) -> None:
        self._buffer = b''
        self._messages: list[can.Message] = []  # newest first
        self._socket = socket.create_connection((host, port), CONNECT_TIMEOUT)
        try:
            if tcp_tune:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._expect(b'< hi >')
            for question in (b'< open %s >' % channel.encode(), b'< rawmode >'):
                self._socket.sendall(question)
                self._expect(b'< ok >')
            # The kernel bounds how long a send may block; reading stays blocking in select.
            timeout = struct.pack('@ll', 0, int(SEND_TIMEOUT * 1e6))
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        except BaseException:
            self._socket.close()
            raise
        self.channel = channel
        self.channel_info = f'socketcand {channel} at {host}:{port}'
        super().__init__(channel=channel, **kwargs)

    def _expect(self, answer: bytes) -> None:
        """Read exactly the answer: frames may follow it at once."""
        deadline = time.monotonic() + CONNECT_TIMEOUT
        received = b''
        while len(received) < len(answer) and time.monotonic() < deadline:
            chunk = self._socket.recv(len(answer) - len(received))
            if not chunk:
                break
            received += chunk
        if received != answer:
            raise can.CanInitializationError(f'expected {answer!r}, the server said {received!r}')

    def _recv_internal(self, timeout: float | None) -> tuple[can.Message | None, bool]:
        if not self._messages:
            self._read(timeout)
        return (self._messages.pop() if self._messages else None), False

    def _read(self, timeout: float | None) -> None:
        try:
            if not select.select([self._socket], [], [], timeout)[0]:
                return
            chunk = self._socket.recv(65536)
        except (OSError, ValueError) as error:  # ValueError: closed by another thread
            raise can.CanOperationError(f'connection lost: {error}') from error
        if not chunk:
            raise can.CanOperationError('the server closed the connection')
        *texts, self._buffer = (self._buffer + chunk).split(b'>')
        if len(self._buffer) > _LONGEST_MESSAGE:
            raise can.CanOperationError('the server does not speak socketcand')
        messages = [_message(text) for text in texts]
        self._messages = [message for message in messages if message is not None]
        self._messages.reverse()

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        """Send a data frame; `timeout` is always 50 ms, after which the connection is given up."""
        digits = 8 if msg.is_extended_id else 3
        text = f'< send {msg.arbitration_id:0{digits}X} {msg.dlc:X} {msg.data.hex(" ")} >'
        try:
            self._socket.sendall(text.encode('ascii'))
        except OSError as error:
            # Half a message may have gone out: nothing can follow it. This wakes the reader too.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            raise can.CanOperationError(f'not sent: {error}') from error

    def shutdown(self) -> None:
        """Close the connection."""
        super().shutdown()
        self._socket.close()


def _message(text: bytes) -> can.Message | None:
    """Return the message of a text such as '< frame 123 23.424242 11 22 '; None: not one."""
    parts = text.split()
    try:
        if parts[0] != b'<' or parts[1] not in (b'frame', b'error'):
            return None
        error = parts[1] == b'error'
        number = int(parts[2], 16)
        return can.Message(
            timestamp=float(parts[3]),
            arbitration_id=number & 0x1FFFFFFF,
            is_extended_id=error or len(parts[2]) != 3,
            is_error_frame=error,
            data=b'' if error else bytes.fromhex(b''.join(parts[4:]).decode('ascii')),
        )
    except (ValueError, IndexError):
        return None
