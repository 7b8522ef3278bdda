# SPDX-License-Identifier: Apache-2.0
"""Entry for `python tools/bootstrap`, which `./dbms` calls."""

import sys
from pathlib import Path

# Started as a directory, so the package's parent has to be made importable first.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bootstrap.cli import main  # noqa: E402

if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
