# SPDX-License-Identifier: Apache-2.0
"""Between those who command and the guard: holders, the emergency stop, and what was answered.

Knows neither ROS nor a clock: times are steady, in s.
"""

from .contactors import State
from .emergency import EmergencyStop
from .guard import Guard
from .holder import Claim, Request, Rules


class Commander:
    """Passes on to a guard what its sender may ask, and opens for an emergency stop."""

    def __init__(self, guard: Guard, rules: Rules, stop: EmergencyStop) -> None:
        self.guard = guard
        self.claim = Claim(rules)
        self.stop = stop
        self.events: list[str] = []  # what happened by itself, until the caller takes it

    def command(self, request: Request, now: float) -> tuple[bool, str]:
        """Take a request; return whether it was taken up, and a sentence that says why.

        A holder that asks again to connect what is connected, or on its way, renews his lease.
        """
        refusal = self.claim.refusal(request, now)
        if refusal:
            return False, refusal
        before = self.claim.holder
        kind, strings = request.kind, list(request.strings)
        if self._renews(request):
            done, said = True, 'connected already'
        else:
            done, said = self.guard.command(kind, request.origin, request.reason, strings, now)
        if not done:
            return False, said
        self.claim.grant(request, now)
        if before and before not in (request.holder, self.claim.holder):
            said += f'; taken over from {before}'
        if request.holder and self.claim.holder == request.holder:
            said += f'; held by {request.holder} for {request.lease:g} s'
        return True, said

    def tick(self, now: float) -> None:
        """Look after leases and the emergency stop; to be called before the guard's own tick."""
        self.stop.tick(self.guard, now)
        holder = self.claim.lapsed(now)
        if not holder:
            return
        text = f'the lease of {holder} has lapsed'
        if self.claim.rules.disconnect_on_lapse:
            done, said = self.guard.command('disconnect', 'protection', text, [], now)
            text += f'; {said}'
        self.events.append(text)
        self.guard.revision += 1

    def _renews(self, request: Request) -> bool:
        """Tell whether all that is asked for is connected or on its way already."""
        if request.kind != 'connect' or not request.holder:
            return False
        chosen = [
            string.sequence
            for string in self.guard.strings
            if not request.strings or string.string.name in request.strings
        ]
        whole = len(chosen) == len(set(request.strings) or self.guard.strings)
        return whole and all(one.connecting or one.state is State.CONNECTED for one in chosen)
