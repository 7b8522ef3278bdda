# SPDX-License-Identifier: Apache-2.0
"""A CAN bus that is lost and comes back: reader thread, sending that never blocks for long.

Works on any interface of python-can. Whatever an adapter's driver raises means that the bus is
lost: it is closed and opened again, with growing pauses, for as long as the link is not closed.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

import can

from dbms_drivers.backoff import Backoff
from dbms_drivers.socketcand import SocketcandBus
from dbms_pack.model import Bus

RECEIVE_TIMEOUT = 0.1  # s
SEND_TIMEOUT = 0.05  # s
STALL = 0.5  # s: a reader that stood still this long reads what is no longer true
SILENCE = 5.0  # s without any frame, then the bus is opened anew: its adapter may hang
EARLY = 50  # returns of recv in a row without a frame and without waiting: the bus is gone
_ERROR_BUS_OFF = 0x040  # error classes of Linux SocketCAN, in the id of an error frame
_ERROR_RESTARTED = 0x100

# Every attempt to open is told by the link itself, once.
logging.getLogger('can.interfaces.socketcan').setLevel(logging.CRITICAL)


class LinkState(Enum):
    """What a bus is doing."""

    CONNECTING = 'not connected'
    UP = 'up'
    BUS_OFF = 'bus-off'
    CLOSED = 'closed'


def open_bus(bus: Bus) -> can.BusABC:
    """Open the bus; raises whatever its interface raises when it is not there."""
    arguments = bus.can_arguments()
    if bus.interface == 'socketcand':
        del arguments['interface']
        return SocketcandBus(**arguments)
    opened: can.BusABC = can.Bus(**arguments)
    for name in ('serialPortOrig', '_ser'):  # slcan and serial: pyserial waits for ever to write
        port: Any = getattr(opened, name, None)
        if hasattr(port, 'write_timeout'):
            port.write_timeout = SEND_TIMEOUT
    return opened


class CanLink:
    """One bus with its reader thread.

    `receive(message, now)` is called in that thread for every frame, `changed(link)` in it after
    every change of `state`. If one raises, it is counted. `log` is told of trouble.
    """

    def __init__(
        self,
        bus: Bus,
        receive: Callable[[can.Message, float], None],
        changed: Callable[['CanLink'], None],
        log: Callable[[str], None],
        *,
        opener: Callable[[Bus], can.BusABC] = open_bus,
        silence: float = SILENCE,
    ) -> None:
        self.bus = bus
        self.state = LinkState.CONNECTING
        self.error = ''  # why it is not up, or why it was lost the last time
        self.frames = 0  # received, of any kind
        self.sent = 0
        self.send_failures = 0
        self.late = 0  # dropped after the reader stood still
        self.losses = 0
        self.handler_errors = 0
        self._receive = receive
        self._changed = changed
        self._log = log
        self._opener = opener
        self._silence = silence
        self._backoff = Backoff()
        self._stop = threading.Event()
        self._send_lock = threading.Lock()
        self._open: can.BusABC | None = None
        self._thread = threading.Thread(target=self._run, name=f'can {bus.name}', daemon=True)

    def start(self) -> None:
        """Begin to open the bus and to read it."""
        self._thread.start()

    def close(self) -> None:
        """End the reader and close the bus."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=3.0)
            if self._thread.is_alive():
                self._log(f"bus {self.bus.name}: the reader hangs in the adapter's driver")

    def send(self, can_id: int, data: bytes) -> bool:
        """Send a data frame; False if it did not go out. Never raises, blocks 0.1 s at most."""
        if not self._send_lock.acquire(timeout=SEND_TIMEOUT):
            self.send_failures += 1
            return False
        try:
            if self._open is None:
                self.send_failures += 1
                return False
            message = can.Message(arbitration_id=can_id, data=data, is_extended_id=False)
            self._open.send(message, timeout=SEND_TIMEOUT)
            self.sent += 1
            return True
        except Exception as error:  # adapters' drivers raise anything; the reader will notice
            self.send_failures += 1
            self.error = f'sending failed: {error}'
            return False
        finally:
            self._send_lock.release()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                bus = self._opener(self.bus)
            except Exception as error:
                self._set(LinkState.CONNECTING, f'cannot be opened: {error}')
                self._stop.wait(self._backoff.failed())
                continue
            with self._send_lock:
                self._open = bus
            self._set(LinkState.UP, '')
            reason = self._read(bus)
            with self._send_lock:
                self._open = None
            with contextlib.suppress(Exception):  # of an adapter that is not there any more
                bus.shutdown()
            if not self._stop.is_set():
                self.losses += 1
                if self.state is LinkState.UP:
                    self._set(LinkState.CONNECTING, reason)
                self._stop.wait(self._backoff.failed())
        self._set(LinkState.CLOSED, 'closed')

    def _read(self, bus: can.BusABC) -> str:
        """Read until the bus is lost, and return why it was."""
        last = heard = time.monotonic()
        early = 0
        while not self._stop.is_set():
            before = time.monotonic()
            try:
                message = bus.recv(RECEIVE_TIMEOUT)
            except Exception as error:
                return f'lost: {error}'
            now = time.monotonic()
            if message is None:
                early = early + 1 if now - before < 0.5 * RECEIVE_TIMEOUT else 0
                if early >= EARLY:
                    return 'lost: the interface returns without waiting'
                if now - heard > self._silence:
                    return f'no frame for {self._silence:g} s'
            elif now - last > STALL:
                self._drain(bus)
                heard = time.monotonic()
            else:
                early = 0
                heard = now
                self._backoff.succeeded()
                self._dispatch(message, now)
            last = now
        return 'closed'

    def _drain(self, bus: can.BusABC) -> None:
        """Drop what waited while this process stood still: it would pass for new."""
        with contextlib.suppress(Exception):  # _read meets it again
            self.late += 1
            end = time.monotonic() + STALL
            while bus.recv(0.0) is not None and time.monotonic() < end:
                self.late += 1

    def _dispatch(self, message: can.Message, now: float) -> None:
        self.frames += 1
        if message.is_error_frame and message.arbitration_id & _ERROR_BUS_OFF:
            self._set(LinkState.BUS_OFF, 'the controller went bus-off')
        elif self.state is LinkState.BUS_OFF and (
            not message.is_error_frame or message.arbitration_id & _ERROR_RESTARTED
        ):
            self._set(LinkState.UP, '')
        try:
            self._receive(message, now)
        except Exception as error:
            self.handler_errors += 1
            if self.handler_errors == 1:
                self._log(f'bus {self.bus.name}: {error!r}')

    def _set(self, state: LinkState, error: str) -> None:
        changed = (state, error) != (self.state, self.error)
        self.state = state
        self.error = error or self.error
        if changed:
            if error and state is not LinkState.CLOSED:
                self._log(f'bus {self.bus.name}: {error}')
            try:
                self._changed(self)
            except Exception as failure:
                self.handler_errors += 1
                self._log(f'bus {self.bus.name}: {failure!r}')
