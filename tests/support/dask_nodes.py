"""A scheduler and a worker of Dask as processes of their own, as on a cluster."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.settings import APP_DIR
from tools.support.processes import free_port


@dataclass(frozen=True)
class Nodes:
    """Processes of a cluster.

    Attributes:
        address: Address of the scheduler.
        scheduler: The scheduler.
        worker: Its worker, with one thread.
    """

    address: str
    scheduler: subprocess.Popen
    worker: subprocess.Popen


@contextlib.contextmanager
def dask_nodes(folder: Path) -> Iterator[Nodes]:
    """Start a scheduler and a worker, which has a folder for its files, and kill both in the end.

    Functions of test files can be sent to it.
    """
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    options = {
        "env": {**os.environ, "PYTHONPATH": f"{APP_DIR}{os.pathsep}{APP_DIR / 'tests'}"},
        "stderr": subprocess.DEVNULL,
    }
    serve = ["--no-dashboard", "--host", "127.0.0.1", "--port", str(port)]
    work = ["--no-dashboard", "--nthreads", "1", "--local-directory", str(folder), address]
    with (
        subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_scheduler", *serve], **options) as scheduler,
        subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", *work], **options) as worker,
    ):
        try:
            yield Nodes(address, scheduler, worker)
        finally:
            worker.kill()
            scheduler.kill()
