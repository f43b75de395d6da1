"""The gate in the real server: candidates are kept but not served, and rollback is exact."""

import os
import signal

import numpy as np
import psutil
import requests

from tests.support.client import (
    detail,
    mask_of,
    put_label,
    serve_kept_version,
    train_stats,
    wait_until_indexed,
)
from tests.support.weights import model_dir_with
from tools.support.waiting import wait_for

PATIENTS = ("LUNG-001", "LUNG-002")
TRAINING = {"max_epochs": 2, "patches_per_volume": 16, "patch_size": 64}


def serving(server) -> str:
    return requests.get(f"{server.url}/info/").json()["model_version"]


def test_training_starts_by_itself_and_its_version_can_be_used_and_rolled_back(
    start_server, phantom_studies, phantom_weights, run_main, tmp_path
):
    model_dir = model_dir_with(phantom_weights, tmp_path / "model")
    training = {**TRAINING, "folds": 0, "learning_rate": 0.003, "prior_patients": 0}
    server = start_server(
        phantom_studies.directory, model_dir=model_dir, scored_images=0, views=1, retrain_after=2, **training
    )
    wait_until_indexed(server)
    first, last = [phantom_studies.of_patient(patient) for patient in PATIENTS]
    before = mask_of(server, last, tmp_path / "before.nrrd")
    assert put_label(server, first.series_uid, first.truth).status_code == 200
    assert requests.get(f"{server.url}/train/").status_code == 404
    assert put_label(server, last.series_uid, last.truth).status_code == 200

    wait_for(lambda: "verdict" in train_stats(server), "the verdict", seconds=600)
    stats = train_stats(server)
    assert stats["verdict"]["outcome"] == "kept"
    assert serving(server) == "pretrained"
    assert serve_kept_version(server) == stats["version"]
    assert not np.array_equal(before, mask_of(server, last, tmp_path / "trained.nrrd"))

    workspace = server.log.parents[1] / "workspace"
    command = ["models", "--workspace", workspace, "--model-dir", model_dir]
    assert f"* {stats['version']}" in run_main(*command)
    run_main(*command, "--back")
    assert serving(server) == "pretrained"
    assert np.array_equal(before, mask_of(server, last, tmp_path / "rolled-back.nrrd"))
    assert "no model version 'nonsense'" in run_main(*command, "--serve", "nonsense", status=1)


def test_training_stops_with_its_server_and_is_restarted_by_the_next(
    start_server, phantom_studies, phantom_weights, tmp_path
):
    model_dir = model_dir_with(phantom_weights, tmp_path / "model")
    where = {"workspace": tmp_path / "workspace", "model_dir": model_dir, "scored_images": 0}
    server = start_server(phantom_studies.directory, **where)
    series = phantom_studies.series[0]
    assert put_label(server, series.series_uid, series.truth).status_code == 200
    answer = requests.post(f"{server.url}/train/lung_tumor", json={**TRAINING, "max_epochs": 30})
    assert answer.status_code == 200, detail(answer)
    wait_for(lambda: train_stats(server).get("total_epochs") == 30, "the training", seconds=600)
    runs = where["workspace"] / "models" / "runs"
    wait_for(lambda: runs.exists() and any(runs.iterdir()), "the folder of the training", seconds=600)
    (training,) = psutil.Process(server.process.pid).children(recursive=True)
    os.kill(server.process.pid, signal.SIGKILL)
    training.wait(timeout=15)
    assert not training.is_running()
    (run,) = runs.iterdir()

    server = start_server(phantom_studies.directory, **where)
    wait_for(lambda: requests.get(f"{server.url}/train/").ok, "the training started again", seconds=600)
    assert requests.get(f"{server.url}/train/").json()["request"]["max_epochs"] == 30
    errors = requests.get(f"{server.url}/status/data").json()["errors"]
    assert any("was interrupted" in error["message"] for error in errors)
    assert serving(server) == "pretrained"
    assert not run.exists()
    requests.delete(f"{server.url}/train/")
