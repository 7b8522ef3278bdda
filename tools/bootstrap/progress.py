# SPDX-License-Identifier: Apache-2.0
"""Numbered steps with elapsed time: one line each, alive on a terminal, calm in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO

HEARTBEAT_S = 30.0
_FRAMES = '|/-\\'
_COLOURS = {'green': '32', 'red': '31', 'yellow': '33', 'bold': '1', 'dim': '2'}


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Say whether to colour, by https://no-color.org and what the stream is."""
    if environ.get('NO_COLOR'):
        return False
    return stream.isatty() and environ.get('TERM') != 'dumb'


def paint(text: str, colour: str, on: bool) -> str:
    return f'\x1b[{_COLOURS[colour]}m{text}\x1b[0m' if on else text


class Progress:
    """Reports the steps of one run on stderr, so that stdout stays the command's own."""

    def __init__(
        self, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.stream = sys.stderr if stream is None else stream
        self.colour = wants_colour(self.stream, environ)
        self.live = self.stream.isatty() and environ.get('TERM') != 'dumb'
        self.total = 0
        self.number = 0
        self._title = ''
        self._began = 0.0
        self._last_beat = 0.0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Show a step while its body runs, and how it ended."""
        self.number += 1
        self._title = title
        self._began = self._last_beat = time.monotonic()
        self._write(f'{self._head()} ...', end='' if self.live else '\n')
        try:
            yield
        except BaseException as error:
            word = 'interrupted' if isinstance(error, KeyboardInterrupt) else 'failed'
            self._finish(paint(word, 'red', self.colour))
            raise
        self._finish(paint('done', 'green', self.colour))

    def tick(self) -> None:
        """Show that the running step is alive; call it often."""
        now = time.monotonic()
        elapsed = now - self._began
        if self.live:
            frame = _FRAMES[int(elapsed * 8) % len(_FRAMES)]
            self._write(f'\r{self._head()} ... {frame} {elapsed:.0f} s\x1b[K', end='')
        elif now - self._last_beat >= HEARTBEAT_S:
            self._last_beat = now
            self._write(f'{self._head()} ... still working, {elapsed:.0f} s')

    def note(self, text: str) -> None:
        """Tell something between steps."""
        self._write(text)

    def _head(self) -> str:
        return f'[{self.number}/{max(self.total, self.number)}] {self._title}'

    def _finish(self, word: str) -> None:
        elapsed = time.monotonic() - self._began
        start, end = ('\r', '\x1b[K\n') if self.live else ('', '\n')
        self._write(f'{start}{self._head()} ... {word} ({elapsed:.1f} s)', end=end)

    def _write(self, text: str, end: str = '\n') -> None:
        self.stream.write(text + end)
        self.stream.flush()
