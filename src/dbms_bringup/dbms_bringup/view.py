# SPDX-License-Identifier: Apache-2.0
"""The live view beside a run: `./dbms status` as a process of its own in the same terminal.

Apart from the graph, so that drawing never holds up a node that runs in this process.
"""

import importlib.util
import os
import signal
import subprocess
import sys

MODULE = 'dbms_monitor.status'
PATIENCE = 3.0  # s, for the view to give the terminal back


class View:
    """The view of one namespace, if there is one to be shown."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def shown(self) -> bool:
        """Whether the terminal belongs to the view now."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Show it, unless the monitor is not installed."""
        if importlib.util.find_spec(MODULE.partition('.')[0]) is None:
            return
        child = [sys.executable, '-m', 'dbms_bringup.child', str(os.getpid()), MODULE]
        self._process = subprocess.Popen([*child, '--namespace', self._namespace])

    def stop(self) -> None:
        """Take it away; the terminal is as it was when this returns."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            process.send_signal(number)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                continue
            return
