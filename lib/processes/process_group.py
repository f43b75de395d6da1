"""Run a module in several processes that end together: ``python -m lib.processes.process_group COUNT MODULE ...``.

``torchrun`` is not used for this: it hides why a process failed behind its own output, and it listens on all network
interfaces of the machine, where it unpickles what it is sent.
"""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NoReturn

from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessExitedException, spawn

RENDEZVOUS = "LUNGLABEL_RENDEZVOUS"  # file by which the processes find each other, in their environment
_LONGEST_REASON = 4000  # bytes, which a pipe takes at once, also from several processes
_ONLY_THIS_MACHINE = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}


def group_command(count: int, module: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs ``python -m MODULE ARGUMENTS`` in ``count`` processes.

    Each has ``RANK``, ``LOCAL_RANK`` and ``WORLD_SIZE`` in its environment, as from ``torchrun``. If one fails, the
    others are ended, and its error is the last that is printed.
    """
    return [sys.executable, "-m", __spec__.name, str(count), module, *arguments]


def main() -> None:
    """Run the module in the processes, and wait for their end."""
    count, module, *arguments = sys.argv[1:]
    os.environ.update(_ONLY_THIS_MACHINE)
    failed, fails = get_context("spawn").Pipe(duplex=False)  # no file, as the disk may be full
    with tempfile.TemporaryDirectory(prefix="lunglabel-") as folder:
        os.environ[RENDEZVOUS] = f"{folder}/rendezvous"
        try:
            spawn(_run, (count, fails, module, arguments), nprocs=int(count))
        except ProcessExitedException as error:  # the process that ended first; another may have failed before it
            if failed.poll():
                sys.exit(failed.recv_bytes().decode(errors="replace"))
            sys.exit(f"Error: {error}." + (" Is there enough memory?" if error.signal_name else ""))


def _run(rank: int, count: str, fails: Connection, module: str, arguments: list[str]) -> None:
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": count})
    sys.argv[1:] = arguments
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)  # PyTorch takes it as a success
    except Exception as error:
        traceback.print_exc()
        fails.send_bytes("".join(traceback.format_exception_only(error)).strip().encode()[-_LONGEST_REASON:])
        sys.exit(1)  # without the file that PyTorch would write
    _leave()


def _leave() -> NoReturn:
    """End this process with status 0, without Python's own end.

    A thread of Gloo that still releases an object of Python would abort the process while Python ends.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that still work, as at Python's own end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
