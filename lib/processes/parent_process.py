"""Bind a training process to the server that started it, so that no orphan process publishes a model."""

from __future__ import annotations

import ctypes
import os
import signal

_SERVER = "LUNGLABEL_SERVER_PROCESS"
_PR_SET_PDEATHSIG = 1  # prctl(2)


def mark_as_server() -> None:
    """Record this process as the server in the environment that child processes inherit."""
    os.environ[_SERVER] = str(os.getpid())


def exit_with_server() -> bool:
    """Have the kernel kill this process as soon as the server that started it ends, for whatever reason.

    Does nothing in a process that no server started.

    Returns:
        Whether a server started this process.

    Raises:
        OSError: ``prctl`` failed.
    """
    server = os.environ.get(_SERVER, str(os.getpid()))
    if server == str(os.getpid()):
        return False
    kernel = ctypes.CDLL(None, use_errno=True)
    if kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl could not bind this process to its server")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both; the server ends this process
    if os.getppid() != int(server):  # the server ended before the call to prctl
        os._exit(3)
    return True
