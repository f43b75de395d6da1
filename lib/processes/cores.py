"""Cores of this machine, shared by several processes."""

import os


def threads_of_each(count: int) -> int:
    """Return the number of threads with which ``count`` processes do not compete for cores."""
    return max(1, len(os.sched_getaffinity(0)) // count)
