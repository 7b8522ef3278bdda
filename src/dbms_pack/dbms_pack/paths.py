# SPDX-License-Identifier: Apache-2.0
"""Where packs, cells and DBC files are found."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import PackError, Problem

_SUFFIXES = ('', '.yaml', '.yml')


def config_roots() -> Iterator[Path]:
    """Yield the directories that hold `packs/`, `cells/`, `can/`, first the one that wins.

    They are those of $DBMS_CONFIG (as many as you like, separated as in $PATH), the one that
    dbms_bringup installs, and `config/` of the source tree.
    """
    for root in os.environ.get('DBMS_CONFIG', '').split(os.pathsep):
        if root:
            yield Path(root).expanduser()
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        if prefix:
            yield Path(prefix) / 'share' / 'dbms_bringup' / 'config'
    here = Path(__file__).resolve()
    if len(here.parents) > 3:
        yield here.parents[3] / 'config'


def find(kind: str, name: str | Path, beside: Path | None = None) -> Path:
    """Return the file of a name or path.

    `kind` is the directory under `config/`: packs, cells, can, ... A path is taken relative to
    `beside` (a directory) and to the working directory; a bare name may lack its `.yaml`.
    Raises PackError, with the nearest name that exists, where there is none.
    """
    text = os.path.expanduser(os.fspath(name))
    if not text or '\0' in text:
        raise PackError([Problem(Path(), 0, '', repr(text), f'a file of config/{kind}')])
    is_path = os.sep in text or Path(text).suffix != ''
    places = [Path(text)] if beside is None else [beside / text, Path(text)]
    for place in places:
        if place.is_file() or (is_path and place.is_dir()):
            return place
    for root in config_roots():
        for suffix in _SUFFIXES:
            place = root / kind / (text + suffix)
            if place.is_file():
                return place
    raise PackError([Problem(Path(text), 0, '', 'no such file', _hint(kind, text))])


def names(kind: str) -> list[str]:
    """Return the names that `find` knows without a path, sorted."""
    found = set()
    for root in config_roots():
        for path in (root / kind).glob('*'):
            if path.is_file():
                found.add(path.stem if path.suffix in _SUFFIXES else path.name)
    return sorted(found)


def _hint(kind: str, text: str) -> str:
    known = names(kind)
    near = difflib.get_close_matches(Path(text).stem, known, n=1)
    if near:
        return f'did you mean {near[0]!r}?'
    return f'a path, or one of: {", ".join(known)}' if known else 'a path that exists'
