# SPDX-License-Identifier: Apache-2.0
"""The pack description that a recording carries: the pack file with its cell and its limits."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from dbms_pack import Pack, PackError, load_pack, paths

NAME, DIGEST = 'dbms_pack', 'dbms_pack_digest'
FILES = {'pack': 'dbms_pack_file', 'cell': 'dbms_cell_file', 'limits': 'dbms_limits_file'}
_CELL = re.compile(r'^(cell:\s*)[^\s#]+', re.MULTILINE)
_SET = re.compile(r'(^limits:.*?\bset:\s*)[^\s,}#]+', re.MULTILINE | re.DOTALL)


def carried(pack: Pack) -> dict[str, str]:
    """Return what a recording is to say of its pack; the files themselves where they are there."""
    told = {NAME: pack.name, DIGEST: pack.digest}
    if pack.cell.path is None:
        return told
    try:
        text = pack.path.read_text('utf-8')
        files = {FILES['pack']: text, FILES['cell']: pack.cell.path.read_text('utf-8')}
        chosen = yaml.safe_load(text)['limits'].get('set')
        if chosen:
            place = paths.find('limits', chosen, beside=pack.path.parent)
            files[FILES['limits']] = place.read_text('utf-8')
    except OSError:  # removed or replaced since it was loaded
        return told
    return {**told, **files}


def restored(custom: Mapping[str, str]) -> Pack | None:
    """Return the pack that a recording carries, None if it carries none that can be used.

    Its files are in a folder that goes with this process.
    """
    if not {FILES['pack'], FILES['cell']} <= custom.keys():
        return None
    folder = Path(tempfile.mkdtemp(prefix='dbms_pack_'))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    text = _CELL.sub(r'\g<1>cell.yaml', custom[FILES['pack']], count=1)
    if FILES['limits'] in custom:
        text = _SET.sub(r'\g<1>limits.yaml', text, count=1)
        (folder / 'limits.yaml').write_text(custom[FILES['limits']], 'utf-8')
    (folder / 'cell.yaml').write_text(custom[FILES['cell']], 'utf-8')
    path = folder / f'{custom.get(NAME) or "pack"}.yaml'
    path.write_text(text, 'utf-8')
    try:
        pack = load_pack(path)
    except PackError:  # of a version whose pack files were others
        return None
    return replace(pack, digest=custom.get(DIGEST, pack.digest))


def without(custom: Mapping[str, str]) -> dict[str, str]:
    """Leave out the pack file: such a recording goes with the pack of that name of today."""
    return {key: value for key, value in custom.items() if key not in (DIGEST, *FILES.values())}
