# SPDX-License-Identifier: Apache-2.0
"""Single keys from a terminal, read without waiting."""

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any


class Keys:
    """Hands out keys as they are pressed, while it is entered; Ctrl-C stays a signal.

    Without a terminal, or in the background, there are none.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = _standard_input() if descriptor is None else descriptor
        self._before: list[Any] | None = None

    def __enter__(self) -> 'Keys':
        if _ours(self._descriptor):
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor, termios.TCSANOW)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)
            self._before = None

    def pressed(self) -> str:
        """Return what was pressed since the last call, '' if nothing."""
        if self._before is None or not select.select([self._descriptor], [], [], 0.0)[0]:
            return ''
        return os.read(self._descriptor, 64).decode('ascii', 'ignore')


def _standard_input() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, OSError):  # closed, or none at all
        return -1


def _ours(descriptor: int) -> bool:
    """Tell whether this is our terminal: changing that of others would stop this process."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
