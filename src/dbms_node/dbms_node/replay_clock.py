# SPDX-License-Identifier: Apache-2.0
"""Time of a node that is fed by a replay: as /clock flows, and never back.

On a real battery nothing but the steady clock measures periods and watchdogs. In a live replay
that clock would count the pauses of the player as silence of the boards.
"""

from collections.abc import Callable

from rclpy.clock import Clock

# s by which one look moves the time at most: while a machine was busy the measurements wait in a
# queue, and are no silence of a board.
STEP = 0.1
JUMP = 10.0  # s forward at once: the player went somewhere else


class ReplayClock:
    """Follows a ROS clock with `use_sim_time`. `jumped` is told the time of a jump, and why.

    It is called before the time of a jump is returned, the first time too, so that whoever
    measures with this clock can begin anew.
    """

    def __init__(self, clock: Clock, jumped: Callable[[float, str], None]) -> None:
        self._clock = clock
        self._jumped = jumped
        self._seen: int | None = None  # ns, on the clock
        self._now = 0.0

    def now(self) -> float | None:
        """Return the time in s since the first /clock; None before it."""
        told = self._clock.now().nanoseconds
        if told <= 0:
            return None
        last, self._seen = self._seen, told
        if last is None:
            self._jumped(self._now, 'replayed time begins')
            return self._now
        step = (told - last) * 1e-9
        if 0.0 <= step <= JUMP:
            self._now += min(step, STEP)
        else:
            where = 'back' if step < 0.0 else 'forward'
            self._jumped(self._now, f'replayed time jumped {where} by {abs(step):.3f} s')
        return self._now
