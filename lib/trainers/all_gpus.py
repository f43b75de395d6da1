"""The training of a server on all GPUs of its machine: the training process is replaced by one for each of them."""

from __future__ import annotations

import os
import sys
from typing import Any

import ignite.distributed
import torch
from monailabel.utils.others.generic import name_to_device

from lib.processes.cores import threads_of_each
from lib.processes.parent_process import mark_as_server
from lib.processes.process_group import RENDEZVOUS, group_command
from lib.training.processes import Processes

_TASK = ["-m", "monailabel.interfaces.utils.app"]  # how MONAI Label starts a training process


def gpus_for(batch: int, device: Any) -> int:
    """Return how many GPUs share a batch: all, or as many as can get the same number of patches.

    Args:
        batch: Patches of a batch.
        device: Name of the device that the request asks for, for which 1 is returned unless it is ``cuda``; or the
            list of all, if it asks for none.
    """
    if isinstance(device, str) and name_to_device(device) != "cuda":
        return 1
    return max(count for count in range(1, max(1, torch.cuda.device_count()) + 1) if batch % count == 0)


def restart_on(count: int) -> None:
    """Replace this training process of a server by as many as GPUs, which do the same training together.

    Does nothing for one GPU, in one of these processes, and in a process that is not MONAI Label's.
    """
    if count < 2 or RENDEZVOUS in os.environ or sys.orig_argv[1:3] != _TASK:
        return
    mark_as_server()  # the new program keeps the id of this process and ends with the server; its processes, with it
    os.environ.setdefault("OMP_NUM_THREADS", str(threads_of_each(count)))
    os.execv(sys.executable, group_command(count, _TASK[1], sys.argv[1:]))


def connect() -> Processes:
    """Return the processes of this training; this one alone unless `restart_on` has started it."""
    if RENDEZVOUS not in os.environ:  # the server itself may run where WORLD_SIZE is set
        return Processes.alone()
    processes = Processes.of_environment()
    ignite.distributed.sync()  # in all at once; handlers that only the first process has would do it later
    return processes


def disconnect(processes: Processes) -> None:
    """Disconnect this process from the others, after which metrics are computed in it alone."""
    if processes.count > 1:
        ignite.distributed.finalize()
