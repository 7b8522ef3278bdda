# SPDX-License-Identifier: Apache-2.0
"""Scheduling and memory for a thread that must not wait for others: SCHED_FIFO and mlockall."""

import ctypes
import os

MCL_CURRENT, MCL_FUTURE = 1, 2  # linux/mman.h; the same on x86 and arm


def use_fifo(priority: int) -> str:
    """Give the calling thread a real-time priority; return '' or why not, with the remedy."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError) as error:
        return (
            f'no real-time priority {priority}: {error}; allow it with LimitRTPRIO={priority} of '
            'systemd, rtprio in /etc/security/limits.conf or CAP_SYS_NICE'
        )
    return ''


def lock_memory() -> str:
    """Keep all pages of the process in memory; return '' or why not, with the remedy."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        failed = library.mlockall(MCL_CURRENT | MCL_FUTURE)
    except (OSError, AttributeError) as error:
        return f'memory is not locked: {error}'
    if failed:
        return (
            f'memory is not locked: {os.strerror(ctypes.get_errno())}; allow it '
            'with LimitMEMLOCK=infinity of systemd, memlock in /etc/security/limits.conf or '
            'CAP_IPC_LOCK'
        )
    return ''
