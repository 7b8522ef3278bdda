# SPDX-License-Identifier: Apache-2.0
"""Where a node keeps what has to survive a restart."""

import os
from collections.abc import Mapping
from pathlib import Path

NOWHERE = 'none'  # as the name of a file: nothing is kept


def state_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the user for state: $XDG_STATE_HOME, or ~/.local/state, and dbms."""
    base = environment.get('XDG_STATE_HOME', '')
    if not os.path.isabs(base):  # as the XDG specification wants it
        home = environment.get('HOME', '')
        base = os.path.join(home or os.path.expanduser('~'), '.local', 'state')
    return Path(base) / 'dbms'


def state_file(
    name: str, namespace: str, pack: str, suffix: str, environment: Mapping[str, str]
) -> Path | None:
    """Return the path of a file; None if nothing is to be kept.

    `name` is a path, NOWHERE, or empty for a file of its own for each namespace and pack, in the
    state folder.
    """
    if name == NOWHERE:
        return None
    if name:
        return Path(name).expanduser()
    whole = f'{namespace.strip("/")}-{pack}{suffix}'
    safe = ''.join(c if c.isalnum() or c in '-_.' else '_' for c in whole)
    return state_folder(environment) / f'{safe}.sqlite'
