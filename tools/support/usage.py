"""CPU time and memory of a process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

_INTERVAL_SECONDS = 0.005


def cpu_seconds(pid: int) -> float:
    """Return the user and system CPU time of a process, without its children."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and all its descendants."""
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])


@contextlib.contextmanager
def peak_resident_bytes(pid: int) -> Iterator[list[int]]:
    """Sample the resident memory of a process and its descendants while the block runs.

    Yields:
        List that grows by each new maximum; its last value is the peak.
    """
    peaks, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(_INTERVAL_SECONDS):
            with contextlib.suppress(psutil.NoSuchProcess):
                resident = resident_bytes(pid)
                if resident > peaks[-1]:
                    peaks.append(resident)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peaks
    finally:
        done.set()
        watcher.join()
