# SPDX-License-Identifier: Apache-2.0
"""Tells systemd that a service is ready, alive or ending: its notify protocol, sd_notify(3)."""

import os
import socket
from collections.abc import Mapping

BEATS = 3  # per watchdog period


class Systemd:
    """The socket of the service manager, if this process was started by one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get('NOTIFY_SOCKET', '')
        if self._address.startswith('@'):  # of the abstract namespace
            self._address = '\0' + self._address[1:]
        self._period = _watchdog_period(environment)
        self._beat_at = -self._period
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def tell(self, state: str) -> bool:
        """Send a state such as READY=1; tell whether somebody took it. Never waits or raises."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto(state.encode(), self._address)
        except OSError:
            return False
        return True

    def beat(self, now: float) -> bool:
        """Say that the work was done, three times per watchdog period; `now` in s, steady."""
        if not self._period or now - self._beat_at < self._period / BEATS:
            return False
        self._beat_at = now
        return self.tell('WATCHDOG=1')

    def close(self) -> None:
        """Say that the service ends."""
        self.tell('STOPPING=1')
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _watchdog_period(environment: Mapping[str, str]) -> float:
    """Return within how many s a beat is due; 0: no watchdog is set, or not for this process."""
    if environment.get('WATCHDOG_PID', str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(int(environment.get('WATCHDOG_USEC', '0')), 0) * 1e-6
    except ValueError:
        return 0.0
