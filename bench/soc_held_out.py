# SPDX-License-Identifier: Apache-2.0
"""Cell models that have not seen some of the cycles they are scored on.

The commands that made the cell files shipped stand in docs/estimation.md. They are run again
without the files of the cycles held out; nothing of the project is overwritten.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.soc_cycles import KINDS, ROOT, data_folder
from dbms_estimation import identify_cli
from dbms_pack import load_cell
from dbms_pack.model import CellModel


class HeldOutError(Exception):
    """Nothing can be held out as asked; the text says why."""


def cells_without(names: Sequence[str]) -> dict[str, CellModel]:
    """Return a model of each cell that has cycles of these names, made without them.

    Raise HeldOutError for a name that no cycle has, or if a cell cannot be identified then.
    """
    known = {kind.name for kind in KINDS}
    strange = sorted(set(names) - known)
    if strange:
        raise HeldOutError(f'{", ".join(strange)}: no such cycles; there are {sorted(known)}')
    cells = {kind.cell for kind in KINDS if kind.name in names}
    return {cell: _identified(cell, names) for cell in sorted(cells)}


def _identified(cell: str, names: Sequence[str]) -> CellModel:
    held = {
        path.resolve()
        for kind in KINDS
        if kind.cell == cell and kind.name in names
        for path in data_folder().glob(kind.pattern)
    }
    words = words_of(cell)
    files = [word for word in words if (ROOT / word).resolve() not in held]
    if len(files) == len(words):
        raise HeldOutError(f'{cell}: none of these cycles made its file, or there are no data')
    with TemporaryDirectory() as folder:
        path = Path(folder) / f'{cell}.yaml'
        files[files.index('-o') + 1] = str(path)
        absolute = [str(ROOT / word) if '/' in word else word for word in files]
        with redirect_stdout(sys.stderr):
            failed = identify_cli.main(absolute)
        if failed:
            raise HeldOutError(f'{cell}: cannot be identified without these cycles')
        return load_cell(path)


def words_of(cell: str) -> list[str]:
    """Return the arguments of the command that made the file of this cell, files by path."""
    text = (ROOT / 'docs' / 'estimation.md').read_text(encoding='utf-8').replace('\\\n', ' ')
    found = re.search(rf'^(?:D=\S+)\n\./dbms identify (--cell {cell} .*)$', text, re.M)
    if found is None:
        raise HeldOutError(f'{cell}: docs/estimation.md has no command that made its file')
    script = f'D={data_folder()}/{cell}; for word in {found[1]}; do printf "%s\\n" "$word"; done'
    out = subprocess.run(['bash', '-c', script], cwd=ROOT, capture_output=True, text=True)
    return out.stdout.splitlines()
