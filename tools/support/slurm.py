"""A Slurm of one node, this machine, started by a test in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

from tools.support.processes import free_port
from tools.support.waiting import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")
INSTALL = (
    "Slurm is not installed: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge, and its "
    "daemons must be started by root"
)


def slurm_is_installed() -> bool:
    """Return whether the programs are installed and this process may start the daemons."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in PROGRAMS)


@contextlib.contextmanager
def slurm_node(folder: Path) -> Iterator[dict[str, str]]:
    """Run munged, slurmctld and slurmd within the context, and yield the environment of Slurm's commands.

    Args:
        folder: Folder for configuration, state and logs.

    Raises:
        TimeoutError: The node does not become idle; its logs are in the folder.
    """
    environment = {**os.environ, "SLURM_CONF": str(_configuration(folder))}
    munged = [
        *("munged", "--foreground", "--force", "--num-threads=1"),
        *(f"--{name}-file={folder / f'munge.{name}'}" for name in ("key", "pid", "seed", "log")),
        f"--socket={folder / 'munge.socket'}",
    ]
    node = socket.gethostname().partition(".")[0]
    with contextlib.ExitStack() as daemons:
        _start(daemons, munged, folder, environment)
        wait_for((folder / "munge.socket").exists, "munged", seconds=30)
        _start(daemons, ["slurmctld", "-D"], folder, environment)
        _start(daemons, ["slurmd", "-D", "-N", node], folder, environment)
        look = ["sinfo", "--noheader", "--format=%T"]
        wait_for(
            lambda: "idle" in subprocess.run(look, env=environment, capture_output=True, text=True, timeout=30).stdout,
            f"an idle Slurm node; logs: {folder}",
            seconds=60,
        )
        yield environment


def _configuration(folder: Path) -> Path:
    """Write ``slurm.conf``: no cgroups and no accounting, which need more than a test machine has."""
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    node = socket.gethostname().partition(".")[0]
    memory = psutil.virtual_memory().total // 2**20 // 2
    lines = f"""
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder / "munge.socket"}
CredType=cred/munge
StateSaveLocation={folder / "state"}
SlurmdSpoolDir={folder / "spool"}
SlurmctldPidFile={folder / "slurmctld.pid"}
SlurmdPidFile={folder / "slurmd.pid"}
SlurmctldLogFile={folder / "slurmctld.log"}
SlurmdLogFile={folder / "slurmd.log"}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=defer,sched_interval=1
SelectType=select/cons_tres
NodeName={node} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={memory}
PartitionName=main Nodes=ALL Default=YES State=UP OverSubscribe=FORCE:4
"""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    path = folder / "slurm.conf"
    path.write_text(lines.strip() + "\n")
    return path


def _start(daemons: contextlib.ExitStack, command: list[str], folder: Path, environment: dict[str, str]) -> None:
    with (folder / f"{command[0]}.out").open("wb") as log:
        process = daemons.enter_context(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    daemons.callback(process.terminate)
