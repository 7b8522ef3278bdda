# SPDX-License-Identifier: Apache-2.0
"""Where lines go: events to the terminal, the nodes' own logs to a file."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def log_directory(environ: Mapping[str, str]) -> Path:
    """Return the directory for log files: $DBMS_LOG, or that of ./dbms, or that of ROS."""
    if environ.get('DBMS_LOG'):
        return Path(environ['DBMS_LOG']).expanduser()
    if environ.get('DBMS_ENVIRONMENT'):
        return Path(environ['DBMS_ENVIRONMENT']) / 'log'
    return Path(environ.get('ROS_LOG_DIR') or '~/.ros/log').expanduser()


@contextmanager
def standard_error_to(path: Path) -> Iterator[None]:
    """Send what this process and its libraries write to standard error to a file.

    By descriptor, because the logging of ROS 2 writes from C.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with path.open('wb') as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
