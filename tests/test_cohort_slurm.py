"""A cohort on a real Slurm of one node."""

import os
import subprocess
import sys

import pytest
import yaml

from lib.settings import APP_DIR
from tests.support.cohort import tiny_series
from tools.support.slurm import INSTALL, slurm_is_installed, slurm_node

pytest.importorskip("dask_jobqueue", reason="Dask is not installed: pip install -e .[cluster]")
pytestmark = pytest.mark.slow


def test_slurm_jobs_segment_a_cohort(tmp_path):
    """Their connections are encrypted, and no job is left behind."""
    if not slurm_is_installed():
        pytest.skip(f"SKIPPED: {INSTALL}")
    tiny_series(tmp_path / "dicom", 2)
    logs = tmp_path / "jobs"
    options = {"jobs": 1, "cores": 1, "memory": "3GB", "walltime": "00:05:00", "log_directory": str(logs)}
    (tmp_path / "slurm.yaml").write_text(yaml.safe_dump(options))
    folder = tmp_path / "slurm"
    folder.mkdir()
    where = [str(tmp_path / "dicom"), "--output", str(tmp_path / "out"), "--slurm", str(tmp_path / "slurm.yaml")]
    with slurm_node(folder) as environment:
        command = [sys.executable, str(APP_DIR / "main.py"), "infer", *where]
        run = subprocess.run(
            command, cwd=APP_DIR, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
        )
        jobs = subprocess.run(
            ["squeue", "--noheader", "--states=all"], env=environment, capture_output=True, text=True, timeout=30
        ).stdout
    told = run.stdout + run.stderr + "".join(path.read_text() for path in logs.glob("*"))
    assert run.returncode == 0, told
    assert run.stdout.count(": done,") == 2
    assert "tls://" in run.stdout
    assert len(jobs.splitlines()) == 1
    assert not {"RUNNING", "PENDING"} & {*jobs.split()}
    assert len([*(tmp_path / "out").glob("*.seg.dcm")]) == 2
