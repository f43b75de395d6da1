"""Starting of server programs on free ports, and their complete termination."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import requests


class ServerProcess:
    """A program that serves HTTP, with its log."""

    def __init__(self, process: subprocess.Popen, url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self.log = log

    def log_text(self) -> str:
        """Return everything the program has printed."""
        return self.log.read_text(errors="replace")


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def serving(
    command: Sequence[str],
    *,
    url: str,
    ready: str,
    directory: Path,
    environment: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    verify: Path | None = None,
    timeout: float = 120,
) -> Iterator[ServerProcess]:
    """Run ``command`` in ``directory`` within the context, then kill it and all its descendants.

    Args:
        command: program and arguments.
        url: URL of the server.
        ready: path below ``url`` that responds with 200 once the server is ready.
        directory: working directory, also of the log.
        environment: complete environment of the process.
        auth: user and password for ``ready``.
        verify: certificate that ``url`` is checked by; default: those that the machine trusts.
        timeout: seconds to wait for ``ready``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = ServerProcess(process, url, log)
    try:
        _wait_until_ready(server, url + ready, timeout, auth=auth, verify=str(verify) if verify else True)
        yield server
    finally:
        kill_tree(process)


def _wait_until_ready(server: ServerProcess, url: str, timeout: float, **options: Any) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise RuntimeError(f"{server.process.args[0]} ended at start:\n{server.log_text()[-4000:]}")
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5, **options).status_code == 200:
                return
        time.sleep(0.2)
    raise TimeoutError(f"{url} did not respond 200 in {timeout:.0f} s:\n{server.log_text()[-4000:]}")


def kill_tree(process: subprocess.Popen) -> None:
    """Kill a process, its descendants, and orphaned processes of the same session."""
    doomed = []
    with contextlib.suppress(psutil.NoSuchProcess):
        doomed = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for child in doomed:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait(timeout=30)
    psutil.wait_procs(doomed, timeout=30)
