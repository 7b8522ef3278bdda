# SPDX-License-Identifier: Apache-2.0
"""Who may command a pack: one holder at a time, for as long as his lease runs.

Knows neither ROS nor a clock: times are steady, in s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

SHORTEST, LONGEST = 0.5, 86400.0  # s, of a lease
LONGEST_NAME = 80  # characters
LONGEST_TEXT = 300  # characters, of origin, reason and names of strings


def plain(text: str) -> str:
    """Return a text as it may stand in logs and states: one line, and not without end."""
    cut = text if len(text) <= LONGEST_TEXT else f'{text[: LONGEST_TEXT - 3]}...'
    return cut if cut.isprintable() else ''.join(c if c.isprintable() else '?' for c in cut)


@dataclass(frozen=True)
class Request:
    """What somebody asks of a pack."""

    kind: str  # connect, disconnect or reset_faults
    origin: str = ''
    reason: str = ''
    strings: Sequence[str] = ()  # empty: all of them
    holder: str = ''  # in whose name; empty: nobody's
    lease: float = 0.0  # s
    force: bool = False


@dataclass(frozen=True)
class Rules:
    """What the owner of a pack allows."""

    may_force: tuple[str, ...] = ('*',)  # patterns of the holders that may take over
    required: bool = False  # nobody connects without a name
    disconnect_on_lapse: bool = False  # else contactors stay closed, and anybody may command


@dataclass
class Claim:
    """The present holder, if there is one."""

    rules: Rules = field(default_factory=Rules)
    holder: str = ''
    _until: float = -math.inf

    def left(self, now: float) -> float:
        """Return what is left of the lease in s; 0 if nobody holds the pack."""
        return max(self._until - now, 0.0) if self.holder else 0.0

    def refusal(self, request: Request, now: float) -> str:
        """Say why a request is not allowed to the one who makes it; '' if it is."""
        if request.kind not in ('connect', 'disconnect'):
            return ''
        wrong = self._wrong(request)
        if wrong:
            return wrong
        if not self.holder or request.holder == self.holder:
            return ''
        held = f'the pack is held by {self.holder} for another {self.left(now):.1f} s'
        if not request.force:
            return held
        name = request.holder
        if not name:
            return f'{held}; who takes over has to give a name as holder'
        if not any(fnmatchcase(name, pattern) for pattern in self.rules.may_force):
            return f'{held}, and {name} may not take over'
        return ''

    def _wrong(self, request: Request) -> str:
        connects = request.kind == 'connect'
        if not request.holder:
            if connects and self.rules.required:
                return 'this pack connects for a named holder with a lease only'
            return ''
        if len(request.holder) > LONGEST_NAME or not request.holder.isprintable():
            return f'the name of a holder is printable and at most {LONGEST_NAME} characters long'
        if connects and not SHORTEST <= request.lease <= LONGEST:  # NaN is not
            return f'lease {request.lease:g} s is not within {SHORTEST:g} .. {LONGEST:g} s'
        return ''

    def grant(self, request: Request, now: float) -> None:
        """Take over what was allowed and done."""
        if request.kind == 'connect' and request.holder:
            self.holder, self._until = request.holder, now + request.lease
        elif request.kind == 'disconnect' and not request.strings:
            self.release()
        elif request.kind == 'disconnect' and request.force and request.holder != self.holder:
            self.release()  # the rest of the strings is nobody's now

    def release(self) -> None:
        """Nobody holds the pack any more."""
        self.holder, self._until = '', -math.inf

    def adopt(self, holder: str, left: float, now: float) -> None:
        """Go on for the holder that another guard knew."""
        self.holder, self._until = (holder, now + left) if holder else ('', -math.inf)

    def lapsed(self, now: float) -> str:
        """Return whose lease has run out just now, and forget him; '' if nobody's has."""
        if not self.holder or now < self._until:
            return ''
        holder = self.holder
        self.release()
        return holder
