# SPDX-License-Identifier: Apache-2.0
"""Which of two guards may command the contactors of a string: the driver decides, nobody else.

A guard is in office for two thirds of its lease after its last call. The last third is there for
another one, with a higher term, to go on with what is closed. Time is an argument, in s, steady.
"""

import math

OFFICE = 2.0 / 3.0  # of a lease: after two renewals that did not come


class Office:
    """The guard in office, and the highest term ever heard. Term 0: a guard without a second."""

    def __init__(self) -> None:
        self.guard = ''
        self.term = 0
        self._until = -math.inf

    def deposed(self, guard: str, term: int) -> bool:
        """Tell whether another guard has come after this one."""
        return term > 0 and (term < self.term or (term == self.term and guard != self.guard))

    def refusal(self, guard: str, term: int, closing: bool, now: float) -> str:
        """Say why a guard may not command now; '' if it may."""
        if self.deposed(guard, term):
            return f'{guard} of term {term} is deposed: {self.guard} holds term {self.term}'
        if not self.newcomer(guard, term):
            return ''
        if term == 0 and not closing:
            return ''  # who has no second guard may always open
        if now < self._until:
            who = self.guard or 'a guard without a second'
            return f'{who} is in office for another {self._until - now:.3f} s'
        return ''

    def newcomer(self, guard: str, term: int) -> bool:
        """Tell whether the caller is not the one in office."""
        return guard != self.guard or (term > 0 and term != self.term)

    def enter(self, guard: str, term: int, lease: float, closing: bool, now: float) -> None:
        """Take note of a call that was accepted."""
        if term == 0 and not closing:
            return  # opening gives no office to who has no term
        self.guard, self.term = guard, max(term, self.term)
        self._until = now + OFFICE * lease
