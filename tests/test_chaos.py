"""Random kills of the real server, and detection of lost data by the chaos tool."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import requests

from lib.datastore.label_store import LabelStore
from lib.phantoms import write_volume
from lib.storage.integrity import DamagedFileError
from tools.chaos.kill_campaign import KillCampaign
from tools.chaos.state_damage import damage_state, unreported_damage
from tools.chaos.submissions import Submissions
from tools.support.sandbox import GRID, Sandbox


@pytest.mark.server
def test_six_kills_lose_nothing(tmp_path):
    summary = KillCampaign(tmp_path / "chaos", kills=6, seed=0, report=print).run()
    assert summary["violations"] == []
    assert summary["kills"] == 6
    assert summary["labels_accepted"] > 0
    assert "labels on their way" in summary["kills_by_phase"]
    assert any(phase.startswith("a training") for phase in summary["kills_by_phase"])
    assert any(phase.startswith("a version") for phase in summary["kills_by_phase"])
    assert sum(summary["files_damaged"].values()) > 0
    assert json.loads((tmp_path / "chaos" / "summary.json").read_text())["violations"] == []


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path, ("1.2.3",))


@pytest.fixture
def submissions(sandbox, monkeypatch):
    """Return three labels accepted by a fake server that is only a label store."""
    store = LabelStore(sandbox.workspace / "labels")

    def put(url, *, params, data, files, timeout):
        voxels = np.frombuffer(files["label"][1], np.uint8).reshape(GRID.shape)
        info = json.loads(data["params"])
        store.save(params["image"], "final", lambda path: write_volume(path, voxels, GRID.affine), info)
        return SimpleNamespace(status_code=200)

    def get(url, *, params, timeout):
        try:
            return SimpleNamespace(status_code=200, content=store.content(store.latest(params["label"], "final")))
        except DamagedFileError:
            return SimpleNamespace(status_code=409, content=b"")

    monkeypatch.setattr(requests, "put", put)
    monkeypatch.setattr(requests, "get", get)
    sent = Submissions(sandbox)
    for seed in range(3):
        sent.send("", np.random.default_rng(seed))
    assert [*sent.problems("")] == []
    return sent


def test_detects_a_missing_label(sandbox, submissions):
    (sandbox.workspace / "labels" / "1.2.3" / "2.json").unlink()
    (problem,) = submissions.problems("")
    assert "an accepted label is missing" in problem


def test_detects_a_truncated_label(sandbox, submissions):
    path = sandbox.workspace / "labels" / "1.2.3" / "3.nii.gz"
    path.write_bytes(path.read_bytes()[:100])
    problems = [*submissions.problems("")]
    assert any("label 3 of 1.2.3 is not what was sent" in problem for problem in problems)
    assert any("served for 1.2.3 is not the latest" in problem for problem in problems)


def test_detects_a_swapped_label(sandbox, submissions):
    folder = sandbox.workspace / "labels" / "1.2.3"
    (folder / "1.nii.gz").write_bytes((folder / "2.nii.gz").read_bytes())
    (problem,) = submissions.problems("")
    assert "label 1 of 1.2.3 is not what was sent" in problem


def test_detects_unreported_damage(sandbox, submissions):
    rng = np.random.default_rng(0)
    damaged = damage_state(sandbox, rng)
    labels = [one for one in damaged if one.is_label]
    assert labels
    store = LabelStore(sandbox.workspace / "labels")
    named = {str(one.path) for one in store.damage(former=False)}
    assert [*unreported_damage(sandbox, damaged, named)] == []
    assert len([*unreported_damage(sandbox, damaged, set())]) == len(named) > 0
    for one in labels:
        one.put_back()
    assert all("nobody noticed" in problem for problem in unreported_damage(sandbox, damaged, named))
    assert len([*unreported_damage(sandbox, damaged, named)]) == len(labels)
    assert [*submissions.problems("")] == []
