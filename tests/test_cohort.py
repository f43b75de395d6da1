"""Segmentation of a cohort by Dask workers: the same output, whatever is killed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydicom import dcmread

from lib.cli import main
from lib.cohort.cluster import Workers, connected
from lib.cohort.dask_run import run_on
from lib.cohort.job import Job, Outcome
from lib.datastore.catalog import Series
from lib.errors import UserError
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import APP_DIR
from tools.support.processes import free_port
from tools.support.waiting import wait_for

pytestmark = pytest.mark.slow
Client = pytest.importorskip("distributed", reason="Dask is not installed: pip install -e .[cluster]").Client

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))


def series_of(uid: str) -> Series:
    return Series(uid, "1.2", {}, 3, None)


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Iterator[Client]:
    with connected(Workers(local=2), tmp_path_factory.mktemp("workers")) as client:
        yield client


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
    assert outcomes["deadly"].reason == "two workers died while they segmented it, so it is set aside"
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
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    path = f"{APP_DIR}{os.pathsep}{APP_DIR / 'tests'}"  # the task is a function of this file
    options = {"env": {**os.environ, "PYTHONPATH": path}, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    with subprocess.Popen([*dask, "--host", "127.0.0.1", "--port", str(port)], **options) as scheduler:
        dask = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-dashboard", "--nthreads", "1"]
        with subprocess.Popen([*dask, "--local-directory", str(tmp_path), address], **options) as process:
            try:
                with connected(Workers(scheduler=address), tmp_path) as client:
                    client.wait_for_workers(1, timeout=120)
                    outcomes = run_on(client, job, [*map(series_of, "abcdef")], slow)
                    assert next(outcomes).record
                    scheduler.kill()
                    with pytest.raises(UserError, match=r"scheduler is gone.*same command continues"):
                        wait_for(lambda: next(outcomes) and None, "the loss of the scheduler", seconds=120)
            finally:
                process.kill()
                scheduler.kill()


def test_no_scheduler_and_a_bad_slurm_file_are_explained(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.cohort.cluster._CONNECT_SECONDS", 1)
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
    for number in range(3):
        hu = np.full(GRID.shape, -900, np.int16)
        write_dicom_series(studies / f"P{number}", hu, GRID.affine, patient_id=f"P{number}")
    printed = []
    for name, options in (("alone", []), ("workers", ["--workers", "2"])):
        output = str(tmp_path / name)
        formats = ["--format", "seg", "nifti", "csv", "json"]
        assert main(["infer", str(studies), "--output", output, *formats, *options]) == 0
        printed.append(capsys.readouterr().out)
    assert "2 workers with" in printed[1]
    alone, workers = (sorted((tmp_path / name).iterdir()) for name in ("alone", "workers"))
    assert [path.name for path in alone] == [path.name for path in workers]
    assert len(alone) == 3 * 3 + 5
    for one, other in zip(alone, workers, strict=True):
        if one.suffix == ".dcm":
            assert _pixels(one) == _pixels(other)
        elif one.name.endswith(".nii.gz"):
            assert one.read_bytes()[10:] == other.read_bytes()[10:], "the header of gzip has a time"
        else:
            assert one.read_bytes() == other.read_bytes(), one.name


def _pixels(path: Path) -> bytes:
    return dcmread(path).PixelData
