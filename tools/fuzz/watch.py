"""Liveness and peak memory of the server under test."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from tools.support.processes import ServerProcess

MOST_EXTRA_BYTES = 3 << 30


class MemoryWatch:
    """Peak memory of a process between two calls (Linux: ``VmHWM``).

    Args:
        pid: Id of the process.
    """

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self.at_start = self.peak()

    def peak(self) -> int:
        """Return the peak in bytes since the last call."""
        status = (self._folder / "status").read_text()
        with contextlib.suppress(OSError):
            (self._folder / "clear_refs").write_text("5")
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


def vital_problem(server: ServerProcess, memory: MemoryWatch) -> tuple[str | None, int]:
    """Return what is wrong with the process, and how far its peak memory since the last call exceeds that at start."""
    if server.process.poll() is not None:
        return f"the server ended with {server.process.returncode}", 0
    extra = max(memory.peak() - memory.at_start, 0)
    if extra > MOST_EXTRA_BYTES:
        return f"the server took {extra / 2**30:.1f} GiB more than at its start", extra
    return None, extra
