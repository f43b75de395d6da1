"""LungTumorTrainTask on phantoms: learning, the start from the model in use, and no weights of a diverged training."""

import numpy as np
import pytest
import torch

from lib.errors import UserError
from lib.networks import AttentionResidualUNet
from lib.publishing import ModelStore
from lib.trainers import LungTumorTrainTask
from tests.support.train_task import Labelled, record_losses, ship, task, weights_of


def test_new_weights_are_averaged_with_those_before(train_info, chests, tmp_path):
    states = {}
    for share, prior in ((1.0, 0), (0.25, 3)):
        folder = tmp_path / str(share)
        folder.mkdir()
        train = task(train_info, folder)
        ship(train, folder)
        request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1, "prior_patients": prior, "folds": 0}
        train(request, Labelled(chests[:1]))
        store = ModelStore(folder)
        states[share] = weights_of(store.weights(store.manifests()[-1]["version"]))
    for name, start in train._network.state_dict().items():
        if start.is_floating_point():
            torch.testing.assert_close(states[0.25][name], 0.75 * start + 0.25 * states[1.0][name])


@pytest.mark.slow
def test_training_lowers_the_loss(train_info, chests, tmp_path):
    trainer = task(train_info, tmp_path)
    losses = record_losses(trainer)
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 15, "folds": 0, "learning_rate": 0.01}
    trainer(request, Labelled(chests))
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])


@pytest.mark.slow
def test_same_seed_gives_the_same_weights(train_info, chests, tmp_path):
    states = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        task(train_info, tmp_path / name)(
            {"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(chests[:1])
        )
        store = ModelStore(tmp_path / name)
        weights = torch.load(store.weights(store.manifests()[-1]["version"]), weights_only=True)
        states.append(weights.get("model", weights))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.slow
def test_training_starts_from_the_model_in_use(train_info, chests, tmp_path):
    torch.manual_seed(1)
    served = AttentionResidualUNet(**train_info["network"])
    torch.save({"model": served.state_dict()}, tmp_path / "served.pt")
    store = ModelStore(tmp_path)
    store.serve(store.keep(tmp_path / "served.pt", {}))
    # Nothing is learnt at this rate.
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1, "learning_rate": 1e-30, "folds": 0}
    task(train_info, tmp_path)(request, Labelled(chests))
    manifest = store.manifests()[-1]
    assert manifest["parent"] == store.manifests()[0]["version"]
    kept = weights_of(store.weights(manifest["version"]))
    assert all(torch.allclose(kept[name], value, 0, 1e-20) for name, value in served.named_parameters())


def test_c9_s7_diverged_training_fails_and_keeps_nothing(train_info, chests, tmp_path, monkeypatch):
    """C9, S7: non-finite weights are never kept."""
    no_number = lambda prediction, label: prediction.sum() * float("nan")  # noqa: E731
    monkeypatch.setattr(LungTumorTrainTask, "loss_function", lambda self, context: no_number)
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1}
    for labelled in (chests[:1], chests):
        with pytest.raises(UserError, match="diverged"):
            task(train_info, tmp_path)(request, Labelled(labelled))
    assert ModelStore(tmp_path).manifests() == []


@pytest.mark.slow
def test_s14_s15_training_starts_from_the_parent_of_a_damaged_model(train_info, chests, tmp_path):
    """S14, S15: also with damaged state files and the folder of a killed run."""
    train = task(train_info, tmp_path)
    store = ModelStore(tmp_path)
    torch.save({"model": train._network.state_dict()}, tmp_path / "pretrained_lung_tumor.pt")
    version = store.keep(tmp_path / "pretrained_lung_tumor.pt", {"folds": {"1.2.1": 4}})
    store.serve(version)
    store.weights(version).write_bytes(b"damaged")
    for name in ("training.json", "folds.json", "train_stats.json", "serving.json"):
        (tmp_path / name).write_text("[")
    (tmp_path / "runs" / "killed").mkdir(parents=True)
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(chests))
    manifest = ModelStore(tmp_path).manifests()[-1]
    assert stats["version"] == manifest["version"]
    assert (manifest["parent"], manifest["compared_with"]) == ("pretrained", "pretrained")
    assert manifest["folds"]["1.2.1"] == 4
    assert not (tmp_path / "runs" / "killed").exists()
