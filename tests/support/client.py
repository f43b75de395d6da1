"""Requests that viewers send to the server."""

import json
from pathlib import Path

import numpy as np
import requests
import SimpleITK as sitk

from lib.phantoms import DemoSeries
from tools.support.processes import ServerProcess
from tools.support.waiting import wait_for

FAST_TRAINING = {"max_epochs": 2, "patches_per_volume": 8, "patch_size": 64, "folds": 0}


def detail(response: requests.Response) -> str:
    """Return the message of an error response, which never contains a traceback."""
    assert "Traceback" not in response.text
    return response.json()["detail"]


def wait_until_indexed(server: ServerProcess) -> None:
    """Wait until all files of the studies folder are indexed, which takes long on a busy machine."""

    def indexed() -> bool:
        return "files_to_index" not in requests.get(f"{server.url}/status/data").json()["datastore"]

    wait_for(indexed, "the index of the studies", seconds=300)


def put_label(server: ServerProcess, image: str, path: Path, **query) -> requests.Response:
    with path.open("rb") as file:
        files = {"label": (path.name, file)}
        return requests.put(f"{server.url}/datastore/label", params={"image": image, **query}, files=files)


def infer(server: ServerProcess, uid: str, output: str = "image", **params) -> requests.Response:
    return requests.post(
        f"{server.url}/infer/lung_tumor",
        params={"image": uid, "output": output},
        data={"params": json.dumps(params)},
    )


def response_volume(response: requests.Response, path: Path) -> sitk.Image:
    assert response.status_code == 200, response.text
    path.write_bytes(response.content)
    return sitk.ReadImage(str(path))


def mask_of(server: ServerProcess, series: DemoSeries, path: Path) -> np.ndarray:
    """Return the mask of a scan by the model in use, (slice, row, column); ``path`` is the file of the answer."""
    answer = infer(server, series.series_uid, result_extension=".nrrd")
    return sitk.GetArrayFromImage(response_volume(answer, path))


def same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    return one.GetSize() == other.GetSize() and all(
        np.allclose(getattr(one, name)(), getattr(other, name)(), atol=1e-4)
        for name in ("GetSpacing", "GetOrigin", "GetDirection")
    )


def train(server: ServerProcess, **params) -> dict:
    """Train to completion and return the finished task."""
    settings = {**FAST_TRAINING, **params}
    answer = requests.post(f"{server.url}/train/lung_tumor", json=settings)
    assert answer.status_code == 200, answer.text
    task = wait_for(lambda: finished_task(server, "train"), "the end of a training", seconds=800)
    assert task["status"] == "DONE", "\n".join(task["details"])
    stats = train_stats(server)
    assert stats["epoch"] == stats["total_epochs"] >= settings["max_epochs"]
    return task


def finished_task(server: ServerProcess, kind: str) -> dict | None:
    """Return the most recent task, or None while it is running."""
    task = requests.get(f"{server.url}/{kind}/").json()
    return None if task["status"] in ("SUBMITTED", "RUNNING") else task


def serve_kept_version(server: ServerProcess) -> str:
    """Serve the version kept last, like the panel's Use it button, and return its name."""
    kept = versions_shown(server.url)["kept"]
    answer = serve(server, kept["version"])
    assert answer.status_code == 200, answer.text
    return answer.json()["model_version"]


def versions_shown(url: str) -> dict:
    """Return what the panel shows of the versions of the automatic model."""
    versions = requests.get(f"{url}/viewer/status").json()["versions"]
    return next(one for one in versions if one["model"] == "lung_tumor")


def serve(server: ServerProcess, version: str, by: str = "") -> requests.Response:
    return requests.post(f"{server.url}/model/lung_tumor/serve", params={"version": version, "by": by})


def train_stats(server: ServerProcess) -> dict:
    """Return the statistics of the current or most recent training."""
    return requests.get(f"{server.url}/info/").json()["train_stats"]["lung_tumor"]
