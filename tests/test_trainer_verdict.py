"""LungTumorTrainTask on phantoms: which patients a candidate is measured on, and the verdict."""

import json
import sys
from pathlib import Path

import pytest
import torch

from lib.configs.lung_tumor import LungTumor
from lib.errors import UserError
from lib.inference import WeightsFile
from lib.publishing import ModelStore
from lib.publishing.gate import PatientScores
from lib.publishing.version_files import PRETRAINED_FILE
from lib.settings import Settings
from lib.trainers import LungTumorTrainTask
from lib.trainers.training_progress import TrainingProgress
from lib.trainers.unfinished_run import UnfinishedRun
from tests.support.train_task import Labelled, ship, task, weights_of


def test_each_of_two_patients_is_left_out_of_a_training_that_is_measured_on_it(
    train_info, chests, tmp_path, monkeypatch
):
    told = []
    write = TrainingProgress.write
    monkeypatch.setattr(TrainingProgress, "write", lambda self, **more: (told.append(more), write(self, **more)))
    train = task(train_info, tmp_path)
    ship(train, tmp_path)
    stats = train({"model": "lung_tumor", "device": "cpu"}, Labelled(chests))
    store = ModelStore(tmp_path)
    (manifest,) = store.manifests()
    assert stats["epoch"] == stats["total_epochs"] == 6, "three trainings of two epochs"
    assert manifest["trained_on"] == ["1.2.1", "1.2.2"]
    assert sorted(manifest["folds"].values()) == [0, 1]
    assert store.fold_weights(manifest["version"]).keys() == {0, 1}
    verdict = manifest["verdict"]
    assert verdict["candidate"]["patients"].keys() == verdict["published"]["patients"].keys() == {"1.2.1", "1.2.2"}
    assert verdict["reason"] == stats["verdict"]["reason"]
    assert store.serving_version() == "pretrained", "two patients are never enough"
    measured = [one for one in told if "measured" in one]
    assert [(one["measured"], one["to_measure"]) for one in measured] == [(number, 4) for number in range(1, 5)]
    dice = [one["dice"] for one in verdict["candidate"]["patients"].values()]
    assert measured[-1]["measured_dice"] == pytest.approx(sum(dice) / 2)
    assert stats["seconds_left"] == 0
    assert not any(name.split(".")[0] in ("tensorboard", "mlflow") for name in sys.modules)


@pytest.mark.parametrize(("gain", "outcome"), [(0.02, "in use"), (-0.1, "refused")])
def test_candidate_is_put_into_use_only_if_it_is_better(train_info, chests, tmp_path, monkeypatch, gain, outcome):
    def measured(weights, *_, **__):
        of_candidate = all(isinstance(one, WeightsFile) for one in weights.values())
        dice = 0.8 + gain * of_candidate
        return {f"P{number}": PatientScores(1, 1, 1, dice, 1.0, 1000) for number in range(5)}

    monkeypatch.setattr("lib.trainers.conclusion.measure", measured)
    train = task(train_info, tmp_path)
    ship(train, tmp_path)
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(chests))
    store = ModelStore(tmp_path)
    assert stats["verdict"]["outcome"] == outcome
    assert store.serving_version() == (stats["version"] if outcome == "in use" else "pretrained")
    assert [entry["why"] for entry in store.history()] == [stats["verdict"]["reason"]] * (outcome == "in use")


def test_version_that_a_user_chooses_during_the_comparison_stays(train_info, chests, tmp_path, monkeypatch):
    train = task(train_info, tmp_path)
    ship(train, tmp_path)
    store = ModelStore(tmp_path)
    chosen = store.keep(store.weights("pretrained"), {})

    def measured(weights, *_, **__):
        store.serve(chosen, by="Dr. Reader")
        dice = 0.9 if all(isinstance(one, WeightsFile) for one in weights.values()) else 0.8
        return {f"P{number}": PatientScores(1, 1, 1, dice, 1.0, 1000) for number in range(5)}

    monkeypatch.setattr("lib.trainers.conclusion.measure", measured)
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(chests))
    assert store.serving_version() == chosen
    assert stats["verdict"]["outcome"] == "kept"
    assert f"version {chosen} was put into use while" in stats["verdict"]["reason"]


def test_weights_of_a_fold_never_see_its_patients(train_info, chests, tmp_path, monkeypatch):
    """Also in the second training, which starts from the shipped weights again."""
    seen = {}
    original = LungTumorTrainTask.partition_datalist

    def recorded(self, context):
        train, rest = original(self, context)
        start = torch.load(self.load_path(context.output_dir), weights_only=True)["model"]["head.conv.bias"]
        seen.setdefault(self._part.fold, []).append(([case["image_id"] for case in train], start))
        return train, rest

    monkeypatch.setattr(LungTumorTrainTask, "partition_datalist", recorded)
    train = task(train_info, tmp_path)
    ship(train, tmp_path)
    store = ModelStore(tmp_path)
    for _ in range(2):
        train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(chests))
        store.serve(store.manifests()[-1]["version"])
    folds = store.manifests()[0]["folds"]
    for patient, fold in folds.items():
        assert [names for names, _ in seen[fold]] == [[other for other in folds if other != patient]] * 2
        shipped = train._network.state_dict()["head.conv.bias"]
        assert all(torch.equal(start, shipped) for _, start in seen[fold])
    assert [sorted(names) for names, _ in seen[None]] == [sorted(folds)] * 2


def test_c9_one_patient_trains_unmeasured_and_is_not_put_into_use(train_info, chests, tmp_path):
    """C9: a person decides, with what it marks on scans without a label; the patient can still be measured on later."""
    train = task(train_info, tmp_path)
    ship(train, tmp_path)
    unlabelled = {Path(chests[1]["image"]): "P2"}
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(chests[:1], unlabelled))
    store = ModelStore(tmp_path)
    (manifest,) = store.manifests()
    assert store.serving_version() == "pretrained"
    assert stats["version"] == manifest["version"]
    assert "not measured, because one labelled patient cannot be" in stats["verdict"]["reason"]
    assert "Marked on scans without a label: P2 " in stats["verdict"]["reason"]
    assert (stats["epoch"], stats["total_epochs"]) == (1, 1)
    assert 0 <= stats["train"]["metrics"]["train_mean_dice"] <= 1
    kept = weights_of(store.fold_weights(manifest["version"])[manifest["folds"]["1.2.1"]])
    assert all(torch.equal(kept[name], value) for name, value in train._network.state_dict().items())


def test_s7_version_is_compared_on_request(train_info, chests, tmp_path):
    """S7: an upload is compared like any candidate, but not put into use."""
    train = task(train_info, tmp_path)
    ship(train, tmp_path)
    store = ModelStore(tmp_path)
    version = store.keep(tmp_path / "pretrained_lung_tumor.pt", {"uploaded_by": "ada"})
    with pytest.raises(UserError, match="no model version 'other'"):
        train({"compare": "other"}, Labelled(chests))
    stats = train({"compare": version}, Labelled(chests))
    verdict = store.manifests()[-1]["verdict"]
    assert verdict["reason"] == stats["verdict"]["reason"]
    assert verdict["outcome"] == "kept"
    assert verdict["candidate"] == verdict["published"]
    assert verdict["candidate"]["patients"].keys() == {"1.2.1", "1.2.2"}
    assert store.serving_version() == "pretrained"


def test_c10_gate_compares_on_no_patient_of_the_shipped_weights(train_info, chests, tmp_path):
    """C10: whichever of the two patients the shipped weights saw, the other one judges, also on request."""
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1}
    for shown, judge in (("1.2.1", "1.2.2"), ("1.2.2", "1.2.1")):
        folder = tmp_path / shown
        folder.mkdir()
        train = task(train_info, folder)
        ship(train, folder, shown)
        verdict = train(request, Labelled(chests))["verdict"]
        assert verdict["candidate"]["patients"].keys() == verdict["published"]["patients"].keys() == {judge}
        version = ModelStore(folder).keep(folder / "pretrained_lung_tumor.pt", {"uploaded_by": "ada"})
        assert train({"compare": version}, Labelled(chests))["verdict"]["candidate"]["patients"].keys() == {judge}


def test_c10_app_reads_the_patients_beside_its_shipped_weights(tmp_path):
    """C10: of ``model_dir``, also before they are in use."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pretrained_lung_tumor.json").write_text(json.dumps({"trained_on": ["1.2.1"]}))
    (tmp_path / "dicom").mkdir()
    app = Settings.from_conf(
        str(tmp_path / "dicom"),
        {"workspace": str(tmp_path / "work"), "model_dir": str(tmp_path / "model")},
    )
    model = LungTumor()
    model.init(
        "lung_tumor",
        str(app.models_dir),
        {},
        None,
        app=app,
        store=ModelStore(app.models_dir, app.model_dir / PRETRAINED_FILE),
        unfinished=UnfinishedRun(tmp_path / "training.json"),
    )
    assert model.trainer()._folds.assign(["1.2.1", "1.2.2"], 5).keys() == {"1.2.2"}


def test_c10_nobody_judges_if_the_shipped_weights_saw_everybody(train_info, chests, tmp_path):
    """C10: the candidate waits for a user."""
    train = task(train_info, tmp_path)
    ship(train, tmp_path, "1.2.1", "1.2.2")
    store = ModelStore(tmp_path)
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(chests))
    assert stats["verdict"]["publish"] is False
    assert "shipped weights were trained on every labelled patient" in stats["verdict"]["reason"]
    assert store.manifests()[-1]["folds"] == {}
    assert store.serving_version() == "pretrained"
    with pytest.raises(UserError, match="nothing to compare on"):
        train({"compare": stats["version"]}, Labelled(chests))


def test_c9_candidate_is_not_judged_against_unmeasurable_scores(train_info, chests, tmp_path):
    """C9: the output of the model in use is NaN; nothing can be said about the new version."""
    train = task(train_info, tmp_path)
    torch.nn.init.constant_(train._network.head.conv.bias, float("nan"))
    torch.save({"model": train._network.state_dict()}, tmp_path / "pretrained_lung_tumor.pt")
    torch.nn.init.constant_(train._network.head.conv.bias, 0)
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1, "pretrained": False}
    stats = train(request, Labelled(chests))
    assert stats["verdict"]["publish"] is False
    assert "the output of the model in use is not finite" in stats["verdict"]["reason"]
    assert stats["verdict"]["published"]["dice"] is None
    assert len(ModelStore(tmp_path).manifests()) == 1
