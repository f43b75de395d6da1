"""Segmentation of a cohort by Dask workers: the same output, whatever is killed."""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest
import torch
import yaml

from lib.cli import main
from lib.cluster.background import BackgroundCluster, ClusterAwayError
from lib.cluster.workers import Workers, connected
from lib.cohort.job import Job, Outcome
from lib.cohort.segmentation import run_on
from lib.datastore.catalog import Series
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.settings import Settings
from tests.support.cohort import GRID, same_files, tiny_series
from tests.support.dask_nodes import dask_nodes
from tools.support.processes import free_port
from tools.support.waiting import wait_for

pytestmark = pytest.mark.slow
Client = pytest.importorskip("distributed", reason="Dask is not installed: pip install -e .[cluster]").Client


def series_of(uid: str) -> Series:
    return Series(uid, "1.2", {}, 3, None)


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("OMP_NUM_THREADS", raising=False)  # of the tests; users have none
        with connected(Workers(local=2), tmp_path_factory.mktemp("workers")) as client:
            yield client


def test_threads_of_workers_do_not_compete(client):
    """NumPy's are bounded, too: it reads its number when it is imported, which Dask does before it sets the rest."""
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert client.submit(torch.get_num_threads).result(timeout=120) == threads
    began_with = client.submit(Path("/proc/self/environ").read_bytes, pure=False).result(timeout=120)
    assert f"OMP_NUM_THREADS={threads}".encode() in began_with.split(b"\0")


@pytest.fixture
def job(tmp_path) -> Job:
    return Job("test", "studies", (), tmp_path, tmp_path, ())


def tried(job: Job, series: Series) -> Outcome:
    """Note the attempt; the series called deadly kills its worker."""
    with (job.output / "attempts").open("a") as file:
        file.write(f"{series.uid}\n")
    if series.uid == "deadly":
        os._exit(1)
    time.sleep(0.05)
    return Outcome(series.uid, {"voxels": 1}, None)


def slow(job: Job, series: Series) -> Outcome:
    (job.output / f"pid-{os.getpid()}").touch()
    time.sleep(0.4)
    (job.output / f"{series.uid}.json").touch()
    return Outcome(series.uid, {"voxels": 1}, None)


def test_series_that_kills_its_workers_is_set_aside(client, job, tmp_path):
    """Twice, then it is named, and no other series suffers."""
    names = ["a", "b", "deadly", "c", "d", "e"]
    outcomes = {one.uid: one for one in run_on(client, job, [*map(series_of, names)], tried)}
    assert outcomes.keys() == {*names}
    assert outcomes["deadly"].reason == "two workers died while they computed it, so it is set aside"
    assert all(outcomes[name].record for name in names if name != "deadly")
    assert Counter((tmp_path / "attempts").read_text().split())["deadly"] == 2


def test_killed_workers_lose_nothing(client, job, tmp_path):
    """Each series has one outcome, and the work of a killed worker is done by others."""
    names = [f"s{number}" for number in range(8)]
    found = []
    for outcome in run_on(client, job, [*map(series_of, names)], slow):
        found.append(outcome.uid)
        if len(found) in (1, 4):
            computing = next(tmp_path.glob("pid-*"))
            os.kill(int(computing.name[4:]), signal.SIGKILL)
            computing.unlink()
    assert sorted(found) == sorted(names)
    assert len([*tmp_path.glob("s*.json")]) == len(names)


def test_lost_scheduler_is_reported_and_the_run_goes_on_later(job, tmp_path):
    """With a scheduler and a worker of their own, as on a cluster."""
    with dask_nodes(tmp_path) as nodes, connected(Workers(scheduler=nodes.address), tmp_path) as client:
        client.wait_for_workers(1, timeout=120)
        server = BackgroundCluster(nodes.address)
        assert (server.places(), server.run(pow, 2, 5)) == (1, 32)
        with pytest.raises(ClusterAwayError):  # the server does what a worker cannot
            server.run(int, "no number")
        assert server.places() == 0, "not asked again at once"
        server = BackgroundCluster(nodes.address)
        assert server.places() == 1
        outcomes = run_on(client, job, [*map(series_of, "abcdef")], slow)
        assert next(outcomes).record
        nodes.scheduler.kill()
        with pytest.raises(UserError, match=r"scheduler is gone.*same command continues"):
            wait_for(lambda: next(outcomes) and None, "the loss of the scheduler", seconds=120)
        with pytest.raises(ClusterAwayError):
            server.run(pow, 2, 5)
        assert server.places() == 0


@contextlib.contextmanager
def killing_new_workers(count: int) -> Iterator[None]:
    """Kill this many processes of workers as soon as they appear."""
    before, enough = {*_worker_processes()}, threading.Event()

    def kill() -> None:
        for _ in range(count):
            while not (new := {*_worker_processes()} - before):
                if enough.wait(0.005):
                    return
            for process in new:
                before.add(process)
                process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def _worker_processes() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in str(process.cmdline()):
                found.append(process)
    return found


def test_workers_that_are_killed_while_they_start_are_started_again(job, tmp_path):
    """First before any worker was there, then the successors of one that was killed while it computed."""
    names = [f"s{number}" for number in range(4)]
    found = []
    others = {*_worker_processes()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(killing_new_workers(2))
        client = stack.enter_context(connected(Workers(local=1), tmp_path / "workers"))
        for outcome in run_on(client, job, [*map(series_of, names)], slow):
            found.append(outcome.uid)
            if len(found) == 1:
                stack.enter_context(killing_new_workers(2))
                for computing in {*_worker_processes()} - others:
                    computing.kill()
    assert sorted(found) == sorted(names)


def test_no_scheduler_and_a_bad_slurm_file_are_explained(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.cluster.workers._CONNECT_SECONDS", 1)
    with (
        pytest.raises(UserError, match="does not respond"),
        connected(Workers(scheduler=f"tcp://127.0.0.1:{free_port()}"), tmp_path),
    ):
        pass
    file = tmp_path / "slurm.yaml"
    file.write_text(yaml.safe_dump({"cores": 2}))
    with pytest.raises(UserError, match="must be a YAML file with jobs"), connected(Workers(slurm=file), tmp_path):
        pass


def test_workers_make_the_files_of_one_process(tmp_path, capsys):
    """The same files, byte for byte, but for UIDs and times; a broken series is named by both."""
    studies = tmp_path / "dicom"
    tiny_series(studies, 3)
    printed = []
    for name, options in (("alone", []), ("workers", ["--workers", "2"])):
        output = str(tmp_path / name)
        formats = ["--format", "seg", "nifti", "csv", "json"]
        assert main(["infer", str(studies), "--output", output, *formats, *options]) == 0
        printed.append(capsys.readouterr().out)
    assert "2 workers with" in printed[1]
    same_files(tmp_path / "alone", tmp_path / "workers", 3 * 3 + 5)


@pytest.fixture
def shared_workers(client, monkeypatch) -> list[str]:
    """Let commands use the workers of the other tests; starting further ones takes seconds."""
    for module in ("lib.cohort.evaluation", "lib.cli.export"):
        monkeypatch.setattr(f"{module}.connected", lambda workers, scratch: contextlib.nullcontext(client))
    return ["--workers", "2"]


def test_evaluate_on_workers_makes_the_tables_of_one_process(shared_workers, tmp_path):
    for name, size in (("A_1", 6), ("B_1", 10), ("C_1", 0)):
        mask = np.zeros((24, 24, 8), np.uint8)
        mask[6 : 6 + size, 6 : 6 + size, 3:5] = 1
        for kind, voxels in (("images", np.where(mask, 40, -800)), ("masks", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.eye(4)), tmp_path / kind / f"{name}.nii.gz")
    data = ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks"), "--no-robustness", "--froc"]
    for name, options in (("alone", ["--threads", "1"]), ("workers", shared_workers)):
        assert main(["evaluate", *data, "--output", str(tmp_path / name), *options]) == 0
    same_files(tmp_path / "alone", tmp_path / "workers", 2)


def test_export_on_workers_makes_the_files_of_one_process(shared_workers, tmp_path, capsys):
    """One label whose image has lost a slice is named by both."""
    studies, workspace = tmp_path / "dicom", tmp_path / "workspace"
    mask = np.zeros(GRID.shape, np.uint8)
    mask[2, 3, 4:7] = 1
    tiny_series(studies, 3)
    settings = Settings.from_conf(str(studies), {"workspace": str(workspace)})
    client = FolderClient(studies, settings.segs_dir, settings.cache_dir / "index.sqlite")
    client.scan()
    datastore = SeriesDatastore(client, settings)
    for image in datastore.list_images():
        mask.tofile(tmp_path / "label.bin")
        datastore.save_label(image, str(tmp_path / "label.bin"), "final", {"annotator": "Ada"})
    next((studies / "P1").iterdir()).unlink()
    where = ["export", str(studies), "--workspace", str(workspace), "--format", "seg", "nifti", "table"]
    told = []
    for name, options in (("alone", []), ("workers", shared_workers)):
        assert main([*where, "--output", str(tmp_path / name), *options]) == 1
        told.append(capsys.readouterr().err)
    assert told[0] == told[1] != ""
    same_files(tmp_path / "alone", tmp_path / "workers", 2 * 2 + 1 + 5)
