# SPDX-License-Identifier: Apache-2.0
"""Where everything lives."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REQUIREMENTS = ('ros', 'build', 'build-tools', 'runtime', 'dev')


@dataclass(frozen=True)
class Layout:
    """The paths of one checkout; `home` holds everything made from it."""

    root: Path
    home: Path

    @classmethod
    def find(cls, environ: Mapping[str, str], flavour: str = '') -> Layout:
        """Return the layout of this checkout; a flavour keeps its files apart from the others'."""
        root = Path(__file__).resolve().parents[2]
        home = Path(environ.get('DBMS_HOME') or root / '.dbms').expanduser()
        # Relative to where the user stands, as any path on a command line.
        home = Path(os.path.abspath(home))
        return cls(root, home / flavour if flavour else home)

    @property
    def venv(self) -> Path:
        return self.home / 'venv'

    @property
    def python(self) -> Path:
        return self.venv / 'bin' / 'python'

    @property
    def build(self) -> Path:
        return self.home / 'build'

    @property
    def install(self) -> Path:
        return self.home / 'install'

    @property
    def log(self) -> Path:
        return self.home / 'log'

    @property
    def lock(self) -> Path:
        return self.home / 'lock'

    def stamp(self, name: str) -> Path:
        """Return the file that says a step is done; it lies inside what the step made."""
        parent = self.install if name == 'build' else self.venv
        return parent / f'.dbms-{name}.json'

    def requirements(self, name: str) -> Path:
        return self.root / 'tools' / 'requirements' / f'{name}.txt'

    def shown(self, path: Path) -> str:
        """Return a path as short as it can be told to a user of this checkout."""
        try:
            return str(path.relative_to(self.root))
        except ValueError:
            return str(path)


def read_stamp(path: Path) -> dict[str, Any]:
    """Return what a stamp says, nothing when it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_stamp(path: Path, content: Mapping[str, Any]) -> None:
    """Write a stamp whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + '.new')
    draft.write_text(json.dumps(content, indent=1, sort_keys=True) + '\n', encoding='utf-8')
    os.replace(draft, path)
