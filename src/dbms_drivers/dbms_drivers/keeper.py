# SPDX-License-Identifier: Apache-2.0
"""Keeps the contactor leases of all strings, in a thread of its own.

The thread sends a command again within the lease that was granted, and opens when it has run out.
It grants nothing itself: a hung executor cannot renew, and cannot keep contactors from opening.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable

from dbms_drivers import codec
from dbms_drivers.lease import OPEN, Command, ContactorLease
from dbms_pack.model import String

Send = Callable[[str, int, bytes], bool]  # bus, id, data: whether it went out


class ContactorKeeper:
    """The leases of the strings it is given; safe to be called from any thread."""

    def __init__(self, strings: Iterable[String], send: Send) -> None:
        self._send = send
        self._strings = {string.name: string for string in strings}
        self.leases = {
            name: ContactorLease(string.contactors.lease) for name, string in self._strings.items()
        }
        self._counters = dict.fromkeys(self._strings, 0)
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name='contactors', daemon=True)

    def start(self) -> None:
        """Begin to watch the leases."""
        self._thread.start()

    def close(self) -> None:
        """Open everything and end."""
        with self._wake:
            self._stopped = True
            now = time.monotonic()
            for name, lease in self.leases.items():
                lease.open(now)
                self._transmit(name, lease.command(now))
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def ask(
        self,
        string: str,
        contacts: tuple[bool, bool, bool],
        lease: float,
        sequence: int,
        guard: str = '',
        term: int = 0,
    ) -> tuple[bool, str]:
        """Take a call and send it at once; return whether it is accepted, and a remark."""
        with self._wake:
            if self._stopped and contacts != OPEN:
                return False, 'the driver is closing'
            now = time.monotonic()
            reason = self.leases[string].ask(contacts, lease, sequence, now, guard, term)
            if reason:
                return False, reason
            sent = self._transmit(string, self.leases[string].command(now))
            self._wake.notify()
        bus = self._strings[string].contactors.bus
        return True, '' if sent else f'bus {bus} does not take the command now'

    def resend(self, bus: str) -> None:
        """Send what holds now to all units of a bus that came back."""
        with self._wake:
            now = time.monotonic()
            for name, string in self._strings.items():
                if string.contactors.bus == bus:
                    self._transmit(name, self.leases[name].command(now))

    def _run(self) -> None:
        with self._wake:
            while not self._stopped:
                now = time.monotonic()
                for name, lease in self.leases.items():
                    command = lease.poll(now)
                    if command is not None:
                        self._transmit(name, command)
                deadline = min(
                    (lease.deadline() for lease in self.leases.values()), default=math.inf
                )
                wait = deadline - time.monotonic()
                self._wake.wait(None if math.isinf(wait) else max(wait, 0.0))

    def _transmit(self, name: str, command: Command) -> bool:
        unit = self._strings[name].contactors
        counter = self._counters[name]
        self._counters[name] = (counter + 1) & 0xF
        can_id, data = codec.encode_contactor_command(
            unit.address, counter, command.contacts, command.lease, command.sequence
        )
        return self._send(unit.bus, can_id, data)
