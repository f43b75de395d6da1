"""Background scoring in the real server, used for the next sample and for reviews."""

from pathlib import Path

import requests
import torch

from lib.networks import AttentionResidualUNet
from lib.settings import load_info
from tests.support.client import finished_task, put_label
from tests.support.small_patients import write_small_patients
from tests.support.weights import model_dir_with
from tools.support.waiting import wait_for


def wait_for_scores(workspace: Path, count: int) -> None:
    scores = workspace / "cache" / "scores"
    wait_for(lambda: len([*scores.rglob("*.json")]) >= count, f"{count} scores in {scores}", seconds=600)


def next_sample(server, strategy="uncertainty", **params) -> dict:
    answer = requests.post(f"{server.url}/activelearning/{strategy}", json=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_server_scores_in_the_background_and_offers_reviews_in_the_end(start_server, tmp_path):
    torch.save(AttentionResidualUNet(**load_info()["network"]).state_dict(), tmp_path / "weights.pt")
    model_dir, workspace = model_dir_with(tmp_path / "weights.pt", tmp_path / "model"), tmp_path / "workspace"
    series = write_small_patients(tmp_path, 4)
    server = start_server(tmp_path / "dicom", workspace=workspace, model_dir=model_dir, scored_images=2, views=1)
    wait_for_scores(workspace, 2)
    offered = [next_sample(server, client_id=user) for user in ("ada", "bob")]
    assert offered[0]["id"] != offered[1]["id"]
    assert offered[0]["score"] >= offered[1]["score"]
    assert "review" not in offered[0]

    assert requests.post(f"{server.url}/scoring/uncertainty").status_code == 200
    task = wait_for(lambda: finished_task(server, "scoring"), "the end of the scoring", seconds=600)
    assert task["status"] == "DONE", "\n".join(task["details"])

    for one in series:
        assert put_label(server, one.series_uid, one.truth).status_code == 200
    reviewed = [next_sample(server, "random", client_id="ada") for _ in series]
    assert all(sample["review"] is True and sample["StudyInstanceUID"] for sample in reviewed)
    # C11: the image offered to bob is available again since its label was submitted.
    assert {sample["id"] for sample in reviewed} == {one.series_uid for one in series}
