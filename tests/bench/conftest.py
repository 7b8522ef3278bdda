# SPDX-License-Identifier: Apache-2.0
"""Benches are programs of the directory bench/, found from the root."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
