"""Cost of a large folder: indexing, restart, a new series, memory, and response times during indexing."""

from __future__ import annotations

import re
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from lib.phantoms import Acquisition, write_dicom_series
from tools.benchmark.server import StartServer
from tools.support.processes import ServerProcess
from tools.support.usage import cpu_seconds
from tools.support.waiting import wait_for

SLICES = 250  # per series
_GRID = Acquisition(shape=(SLICES, 16, 16), spacing=(1.25, 20.0, 20.0))
_PATIENT = "SCALE-{:06d}"
_UID = re.compile(rb"(1\.2\.826\.0\.1\.3680043\.8\.498\.)\d{7}(?=\d{20})")  # pydicom's root, then a checksum
_NEW_SERIES = 3
_IDLE_SECONDS = 30
_TIMEOUT = 3600


@dataclass(frozen=True)
class Scale:
    """Cost of a folder of a certain size.

    Attributes:
        instances: Number of instances.
        series: Number of series.
        first_seconds: Time from the start of the server until all series are listed, without an index.
        first_cpu_seconds: CPU time of the server in that time, which does not depend on the load of the machine.
        restart_seconds: The same time as ``first_seconds``, with an existing index.
        noticed_seconds: Time from moving a series into the folder until it is listed; the longest of a few.
        memory_mib: Peak resident memory of the server during indexing.
        idle_cores: CPU time per second while there are no requests and no changes.
        studies_ms, info_ms: Median and longest response time of the study list (QIDO-RS) and of ``/info/`` during
            indexing; None if indexing ended before the first response.
    """

    instances: int
    series: int
    first_seconds: float
    first_cpu_seconds: float
    restart_seconds: float
    noticed_seconds: float
    memory_mib: float
    idle_cores: float
    studies_ms: tuple[float, float] | None
    info_ms: tuple[float, float] | None


def write_instances(folder: Path, count: int, template: Path) -> int:
    """Write ``count`` CT instances of 16×16 pixels with unique UIDs, in series of 250.

    One phantom series is written and then copied with other UIDs of the same length; links to one file would share
    its UIDs, and the index would keep only one of them.

    Args:
        folder: Folder in which a subfolder for each series is created.
        count: Number of instances; the last series may be shorter.
        template: Scratch folder for the phantom series.

    Returns:
        The number of series.
    """
    patient = _PATIENT.format(0)
    write_dicom_series(template, np.full(_GRID.shape, -700, np.int16), _GRID.affine, patient_id=patient)
    contents = [path.read_bytes() for path in sorted(template.iterdir())]
    shutil.rmtree(template)
    number = 0
    for number, start in enumerate(range(0, count, SLICES), 1):
        target = folder / _PATIENT.format(number)
        target.mkdir(parents=True)
        for index, content in enumerate(contents[: count - start]):
            (target / f"{index:04d}.dcm").write_bytes(_renamed(content, patient, number))
    return number


def measure(count: int, scratch: Path, start: StartServer, *, idle_seconds: float = _IDLE_SECONDS) -> Scale:
    """Run the server twice on a folder of ``count`` instances, the second time with the index of the first.

    Args:
        count: Number of instances.
        scratch: Folder for the instances and a workspace, which are removed again.
        start: Context manager ``start(studies, workspace)`` that runs the server.
        idle_seconds: Time without requests in which the idle load is measured.
    """
    studies, workspace, spare = scratch / f"scale-{count}", scratch / f"scale-{count}-workspace", scratch / "spare"
    studies.mkdir(parents=True)
    series = write_instances(studies, count, scratch / "template")
    try:
        began = time.perf_counter()
        with start(studies, workspace) as server:
            lists, infos, memory = _watch(server, series)
            first, cpu = time.perf_counter() - began, cpu_seconds(server.process.pid)
        began = time.perf_counter()
        with start(studies, workspace) as server:
            _watch(server, series)
            restart = time.perf_counter() - began
            idle = _idle_cores(server, idle_seconds)
            noticed = [_notice(server, studies, spare / str(n), n) for n in range(_NEW_SERIES)]
        return Scale(
            instances=count,
            series=series,
            first_seconds=first,
            first_cpu_seconds=cpu,
            restart_seconds=restart,
            noticed_seconds=max(noticed),
            memory_mib=memory,
            idle_cores=idle,
            studies_ms=_median_and_longest(lists),
            info_ms=_median_and_longest(infos),
        )
    finally:
        for folder in (studies, workspace, spare):
            shutil.rmtree(folder, ignore_errors=True)


def _watch(server: ServerProcess, series: int) -> tuple[list[float], list[float], float]:
    """Poll until all series are listed; return response times of study list and ``/info/``, and peak memory in MiB."""
    lists, infos, memory = [], [], 0.0
    process = psutil.Process(server.process.pid)

    def all_listed() -> bool:
        nonlocal memory
        memory = max(memory, process.memory_info().rss / 2**20)
        seconds, info = _ask(f"{server.url}/info/")
        if info["datastore"]["total"] >= series and "files_to_index" not in info["datastore"]:
            return True
        infos.append(seconds)
        # The query of OHIF's study list:
        lists.append(_ask(f"{server.url}/proxy/dicom/qido/studies?limit=101&offset=0&fuzzymatching=true")[0])
        return False

    wait_for(
        all_listed, f"{series} series in the list of {server.url}; log: {server.log}", seconds=_TIMEOUT, interval=0.1
    )
    return lists, infos, memory


def _notice(server: ServerProcess, studies: Path, made: Path, number: int) -> float:
    """Return the seconds from moving a series into the folder until it is listed."""
    patient = f"NEW-{number}"
    uid = write_dicom_series(made, np.full(_GRID.shape, -700, np.int16), _GRID.affine, patient_id=patient)
    made.rename(studies / patient)
    began = time.perf_counter()

    def is_listed() -> bool:
        query = {"image": uid}
        return requests.get(f"{server.url}/datastore/image/info", params=query, timeout=_TIMEOUT).ok

    wait_for(is_listed, f"a new series in the list of {server.url}", seconds=_TIMEOUT, interval=0.1)
    return time.perf_counter() - began


def _idle_cores(server: ServerProcess, seconds: float) -> float:
    before, began = cpu_seconds(server.process.pid), time.perf_counter()
    time.sleep(seconds)
    return (cpu_seconds(server.process.pid) - before) / (time.perf_counter() - began)


def _ask(url: str) -> tuple[float, Any]:
    began = time.perf_counter()
    reply = requests.get(url, timeout=_TIMEOUT)
    reply.raise_for_status()
    return time.perf_counter() - began, reply.json()


def _median_and_longest(seconds: list[float]) -> tuple[float, float] | None:
    return (1000 * statistics.median(seconds), 1000 * max(seconds)) if seconds else None


def _renamed(content: bytes, patient: str, number: int) -> bytes:
    """Return the file as that of another patient, with different UIDs of the same length."""
    others = _UID.sub(rb"\g<1>%d" % (1_000_000 + number), content)
    return others.replace(patient.encode(), _PATIENT.format(number).encode())
