"""Polling with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def wait_for(condition: Callable[[], _T], what: str, *, seconds: float, interval: float = 0.3) -> _T:
    """Call ``condition`` until it returns something true.

    Args:
        condition: Called again and again; an exception it raises ends the wait.
        what: Name of what is waited for, for the error message.
        seconds: Deadline.
        interval: Seconds between two calls. Questions to a server take the CPU time that its trainings, which have the
            lowest priority, then lack.

    Returns:
        The true value.

    Raises:
        TimeoutError: The deadline passed.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Timeout after {seconds:.0f} s waiting for {what}.")
        time.sleep(interval)
    return value
