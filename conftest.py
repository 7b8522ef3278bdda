# SPDX-License-Identifier: Apache-2.0
"""What all tests need: that one leaves nothing in ROS 2 that the next would meet."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A machine that is busy fails no test: nothing here is judged by the clock on the wall.
settings.register_profile('dbms', deadline=None)
settings.load_profile('dbms')

SPARE = 4  # participants of DDS that may wait for the garbage collector


def participants() -> int:
    """Return how many participants of Fast DDS there are: each has a thread `dds.ev.N`."""
    count = 0
    for task in Path('/proc/self/task').iterdir():
        try:
            count += (task / 'comm').read_text(encoding='utf-8').startswith('dds.ev.')
        except OSError:  # it has ended meanwhile
            continue
    return count


@pytest.fixture(autouse=True)
def _no_participants_left() -> Iterator[None]:
    """End the participants of nodes that a test made.

    Nodes are in reference cycles, and what lives when one is activated is frozen: it would stay
    for ever. On one machine, a participant looks for about 32 others: with more than that in a
    domain the processes of a later test do not find each other.
    """
    yield
    if 'rclpy' in sys.modules and Path('/proc/self/task').is_dir() and participants() > SPARE:
        gc.unfreeze()
        gc.collect()
