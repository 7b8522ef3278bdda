# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt."""


class Backoff:
    """Waiting times in s that double from `first` to `longest`, until there was success."""

    def __init__(self, first: float = 0.1, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def failed(self) -> float:
        """Return how long to wait after one more failure."""
        wait = self._next
        self._next = min(2.0 * wait, self._longest)
        return wait

    def succeeded(self) -> None:
        """Begin anew with the shortest time."""
        self._next = self._first
