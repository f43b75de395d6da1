"""Process and thread priorities: requests that a user waits for run before trainings and background work."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import MutableMapping
from pathlib import Path

_WAIT_POLICY = "OMP_WAIT_POLICY"
_LOWEST = 19
# A descheduled thread that holds the GIL blocks all other threads of its process. Measured on a busy machine with two
# cores: at niceness 19 the others waited for up to 0.7 s, at 10 for up to 0.17 s, at 0 for 0.12 s.
_LOW = 10


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set ``OMP_WAIT_POLICY=PASSIVE`` unless the user has set it. Must be called before PyTorch is imported.

    By default OpenMP threads spin while they wait. With more threads than free cores, such as an inference during a
    training, they take the cores that other threads need, and a forward pass takes many times as long.
    """
    if not environment.get(_WAIT_POLICY):
        environment[_WAIT_POLICY] = "PASSIVE"


def restart_waiting_passively() -> None:
    """Re-execute this server, with its arguments and environment, if it imported PyTorch before `wait_passively`.

    ``monailabel start_server`` imports PyTorch before it loads an app, and OpenMP reads its variables only then. No
    port is open yet, and the process keeps its id. Does nothing if the variable is set already, or in a process that
    is not a server.
    """
    if os.environ.get(_WAIT_POLICY) or "monailabel.app" not in sys.modules or multiprocessing.parent_process():
        return
    print(f"Restarting with {_WAIT_POLICY}=PASSIVE, so that inference and training share the processor.", flush=True)
    environment = _initial_environment()
    wait_passively(environment)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _initial_environment() -> dict[str, str]:
    """Return the environment this process was started with, without the variables that MONAI Label added since."""
    with contextlib.suppress(OSError):
        pairs = (pair.partition(b"=") for pair in Path("/proc/self/environ").read_bytes().split(b"\0"))
        return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}
    return dict(os.environ)


def use_lowest_priority() -> None:
    """Give all threads of this process the lowest priority, and leave one core to other processes; for trainings."""
    import torch  # callers have imported it already

    for thread in Path("/proc/self/task").iterdir():  # niceness is per thread; new threads inherit it
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _LOWEST)
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def work_in_background() -> None:
    """Lower the priority of the calling thread (on Linux niceness is per thread), for work that no user waits for."""
    thread = threading.get_native_id()
    if os.getpriority(os.PRIO_PROCESS, thread) < _LOW:  # only root may raise the priority of a server started with nice
        os.setpriority(os.PRIO_PROCESS, thread, _LOW)


def start_shared_threads() -> None:
    """Start ITK's thread pool at normal priority.

    Threads inherit the priority of the thread that starts them; a pool started by a low-priority thread would slow
    down every later use of ITK.
    """
    import SimpleITK as sitk

    sitk.SmoothingRecursiveGaussian(sitk.Image(8, 8, 8, sitk.sitkFloat32))
