"""Train task of the model for clicks on phantoms: learning near the parent, comparison by clicks, publication."""

import json

import numpy as np
import pytest
import torch

from lib.clicks.lesion_image import LesionImage
from lib.clicks.model import ClickModel
from lib.errors import UserError
from lib.losses import HybridLoss
from lib.publishing import ModelStore
from lib.publishing.click_measurement import ClickScores, score_clicks, with_clicks
from lib.publishing.folds import Folds
from lib.publishing.gate import Rule, judge
from lib.publishing.shipped_patients import ShippedPatients
from lib.publishing.stores import CLICKS, SHIPPED_FILES
from lib.settings import load_info
from lib.trainers import LungTumorClickTrainTask, lung_tumor_click
from lib.trainers.unfinished_run import UnfinishedRun
from lib.training.click_tuning import tune_clicks
from lib.training.fixed_statistics import train_with_fixed_statistics
from tests.support.click_models import bright_predictor, painted
from tests.support.click_models import grid_in_order as grid
from tests.support.train_task import Labelled, labelled_chests

SHIPPED = SHIPPED_FILES[CLICKS]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Return two labelled chests with the checksums of their labels."""
    chests = labelled_chests(tmp_path_factory.mktemp("labelled"), (1, 2), lesions=3)
    return [one | {"label_sha256": str(number)} for number, one in enumerate(chests, 1)]


@pytest.fixture
def info():
    info = load_info()
    info["clicks"] = {"channels": [4, 8], "cube_voxels": 16, "cube_voxel_mm": 4.0}
    info["config"]["train_clicks"] |= {"click_steps": 4, "click_learning_rate": 0.01}
    return info


@pytest.fixture
def train(info, tmp_path, monkeypatch):
    """Return the train task over shipped weights; its generated chests are replaced by small ones."""
    model = ClickModel.from_info(info)
    torch.manual_seed(0)
    torch.save({"model": model.network().state_dict()}, tmp_path / SHIPPED)
    monkeypatch.setattr(lung_tumor_click, "click_phantom", small_phantom)
    store = ModelStore(tmp_path, tmp_path / SHIPPED)
    folds = Folds(tmp_path / "folds.json", ShippedPatients(tmp_path / SHIPPED))
    return LungTumorClickTrainTask(model, info, store, folds, UnfinishedRun(tmp_path / "training.json"))


def small_phantom(number):
    image, mask = painted(grid((0, 1, 2), (False, False, False)))
    return LesionImage(f"phantom-{number}", f"phantom-{number}", image, mask[None])


def test_each_of_two_patients_is_left_out_of_a_training_that_is_measured_on_it(train, cases, tmp_path):
    stats = train({}, Labelled(cases))
    store = ModelStore(tmp_path, tmp_path / SHIPPED)
    manifest = store.manifests()[-1]
    assert stats["version"] == manifest["version"]
    assert stats["epoch"] == stats["total_epochs"] == 3, "three trainings of less than 25 steps"
    assert manifest["trained_on"] == ["1.2.1", "1.2.2"]
    assert (manifest["parent"], manifest["compared_with"]) == ("pretrained", "pretrained")
    assert manifest["labels"] == {"1.2.1": "1", "1.2.2": "2"}
    assert store.fold_weights(manifest["version"]).keys() == set(manifest["folds"].values()) == {0, 1}
    verdict = manifest["verdict"]
    for model in ("candidate", "published"):
        assert verdict[model]["patients"].keys() == {"1.2.1", "1.2.2"}
        assert all(one["lesions"] >= 1 for one in verdict[model]["patients"].values())
    assert "Dice after one click" in stats["verdict"]["reason"]
    assert store.serving_version() == "pretrained", "two patients are never enough"
    parent, tuned = (
        torch.load(path, weights_only=True)["model"]
        for path in (tmp_path / SHIPPED, store.weights(manifest["version"]))
    )
    moved = [name for name in parent if not torch.equal(parent[name], tuned[name])]
    assert moved
    assert not [name for name in moved if "running" in name], "the statistics are the parent's"
    assert not (tmp_path / "runs").exists() or not [*(tmp_path / "runs").iterdir()]


def test_clicks_of_users_are_learned_and_invalid_ones_do_no_harm(train, cases, tmp_path, monkeypatch):
    learned = []

    def tune(*args, **kwargs):
        learned.append(args[1])
        return tune_clicks(*args, **kwargs)

    monkeypatch.setattr(lung_tumor_click, "tune_clicks", tune)
    clicks = {"1.2.1": [[3, 2, 1], [95, 95, 11], [9999, 0, 2**31 - 1]]}
    train({"click_steps": 1}, Labelled(cases, clicks=clicks))
    by_patient = {image.patient: image.clicks.tolist() for image in (*learned[-1].whole, *learned[-1].crops)}
    assert by_patient == {"1.2.1": [[1, 2, 3], [11, 95, 95], [2**31 - 1, 0, 9999]], "1.2.2": []}


def test_candidate_of_one_patient_is_kept_for_a_person(train, cases, tmp_path):
    stats = train({"click_steps": 1}, Labelled(cases[:1]))
    store = ModelStore(tmp_path, tmp_path / SHIPPED)
    assert stats["verdict"]["publish"] is False
    assert "one labelled patient" in stats["verdict"]["reason"]
    assert store.serving_version() == "pretrained"
    store.serve(stats["version"])
    assert store.previous_version() == "pretrained"


def test_invalid_settings_are_refused(train, cases, tmp_path):
    with pytest.raises(UserError, match="click_steps must be"):
        train({"click_steps": 0}, Labelled(cases))


def test_diverged_training_keeps_nothing(train, cases, tmp_path, monkeypatch):
    no_number = lambda self, prediction, label: prediction.sum() * float("nan")  # noqa: E731
    monkeypatch.setattr(HybridLoss, "forward", no_number)
    with pytest.raises(UserError, match="diverged"):
        train({"click_steps": 2}, Labelled(cases[:1]))
    assert ModelStore(tmp_path, tmp_path / SHIPPED).manifests() == []


def test_version_is_compared_on_request(train, cases, tmp_path):
    store = ModelStore(tmp_path, tmp_path / SHIPPED)
    version = store.keep(tmp_path / SHIPPED, {"uploaded_by": "ada"})
    stats = train({"compare": version}, Labelled(cases))
    verdict = store.manifests()[-1]["verdict"]
    assert verdict["reason"] == stats["verdict"]["reason"]
    assert verdict["candidate"] == verdict["published"]
    assert store.serving_version() == "pretrained"


def test_shipped_patients_do_not_judge(train, cases, tmp_path):
    (tmp_path / SHIPPED).with_suffix(".json").write_text(json.dumps({"trained_on": ["1.2.1", "1.2.2"]}))
    stats = train({"click_steps": 1}, Labelled(cases))
    assert stats["verdict"]["publish"] is False
    assert "shipped weights were trained on every labelled patient" in stats["verdict"]["reason"]


RULE = Rule(error=0.05, false_finding_weight=0.02, dice_margin=0.005, collapse=0.2)


def patients(*dice):
    scores = {}
    for number, (one, three) in enumerate(dice):
        scores[f"P{number}"] = ClickScores(1, 1, 1, (one + three) / 2, 0.0, 100, one, three)
    return scores


def test_verdict_is_about_the_dice_after_one_and_three_clicks():
    before = patients(*[(0.6, 0.8)] * 5)
    better = with_clicks(judge(patients(*[(0.7, 0.8)] * 5), before, RULE))
    assert better.publish
    assert "Dice 0.70 → 0.75. Dice after one click 0.600 → 0.700, after three 0.800 → 0.800." in better.reason
    assert "false findings" not in better.reason
    assert better.as_dict()["candidate"]["patients"]["P0"]["after_three"] == 0.8
    assert not judge(patients(*[(0.6, 0.7)] * 5), before, RULE).publish
    assert not judge(patients(*[(0.9, 0.9)] * 4, (float("nan"), 0.9)), before, RULE).publish


def test_scores_are_means_over_the_lesions_of_a_patient():
    whole, mask = painted(grid((0, 1, 2), (False, False, False)))
    healthy = LesionImage("healthy", "P", whole, np.zeros_like(mask)[None])
    scores = score_clicks(bright_predictor(), [LesionImage("image", "P", whole, mask[None]), healthy])
    assert (scores.scans, scores.lesions, scores.found, scores.false_findings) == (2, 1, 1, 0)
    assert scores.after_one > 0.9
    assert scores.dice == (scores.after_one + scores.after_three) / 2
    assert score_clicks(bright_predictor(), [healthy]) is None, "there is nothing to point at"


def test_statistics_of_batch_normalisation_do_not_change_while_the_weights_learn():
    network = ClickModel((4, 8), 16, 1.0, {}).network()
    train_with_fixed_statistics(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(2, 4, 16, 16, 16)).sum().backward()
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is not None for parameter in network.parameters())
