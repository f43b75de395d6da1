"""Who computes first on a busy machine: what a person waits for, then all the rest."""

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
# A thread that holds Python's global lock makes all others of its process wait until it is given a core. Measured on
# a busy machine with two: at niceness 19 the others waited for up to 0.7 s, at 10 for up to 0.17 s, at 0 for 0.12 s.
_LOW = 10


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads sleep while they wait for each other; has to be called before PyTorch is loaded.

    By default they spin. Where there are more threads than free cores, as with an inference during a training, they
    spin on the cores that the others need: a forward pass then takes many times as long. A user's own value stays.
    """
    if not environment.get(_WAIT_POLICY):
        environment[_WAIT_POLICY] = "PASSIVE"


def restart_waiting_passively() -> None:
    """Start this server anew, with its arguments and its environment, if it loaded PyTorch without `wait_passively`.

    ``monailabel start_server`` loads PyTorch before it loads an app, and OpenMP reads its variables only then. No
    port is open yet, and the process keeps its id. Where the variable is set beforehand, nothing happens, nor in a
    process that is no such server.
    """
    if os.environ.get(_WAIT_POLICY) or "monailabel.app" not in sys.modules or multiprocessing.parent_process():
        return
    print(
        f"Starting again with {_WAIT_POLICY}=PASSIVE, so that inference and training share the processor.", flush=True
    )
    environment = _initial_environment()
    wait_passively(environment)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def _initial_environment() -> dict[str, str]:
    """Return the environment that this process was started with; MONAI Label has added to it since."""
    with contextlib.suppress(OSError):
        pairs = (pair.partition(b"=") for pair in Path("/proc/self/environ").read_bytes().split(b"\0"))
        return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}
    return dict(os.environ)


def give_way() -> None:
    """Let this process compute when no other wants to, and leave one core to the others; for trainings."""
    import torch  # loaded already where this is called

    for thread in Path("/proc/self/task").iterdir():  # niceness is each thread's own, and new ones inherit it
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _LOWEST)
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def work_in_background() -> None:
    """Lower the priority of this thread, and on Linux of it alone; for what nobody waits for."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW)


def start_shared_threads() -> None:
    """Let ITK start its threads now: those that a thread of low priority started would be of low priority for all."""
    import SimpleITK as sitk

    sitk.SmoothingRecursiveGaussian(sitk.Image(8, 8, 8, sitk.sitkFloat32))
