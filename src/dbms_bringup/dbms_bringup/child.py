# SPDX-License-Identifier: Apache-2.0
"""A process of the many-process form: ends with its parent, then runs one `main(args)`.

Usage:
    python -m dbms_bringup.child PARENT_PID MODULE ARGUMENTS
"""

import ctypes
import importlib
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Let the kernel send SIGTERM when the parent is gone, also if it is gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), 'prctl')
    if os.getppid() != parent:
        sys.exit('the parent has ended')


def main() -> int:
    """Run the module's main as told by the command line."""
    parent, module, *arguments = sys.argv[1:]
    end_with(int(parent))
    sys.argv[:] = [module, *arguments]
    return int(importlib.import_module(module).main(arguments) or 0)


if __name__ == '__main__':
    sys.exit(main())
