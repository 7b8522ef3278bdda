# SPDX-License-Identifier: Apache-2.0
"""A hardware watchdog (Linux, /dev/watchdog): it resets the machine when nobody pets it.

Opening the device starts it. Only a close after the magic character stops it, so a process that is
killed or hangs has the machine reset. See Documentation/watchdog/watchdog-api.rst of Linux.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from contextlib import suppress

BEATS = 3  # per timeout
SET_TIMEOUT = 0xC0045706  # WDIOC_SETTIMEOUT
MAGIC = b'V'


class HardwareWatchdog:
    """One watchdog device, held by this object alone."""

    def __init__(self, path: str, timeout: int, told: Callable[[str], None]) -> None:
        """Open and start it, `timeout` in s; ValueError if that cannot be done."""
        self._told = told
        self._beat_at = float('-inf')
        self._failed = False
        try:
            self._device = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ValueError(
                f'hardware watchdog {path}: {error.strerror}; is another program (systemd: '
                'RuntimeWatchdogSec) its owner, or the right to write missing?'
            ) from error
        self.timeout = float(self._set(timeout))

    def _set(self, timeout: int) -> int:
        try:
            answer = fcntl.ioctl(self._device, SET_TIMEOUT, struct.pack('i', timeout))
        except OSError as error:
            self._told(f'hardware watchdog: {error.strerror}; it keeps the timeout it has')
            return timeout
        granted = int(struct.unpack('i', answer)[0])
        if granted != timeout:
            self._told(f'hardware watchdog: {granted} s instead of {timeout} s')
        return granted

    def beat(self, now: float) -> bool:
        """Pet it if it is time to: three times per timeout; `now` in s, steady. Never raises."""
        if self._device < 0 or now - self._beat_at < self.timeout / BEATS:
            return False
        self._beat_at = now
        try:
            os.write(self._device, b'\0')
        except OSError as error:
            if not self._failed:
                self._told(f'hardware watchdog: {error.strerror}; the machine may be reset')
            self._failed = True
            return False
        self._failed = False
        return True

    def close(self) -> None:
        """Stop it and let it go."""
        device, self._device = self._device, -1
        if device < 0:
            return
        with suppress(OSError):
            os.write(device, MAGIC)
        os.close(device)
