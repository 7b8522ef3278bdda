# SPDX-License-Identifier: Apache-2.0
"""Tables and JSON of benchmark results."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return count and p50, p99, max in ms of durations in s."""
    values = np.asarray(seconds) * 1e3
    return {
        'count': len(values),
        'p50_ms': float(np.percentile(values, 50)),
        'p99_ms': float(np.percentile(values, 99)),
        'max_ms': float(values.max()),
    }


def machine() -> dict[str, str | int]:
    """Return what the numbers depend on."""
    return {
        'cores': os.cpu_count() or 0,
        'python': platform.python_version(),
        'kernel': platform.release(),
        'machine': platform.machine(),
    }


def write_json(path: str | Path, result: Mapping) -> None:
    """Write a result with the machine it was measured on."""
    Path(path).write_text(json.dumps({'machine': machine(), **result}, indent=2) + '\n')
