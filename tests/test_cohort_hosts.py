"""A cohort on three hosts, network namespaces here: a scheduler and two workers, one of which is cut off."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lib.settings import APP_DIR
from tests.support.cohort import same_files, tiny_series
from tests.support.requirement import skip_or_fail
from tools.support.hosts import BRIDGE_ADDRESS, Host, hosts, why_not
from tools.support.orthanc import INSTALL, orthanc_is_installed, orthanc_server
from tools.support.processes import kill_tree
from tools.support.waiting import wait_for

Client = pytest.importorskip("distributed", reason="Dask is not installed: pip install -e .[cluster]").Client
pytestmark = [pytest.mark.slow, pytest.mark.pacs]

COUNT = 6
LOGIN = ("reader", "cohort-secret")


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=APP_DIR,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill_tree(process)


def dask(host: Host, *words: str) -> list[str]:
    return host.command([sys.executable, "-m", *words, "--no-dashboard"])


def infer(studies: str, output: Path, address: str, log: Path) -> contextlib.AbstractContextManager[subprocess.Popen]:
    where = [studies, "--output", str(output), "--scheduler", address]
    return running([sys.executable, str(APP_DIR / "main.py"), "infer", *where], log)


def test_cohort_from_a_folder_and_a_pacs_with_a_host_cut_off(tmp_path):
    """The password of the PACS reaches no scheduler: the workers have it in their environment."""
    if reason := why_not():
        pytest.skip(f"SKIPPED: {reason}")
    if not orthanc_is_installed():
        skip_or_fail(INSTALL)
    tiny_series(tmp_path / "dicom", COUNT)
    secrets = dict(zip(("MONAI_LABEL_DICOMWEB_USERNAME", "MONAI_LABEL_DICOMWEB_PASSWORD"), LOGIN, strict=True))
    impatient = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    with contextlib.ExitStack() as stack:
        head, near, far = stack.enter_context(hosts("head", "near", "far"))
        pacs = stack.enter_context(orthanc_server(tmp_path / "orthanc", LOGIN, address=BRIDGE_ADDRESS))
        assert pacs.upload(tmp_path / "dicom") > 0
        address = f"tcp://{head.address}:8786"
        words = ["distributed.cli.dask_scheduler", "--host", head.address, "--port", "8786"]
        stack.enter_context(running(dask(head, *words), tmp_path / "scheduler.log", **impatient))
        for host in (near, far):
            words = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--local-directory"]
            log = tmp_path / f"{host.name}.log"
            stack.enter_context(running(dask(host, *words, str(tmp_path / host.name)), log, **secrets))
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=120)
            with infer(str(tmp_path / "dicom"), tmp_path / "folder", address, tmp_path / "folder.log") as first:
                assert first.wait(timeout=300) == 0, (tmp_path / "folder.log").read_text()
            log = tmp_path / "pacs.log"
            url = pacs.url.replace("://", f"://{':'.join(LOGIN)}@")
            with infer(url, tmp_path / "pacs", address, log) as second:
                wait_for(lambda: ": done," in log.read_text(), "the first series", seconds=200, interval=0.02)
                far.cut_off()
                cut = time.monotonic()
                assert second.wait(timeout=300) == 0, log.read_text()
            wait_for(lambda: len(client.nthreads()) == 1, "the loss of the host", seconds=30)
            print(f"The host was missed and its work done {time.monotonic() - cut:.1f} s after the cut")
        # A series that the host finished after it was cut off is found finished by the other one.
        assert len(re.findall(r": (done|finished before), ", log.read_text())) == COUNT
        sent = (tmp_path / "scheduler.log").read_text() + log.read_text()
        assert LOGIN[1] not in sent
    for name in ("cases.csv", "cases.json"):  # where a series is: in a folder or a PACS
        for output in (tmp_path / "folder", tmp_path / "pacs"):
            (output / name).unlink()
    for table in ("lesions.csv", "lesions.json"):
        for output in (tmp_path / "folder", tmp_path / "pacs"):
            (output / table).unlink()
    same_files(tmp_path / "folder", tmp_path / "pacs", 2 * COUNT + 1)
