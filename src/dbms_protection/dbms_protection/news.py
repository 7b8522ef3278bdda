# SPDX-License-Identifier: Apache-2.0
"""What of a guard is worth a line in the log of its node."""

from typing import Any

from dbms_pack import Level

from .guard import Guard

LINES = 20  # of log for one moment
Line = tuple[Level | None, str]  # None: good news


def news(guard: Guard, told: dict[str, str]) -> list[Line]:
    """Return what has happened since the last time; `told`: what was told of each string."""
    lines: list[Line] = []
    events, guard.book.events = guard.book.events, []
    lines += events[:LINES]
    if len(events) > LINES:
        lines.append((Level.MOL, f'and {len(events) - LINES} more changes of faults'))
    for string in guard.strings:
        name, state = string.string.name, string.state.name
        # Why it is open may change, e.g. when joining was refused; of other states the
        # reason is told once.
        said = string.reason if state == 'OPEN' else state
        if told.get(name) != said:
            told[name] = said
            lines.append((None, f'string {name}: {state}, {string.reason}'))
    return lines


def write(logger: Any, lines: list[Line]) -> None:
    """Write lines to the logger of a node."""
    for level, text in lines:
        if level is None:
            logger.info(text)
        elif level is Level.MSL:  # a line for each: rclpy refuses two severities from one
            logger.error(text)
        else:
            logger.warning(text)
