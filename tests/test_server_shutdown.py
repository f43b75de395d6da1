"""A busy server ends cleanly within seconds of a signal."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests
import torch

from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_dicom_series, write_volume
from lib.settings import load_info
from tests.support.client import put_label
from tests.support.weights import model_dir_with
from tools.support.processes import ServerProcess
from tools.support.waiting import wait_for

DEADLINE = 30  # seconds to end on a loaded machine; on an idle one it takes one to five
WAIT = 180
ENDLESS = {"max_epochs": 10_000, "patches_per_volume": 2, "patch_size": 32, "folds": 0}


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> tuple[Path, str, Path]:
    """Create a folder with a scan large enough for a long inference; return it with its series UID and its mask."""
    root, grid = tmp_path_factory.mktemp("scan"), Acquisition(shape=(160, 256, 256), spacing=(2.0, 1.4, 1.4))
    hu, mask, affine = chest_volume(3, lesions=draw_lesions(3, 2, diameters=(20, 30)), acquisition=grid)
    uid = write_dicom_series(root / "dicom" / "P", hu, affine, patient_id="P")
    return root / "dicom", uid, write_volume(root / "mask.nii.gz", mask, affine)


@pytest.fixture
def started(start_server, scan, tmp_path):
    """Start servers with an untrained model, which takes as long as a trained one."""
    torch.save(AttentionResidualUNet(**load_info()["network"]).state_dict(), tmp_path / "weights.pt")
    model_dir = model_dir_with(tmp_path / "weights.pt", tmp_path / "model")

    def start(**conf) -> ServerProcess:
        return start_server(scan[0], rescan_seconds=1, model_dir=model_dir, **{"scored_images": 0, **conf})

    return start


def end(server: ServerProcess, number: int) -> None:
    """Send SIGTERM (service manager) or SIGINT (Ctrl-C in a terminal) and check that the server ends cleanly."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    if number == signal.SIGINT:
        os.killpg(server.process.pid, number)
    else:
        server.process.send_signal(number)
    assert server.process.wait(DEADLINE) in (0, -number)
    _, alive = psutil.wait_procs(children, timeout=DEADLINE)
    assert not alive
    log = Path(server.log.parents[1], "workspace", "logs", "app.log").read_text()
    for text in (server.log_text(), log):
        assert "Traceback" not in text, text[-3000:]
        assert "Fatal Python error" not in text


def test_shutdown_during_an_inference(started, scan):
    server, answers = started(), []

    def infer() -> None:
        answers.append(requests.post(f"{server.url}/infer/lung_tumor", params={"image": scan[1], "output": "json"}))

    client = threading.Thread(target=infer, daemon=True)
    client.start()
    status = f"{server.url}/status/data"
    wait_for(lambda: requests.get(status).json()["inferences"]["running"], "the inference", seconds=WAIT)
    time.sleep(1)
    end(server, signal.SIGTERM)
    client.join(WAIT)
    assert answers[0].status_code == 503
    assert "is shutting down" in answers[0].json()["detail"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_during_a_training_keeps_its_note_for_a_restart(started, scan, number, tmp_path):
    workspace = tmp_path / "server-1" / "workspace"
    server = started()
    assert put_label(server, scan[1], scan[2]).status_code == 200
    assert requests.post(f"{server.url}/train/lung_tumor", json=ENDLESS).status_code == 200
    wait_for((workspace / "training.json").exists, "the note of the training", seconds=WAIT)
    task = f"{server.url}/train/"
    wait_for(lambda: requests.get(task).json()["status"] == "RUNNING", "the training", seconds=WAIT)
    end(server, number)
    assert (workspace / "training.json").exists(), "the note of the interrupted training"


def test_shutdown_while_images_are_scored(started, scan):
    server = started(scored_images=5)
    volumes = server.log.parents[1] / "workspace" / "cache" / "volumes"
    wait_for(lambda: [*volumes.rglob("*.nrrd")], "the volume that is scored", seconds=WAIT)
    time.sleep(2)
    end(server, signal.SIGINT)


def test_shutdown_while_a_folder_is_indexed(started, scan):
    server = started()
    source = next((scan[0] / "P").iterdir()).read_bytes()
    (scan[0] / "copies").mkdir()
    for number in range(5000):
        (scan[0] / "copies" / f"{number}.dcm").write_bytes(source)
    info = f"{server.url}/info/"
    wait_for(lambda: "files_to_index" in requests.get(info).json()["datastore"], "the indexing", seconds=WAIT)
    end(server, signal.SIGTERM)
