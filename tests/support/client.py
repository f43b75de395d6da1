"""What viewers ask of the server."""

import json
from pathlib import Path

import numpy as np
import requests
import SimpleITK as sitk

from tools.support.processes import ServerProcess
from tools.support.waiting import wait_for

FAST_TRAINING = {"max_epochs": 2, "patches_per_volume": 8, "patch_size": 64, "val_split": 0.0}


def detail(response: requests.Response) -> str:
    """The sentence of a refusal; a traceback is never one."""
    assert "Traceback" not in response.text
    return response.json()["detail"]


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


def volume_of(response: requests.Response, path: Path) -> sitk.Image:
    assert response.status_code == 200, response.text
    path.write_bytes(response.content)
    return sitk.ReadImage(str(path))


def same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    return one.GetSize() == other.GetSize() and all(
        np.allclose(getattr(one, name)(), getattr(other, name)(), atol=1e-4)
        for name in ("GetSpacing", "GetOrigin", "GetDirection")
    )


def train(server: ServerProcess, **params) -> dict:
    """Train to the end; the last epoch is in the statistics."""
    settings = {**FAST_TRAINING, **params}
    answer = requests.post(f"{server.url}/train/lung_tumor", json=settings)
    assert answer.status_code == 200, answer.text
    task = wait_for(lambda: ended_task(server, "train"), "the end of a training", seconds=800)
    assert task["status"] == "DONE", "\n".join(task["details"])
    stats = train_stats(server)
    assert 1 <= stats["epoch"] <= stats["total_epochs"] == settings["max_epochs"]
    return task


def ended_task(server: ServerProcess, kind: str) -> dict | None:
    """Return the task that ran last, None while it runs."""
    task = requests.get(f"{server.url}/{kind}/").json()
    return None if task["status"] in ("SUBMITTED", "RUNNING") else task


def use_kept(server: ServerProcess) -> str:
    """Let the version kept last serve, as Use it in the panel does; returns it."""
    kept = requests.get(f"{server.url}/viewer/status").json()["kept"]
    answer = serve(server, kept["version"])
    assert answer.status_code == 200, answer.text
    return answer.json()["model_version"]


def serve(server: ServerProcess, version: str, by: str = "") -> requests.Response:
    return requests.post(f"{server.url}/model/lung_tumor/serve", params={"version": version, "by": by})


def train_stats(server: ServerProcess) -> dict:
    """What the server says of the training that runs or ran last."""
    return requests.get(f"{server.url}/info/").json()["train_stats"]["lung_tumor"]
