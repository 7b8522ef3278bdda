# SPDX-License-Identifier: Apache-2.0
"""`./dbms events`: what protection has kept, to list, to follow, and to take along."""

import argparse
import csv
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from dbms_node.places import state_folder

from . import event_log, freeze_frame
from .event_log import Event

PAUSE = 0.5  # s, between two looks when following


def main(arguments: Sequence[str] | None = None) -> int:
    """List, follow or export events; 0 done, 1 not possible."""
    value = _parser().parse_args(arguments)
    try:
        path = _file(value.file)
        if value.frame is not None:
            return _frame(path, value.frame, value.export)
        if value.wear:
            return _wear(path)
        if value.export:
            return _export(path, Path(value.export))
        shown = _show(event_log.read(path, last=value.last))
        if value.follow:
            with suppress(KeyboardInterrupt):
                _follow(path, shown)
        return 0
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f'dbms: {error}', file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog='./dbms events', description=main.__doc__)
    words.add_argument('--file', help='event file; without it the one in the state folder')
    words.add_argument('--last', type=int, default=50, metavar='N', help='how many, 50')
    words.add_argument('--follow', action='store_true', help='go on showing what happens')
    words.add_argument('--wear', action='store_true', help='what the contactors went through')
    words.add_argument('--export', metavar='OUT', help='write all events to OUT, .csv or .json')
    words.add_argument(
        '--frame', type=int, metavar='NUMBER',
        help='the freeze frame of an event as CSV, on the terminal or to --export OUT',
    )  # fmt: skip
    return words


def _file(name: str | None) -> Path:
    if name:
        return Path(name).expanduser()
    folder = state_folder(os.environ)
    found = sorted(folder.glob('*-events.sqlite'))
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(
            f'no event file in {folder}; protection keeps one on hardware, and in a simulation '
            'where its parameter event_file says so'
        )
    raise ValueError(f'name one with --file: {", ".join(map(str, found))}')


def _line(event: Event) -> str:
    local = datetime.fromtimestamp(event.at, timezone.utc).astimezone()
    when = local.strftime('%Y-%m-%d %H:%M:%S.') + f'{local.microsecond // 1000:03d}'
    return f'{event.number:6d}  {when}  {event.kind:9s} {event.level:3s}  {event.text}'


def _show(events: Iterable[Event]) -> int:
    """Print events; return the number of the last one."""
    last = 0
    for event in events:
        print(_line(event), flush=True)
        last = event.number
    return last


def _follow(path: Path, shown: int) -> None:
    pause = threading.Event()
    while not pause.wait(PAUSE):
        shown = _show(event_log.read(path, after=shown)) or shown


def _export(path: Path, out: Path) -> int:
    events = list(event_log.read(path))
    if out.suffix == '.json':
        text = json.dumps([event._asdict() for event in events], indent=1)
        out.write_text(text + '\n', encoding='utf-8')
    else:
        with out.open('w', newline='', encoding='utf-8') as file:
            table = csv.writer(file)
            table.writerow(('number', 'utc', 'kind', 'level', 'text', 'detail'))
            for event in events:
                utc = datetime.fromtimestamp(event.at, timezone.utc).isoformat()
                detail = json.dumps(event.detail)
                row = (event.number, utc, event.kind, event.level, event.text, detail)
                table.writerow(row)
    print(f'{len(events)} events to {out}')
    return 0


def _wear(path: Path) -> int:
    rows = event_log.read_wear(path)
    print(f'{"string":12s} {"contactor":10s} {"closed":>8s} {"under load":>11s} {"arcs":>9s}')
    for row in rows:
        print(
            f'{row.string:12s} {row.contactor:10s} {row.cycles:8d} {row.loaded:11d} '
            f'{row.arcs:9.1f}'
        )
    return 0


def _frame(path: Path, number: int, out: str | None) -> int:
    content = event_log.read_frame(path, number)
    if content is None:
        raise ValueError(f'event {number} has no freeze frame; faults of level MSL have one')
    lines = freeze_frame.csv_lines(freeze_frame.unpacked(content))
    if out:
        Path(out).write_text('\n'.join(lines) + '\n', encoding='utf-8')
        print(f'{len(lines) - 1} samples to {out}')
    else:
        print('\n'.join(lines))
    return 0
