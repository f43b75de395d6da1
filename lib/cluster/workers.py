"""Workers of a run: processes on this machine, jobs of Slurm, or those of a running Dask cluster."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch
import yaml

from lib.errors import UserError
from lib.processes.cores import threads_of_each

if TYPE_CHECKING:
    from distributed import Client

_MISSING = (
    "Workers need Dask, which is not installed by default. Install it with: "
    ".venv/bin/pip install -c requirements-cluster.txt -e '.[cluster]'"
)
_CONNECT_SECONDS = 30
_START_SECONDS = 300  # of processes on this machine
# By default, Dask makes workers return freed memory to the system at once. That suits tables; tensors of the same sizes
# are allocated again, and the system clears each page anew. Measured with four series of 24 slices: 48 s of CPU time
# with Dask's setting of MALLOC_TRIM_THRESHOLD_, 29 s without.
_KEEP_FREED_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}
# A series during which two workers have died is set aside instead of killing further ones.
_DEATHS = {"distributed.scheduler.allowed-failures": 1}
# What Dask does many times a second in each process, for pages of its dashboard that nobody needs here: at its
# defaults, two workers and the command use 6 % of a core while a task runs, with these values 1 %.
_LESS_WATCHING = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
}
# Takes seconds to import, which a worker does while the command still lists the series.
_PRELOAD = ["lib.app"]
# Dask gives up a worker that is away for 15 s. One of this machine that was killed may take longer to start again.
_PATIENCE = {"distributed.deploy.lost-worker-timeout": "10 minutes"}


@dataclass(frozen=True)
class Workers:
    """Where a run computes.

    Attributes:
        local: Number of processes on this machine.
        scheduler: Address of a running Dask scheduler, ``tcp://host:8786`` or ``tls://…``.
        slurm: YAML file with the arguments of ``dask_jobqueue.SLURMCluster`` and ``jobs``, their number.
    """

    local: int = 0
    scheduler: str | None = None
    slurm: Path | None = None


@contextlib.contextmanager
def connected(workers: Workers, scratch: Path) -> Iterator[Client]:
    """Start the workers or connect to them within the context, and yield their client, which does not wait for them.

    Args:
        workers: Where to compute.
        scratch: Folder for the temporary files of workers on this machine; for Slurm, shared by all nodes.

    Raises:
        UserError: Dask is not installed, the scheduler does not respond, or the Slurm file is invalid.
    """
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise UserError(_MISSING) from error
    logging.getLogger("distributed").setLevel(logging.ERROR)  # failures are reported as those of a series
    with contextlib.ExitStack() as stack:
        settings = {**_DEATHS, **_LESS_WATCHING, **(_PATIENCE if workers.local else {})}
        settings |= {"distributed.comm.timeouts.connect": f"{_CONNECT_SECONDS}s"}
        environment = {**_KEEP_FREED_MEMORY, **(_bounded(threads_of_each(workers.local)) if workers.local else {})}
        stack.enter_context(dask.config.set({**settings, "distributed.nanny.pre-spawn-environ": environment}))
        if workers.scheduler:
            target: Any = workers.scheduler
        else:
            target = stack.enter_context(
                _slurm(workers.slurm, scratch) if workers.slurm else _local(workers.local, scratch)
            )
        try:
            client = stack.enter_context(
                Client(
                    target, timeout=_CONNECT_SECONDS, security=getattr(target, "security", None), set_as_default=False
                )
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"The Dask scheduler {workers.scheduler} does not respond ({type(error).__name__}). Start it with: "
                "dask scheduler, and workers with: dask worker ADDRESS --nthreads 1."
            ) from error
        print(f"Workers: {client.dashboard_link}", flush=True)
        yield client


def wait_for_first(client: Client) -> None:
    """Wait until a worker has started, if they are processes on this machine: others may come hours later.

    Raises:
        UserError: None starts.
    """
    from distributed import TimeoutError as WaitTimeout

    from lib.cluster.replacing_cluster import ReplacingCluster

    if not isinstance(client.cluster, ReplacingCluster):
        return
    try:
        client.wait_for_workers(1, timeout=_START_SECONDS)
    except WaitTimeout as error:
        raise UserError(f"No worker has started within {_START_SECONDS} s.") from error


def _local(count: int, scratch: Path) -> Any:
    """Return a cluster of ``count`` processes, which share the cores, GPUs and memory of this machine."""
    from distributed import Nanny, Scheduler
    from distributed.security import Security

    from lib.cluster.replacing_cluster import ReplacingCluster

    gpus, threads, memory = (
        torch.cuda.device_count(),
        threads_of_each(count),
        psutil.virtual_memory().available // count,
    )
    print(
        f"{count} workers with {threads} thread{'s' * (threads > 1)} and at most {memory / 2**30:.1f} GiB each"
        + (f" on {gpus} GPUs" if gpus else ""),
        flush=True,
    )
    # TLS with a certificate of this run: other users of the machine must not send tasks.
    security = Security.temporary()
    common = {"protocol": "tls://", "security": security}
    nannies = {
        number: {
            "cls": Nanny,
            "options": {
                **common,
                "host": "127.0.0.1",
                "nthreads": 1,
                "local_directory": str(scratch),
                "silence_logs": logging.CRITICAL,  # what fails is reported as that of a series; the end is no error
                "memory_limit": memory,
                "preload": _PRELOAD,
                "env": {"CUDA_VISIBLE_DEVICES": str(number % gpus)} if gpus else {},
            },
        }
        for number in range(count)
    }
    scheduler = {"cls": Scheduler, "options": {**common, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    return ReplacingCluster(nannies, scheduler=scheduler, security=security, name="lunglabel")


def _bounded(threads: int) -> dict[str, str]:
    """Return the environment that bounds the threads of a process, which NumPy reads before Dask sets `env`."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    return {**dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "PASSIVE"}


def _slurm(file: Path, scratch: Path) -> Any:
    """Return a cluster of Slurm jobs, which speak TLS with a certificate of this run; its key is only its owner's."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise UserError(_MISSING) from error
    try:
        options = yaml.safe_load(file.read_text(encoding="utf-8"))
        jobs = int(options.pop("jobs"))
        scratch.mkdir(parents=True, exist_ok=True)
        own = {"processes": 1, "security": True, "shared_temp_directory": str(scratch.resolve())}
        prologue = [f"export {name}={value}" for name, value in _KEEP_FREED_MEMORY.items()]
        options["job_script_prologue"] = [*prologue, *options.get("job_script_prologue", [])]
        cluster = SLURMCluster(**{**own, **options})
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file} must be a YAML file with jobs, the number of jobs, and arguments of dask_jobqueue.SLURMCluster, "
            f"such as cores, memory, queue and walltime: {type(error).__name__} {error}"
        ) from error
    cluster.scale(jobs=jobs)
    print(f"{jobs} Slurm jobs requested:\n{cluster.job_script()}", flush=True)
    return cluster
