"""A training process ends with the server that started it, so that no orphan publishes anything."""

from __future__ import annotations

import ctypes
import os
import signal

_SERVER = "LUNGLABEL_SERVER_PROCESS"
_PR_SET_PDEATHSIG = 1  # prctl(2)


def expect_children() -> None:
    """Let the processes that this server starts from now on know who started them."""
    os.environ[_SERVER] = str(os.getpid())


def end_with_server() -> bool:
    """Let the kernel kill this process at the moment the server ends that started it, however that ends.

    In a process that no server started, nothing happens.

    Returns:
        Whether a server started this process.

    Raises:
        OSError: The kernel refuses.
    """
    server = os.environ.get(_SERVER, str(os.getpid()))
    if server == str(os.getpid()):
        return False
    kernel = ctypes.CDLL(None, use_errno=True)
    if kernel.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl refuses to bind this process to its server")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both; it is the server that ends both
    if os.getppid() != int(server):  # it ended before
        os._exit(3)
    return True
