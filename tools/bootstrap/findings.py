# SPDX-License-Identifier: Apache-2.0
"""What the doctor finds, and how it is shown."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from .progress import paint

_MARKS = {'good': ('ok', 'green'), 'note': ('--', 'yellow'), 'bad': ('!!', 'red')}
_NAME_WIDTH = 14


@dataclass(frozen=True)
class Finding:
    """One row: how bad, what about, what is there, what to do."""

    level: str  # good; note: worth knowing, or ./dbms mends it by itself; bad: in the way
    name: str
    text: str
    remedy: str = ''
    details: tuple[str, ...] = ()


def good(name: str, text: str, details: tuple[str, ...] = ()) -> Finding:
    """Return a finding that nothing needs to be done about."""
    return Finding('good', name, text, details=details)


def note(name: str, text: str, remedy: str = '', details: tuple[str, ...] = ()) -> Finding:
    """Return a finding that does not stop anything."""
    return Finding('note', name, text, remedy, details)


def bad(name: str, text: str, remedy: str, details: tuple[str, ...] = ()) -> Finding:
    """Return a finding that stops the system from starting."""
    return Finding('bad', name, text, remedy, details)


def show(findings: Sequence[Finding], colour: bool) -> str:
    """Return the findings as a table."""
    width = max(60, min(110, shutil.get_terminal_size((100, 24)).columns))
    return '\n'.join(line for one in findings for line in _rows(one, colour, width))


def _rows(finding: Finding, colour: bool, width: int) -> list[str]:
    mark, hue = _MARKS[finding.level]
    lead = f'{paint(mark, hue, colour)}  {finding.name:<{_NAME_WIDTH}}'
    indent = ' ' * (4 + _NAME_WIDTH)
    first, *rest = _wrap(finding.text, width - len(indent))
    rows = [lead + first] + [indent + line for line in rest]
    for detail in finding.details:
        rows += [indent + '  ' + line for line in _wrap(detail, width - len(indent) - 2)]
    if finding.remedy:
        # Never wrapped: a command line has to stay one to be copied.
        rows += [f'{indent}> {line}' for line in finding.remedy.splitlines()]
    return rows


def _wrap(text: str, width: int) -> list[str]:
    # Words stay whole: a broken path cannot be copied.
    wrapper = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    return [part for line in text.splitlines() for part in wrapper.wrap(line) or ['']] or ['']
