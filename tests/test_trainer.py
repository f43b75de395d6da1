"""LungTumorTrainTask on phantoms: learning, validation on whole volumes, progress, and no need for TensorBoard."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlipd, RandLambdad

from lib.configs.lung_tumor import LungTumor
from lib.errors import UserError
from lib.inference import ModelDescription, WeightsFile
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.publishing import ModelStore
from lib.publishing.folds import Folds
from lib.publishing.gate import PatientScores
from lib.publishing.shipped_patients import ShippedPatients
from lib.publishing.version_files import PRETRAINED_FILE
from lib.settings import Settings, load_info
from lib.trainers import LungTumorTrainTask
from lib.trainers.unfinished_run import UnfinishedRun
from lib.transforms import image_transforms
from lib.transforms.augmentation import patch_transforms

GRID = Acquisition(shape=(12, 96, 96), spacing=(5.0, 4.0, 4.0))


class Labelled:
    """The part of a datastore that training uses."""

    def __init__(self, cases, unlabelled=None):
        self.cases = cases
        self.unlabelled = unlabelled or {}

    def pinned_datalist(self):
        return self.cases

    def some_unlabelled(self, count):
        return self.unlabelled


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    pairs = []
    for seed in (1, 2):
        hu, mask, affine = chest_volume(seed, lesions=draw_lesions(seed, 5, diameters=(20, 40)), acquisition=GRID)
        files = {
            "image": str(write_volume(folder / f"{seed}.nrrd", hu, affine)),
            "label": str(write_volume(folder / f"{seed}.nii.gz", mask, affine)),
        }
        pairs.append(files | {"image_id": f"1.2.{seed}"})
    return pairs


@pytest.fixture
def info():
    """Return the app's settings at a quarter of the resolution and width."""
    info = load_info()
    info["network"]["channels"] = [8, 16, 32]
    info["preprocessing"] |= {"size": [64, 64]}
    info["config"]["train"] |= {"patch_size": 32, "patches_per_volume": 16, "max_epochs": 2}
    return info


def task(info, folder):
    torch.manual_seed(0)
    return LungTumorTrainTask(
        str(folder / "lung_tumor"),
        ModelDescription.from_info(info),
        info,
        ModelStore(folder),
        Folds(folder / "folds.json", ShippedPatients(folder / "pretrained_lung_tumor.pt")),
        UnfinishedRun(folder / "training.json"),
    )


def weights_of(path):
    loaded = torch.load(path, weights_only=True)
    return loaded.get("model", loaded)


def ship(train, folder, *patients):
    """Make shipped weights that were trained on some patients."""
    torch.save({"model": train._network.state_dict()}, folder / "pretrained_lung_tumor.pt")
    (folder / "pretrained_lung_tumor.json").write_text(json.dumps({"trained_on": patients}))


def test_each_of_two_patients_is_left_out_of_a_training_that_is_measured_on_it(info, cases, tmp_path):
    train = task(info, tmp_path)
    ship(train, tmp_path)
    stats = train({"model": "lung_tumor", "device": "cpu"}, Labelled(cases))
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
    assert not any(name.split(".")[0] in ("tensorboard", "mlflow") for name in sys.modules)


@pytest.mark.parametrize(("gain", "outcome"), [(0.02, "in use"), (-0.1, "refused")])
def test_candidate_is_put_into_use_only_if_it_is_better(info, cases, tmp_path, monkeypatch, gain, outcome):
    def measured(weights, folds, cases, model, outputs):
        of_candidate = all(isinstance(one, WeightsFile) for one in weights.values())
        dice = 0.8 + gain * of_candidate
        return {f"P{number}": PatientScores(1, 1, 1, dice, 1.0, 1000) for number in range(5)}

    monkeypatch.setattr("lib.trainers.conclusion.measure", measured)
    train = task(info, tmp_path)
    ship(train, tmp_path)
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases))
    store = ModelStore(tmp_path)
    assert stats["verdict"]["outcome"] == outcome
    assert store.serving_version() == (stats["version"] if outcome == "in use" else "pretrained")
    assert [entry["why"] for entry in store.history()] == [stats["verdict"]["reason"]] * (outcome == "in use")


def test_weights_of_a_fold_never_see_its_patients(info, cases, tmp_path, monkeypatch):
    """Also in the second training, which continues those of the first."""
    seen = {}
    original = LungTumorTrainTask.partition_datalist

    def recorded(self, context):
        train, rest = original(self, context)
        start = torch.load(self.load_path(context.output_dir), weights_only=True)["model"]["head.conv.bias"]
        seen.setdefault(self._part.fold, []).append(([case["image_id"] for case in train], start))
        return train, rest

    monkeypatch.setattr(LungTumorTrainTask, "partition_datalist", recorded)
    train = task(info, tmp_path)
    ship(train, tmp_path)
    store = ModelStore(tmp_path)
    for _ in range(2):
        train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases))
        store.serve(store.manifests()[-1]["version"])
    folds = store.manifests()[0]["folds"]
    for patient, fold in folds.items():
        assert [names for names, _ in seen[fold]] == [[other for other in folds if other != patient]] * 2
        kept = weights_of(store.fold_weights(store.manifests()[0]["version"])[fold])
        assert torch.equal(seen[fold][1][1], kept["head.conv.bias"])
    assert [sorted(names) for names, _ in seen[None]] == [sorted(folds)] * 2


def test_c9_one_patient_trains_unmeasured_and_is_not_put_into_use(info, cases, tmp_path):
    """C9: a person decides, with what it marks on scans without a label; the patient can still be measured on later."""
    train = task(info, tmp_path)
    ship(train, tmp_path)
    unlabelled = {Path(cases[1]["image"]): "P2"}
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases[:1], unlabelled))
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


def test_new_weights_are_averaged_with_those_in_use(info, cases, tmp_path):
    states = {}
    for share in (1.0, 0.25):
        folder = tmp_path / str(share)
        folder.mkdir()
        train = task(info, folder)
        ship(train, folder)
        request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1, "trained_share": share, "folds": 0}
        train(request, Labelled(cases[:1]))
        store = ModelStore(folder)
        states[share] = weights_of(store.weights(store.manifests()[-1]["version"]))
    for name, start in train._network.state_dict().items():
        if start.is_floating_point():
            torch.testing.assert_close(states[0.25][name], 0.75 * start + 0.25 * states[1.0][name])


@pytest.mark.slow
def test_training_lowers_the_loss(info, cases, tmp_path):
    losses = []
    trainer = task(info, tmp_path)
    original = trainer.loss_function

    def recorded(context):
        function = original(context)
        function.register_forward_hook(lambda module, args, loss: losses.append(loss.item()))
        return function

    trainer.loss_function = recorded
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 15, "folds": 0, "learning_rate": 0.01}
    trainer(request, Labelled(cases))
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])


@pytest.mark.slow
def test_same_seed_gives_the_same_weights(info, cases, tmp_path):
    states = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        task(info, tmp_path / name)({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases[:1]))
        store = ModelStore(tmp_path / name)
        weights = torch.load(store.weights(store.manifests()[-1]["version"]), weights_only=True)
        states.append(weights.get("model", weights))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.slow
def test_half_of_the_patches_contain_tumour(info, cases):
    preprocessing = info["preprocessing"]
    draw = Compose(
        [
            *image_transforms(preprocessing, keys=("image", "label")),
            *patch_transforms(preprocessing, patch_size=32, count=200),
        ]
    ).set_random_state(0)
    patches = draw({"image": cases[0]["image"], "label": cases[0]["label"]})
    assert len(patches) == 200
    channels = len(preprocessing["slice_offsets_mm"])
    assert all(patch["image"].shape == (channels, 32, 32) and patch["label"].shape == (1, 32, 32) for patch in patches)
    assert {value for patch in patches for value in patch["label"].unique().tolist()} == {0.0, 1.0}
    centred = sum(patch["label"].sum() > 0 for patch in patches)
    assert 100 <= centred < 200


@pytest.mark.parametrize(("offsets", "sides"), [([-5, 0, 5], {1.0, 3.0}), ([-5, 0, 2.5], {1.0})])
def test_volumes_are_flipped_along_the_scan_axis_only_with_symmetric_offsets(info, offsets, sides):
    transforms = patch_transforms(info["preprocessing"] | {"slice_offsets_mm": offsets}, patch_size=8, count=20)
    turns = [one for one in transforms if isinstance(one, (RandFlipd, RandLambdad))]
    image = torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand(3, 8, 8)
    draw = Compose(turns).set_random_state(0)
    assert {float(draw({"image": image, "label": image[:1]})["image"][0, 0, 0]) for _ in range(20)} == sides


def test_volume_without_tumour_still_gives_patches(info, cases, tmp_path):
    hu, mask, affine = chest_volume(3, acquisition=GRID)
    files = {
        "image": write_volume(tmp_path / "i.nrrd", hu, affine),
        "label": write_volume(tmp_path / "l.nii.gz", mask, affine),
    }
    preprocessing = info["preprocessing"]
    transforms = [
        *image_transforms(preprocessing, keys=("image", "label")),
        *patch_transforms(preprocessing, patch_size=32, count=8),
    ]
    patches = Compose(transforms)(files)
    assert len(patches) == 8
    assert all(patch["label"].sum() == 0 for patch in patches)


@pytest.mark.slow
def test_training_starts_from_the_model_in_use(info, cases, tmp_path):
    torch.manual_seed(1)
    served = AttentionResidualUNet(**info["network"])
    torch.save({"model": served.state_dict()}, tmp_path / "served.pt")
    store = ModelStore(tmp_path)
    store.serve(store.keep(tmp_path / "served.pt", {}))
    # Nothing is learnt at this rate.
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1, "learning_rate": 1e-30, "folds": 0}
    task(info, tmp_path)(request, Labelled(cases))
    manifest = store.manifests()[-1]
    assert manifest["parent"] == store.manifests()[0]["version"]
    kept = weights_of(store.weights(manifest["version"]))
    assert all(torch.allclose(kept[name], value, 0, 1e-20) for name, value in served.named_parameters())


def test_c9_s7_diverged_training_fails_and_keeps_nothing(info, cases, tmp_path, monkeypatch):
    """C9, S7: non-finite weights are never kept."""
    no_number = lambda prediction, label: prediction.sum() * float("nan")  # noqa: E731
    monkeypatch.setattr(LungTumorTrainTask, "loss_function", lambda self, context: no_number)
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1}
    for labelled in (cases[:1], cases):
        with pytest.raises(UserError, match="diverged"):
            task(info, tmp_path)(request, Labelled(labelled))
    assert ModelStore(tmp_path).manifests() == []


@pytest.mark.slow
def test_s14_s15_training_starts_from_the_parent_of_a_damaged_model(info, cases, tmp_path):
    """S14, S15: also with damaged state files and the folder of a killed run."""
    train = task(info, tmp_path)
    store = ModelStore(tmp_path)
    torch.save({"model": train._network.state_dict()}, tmp_path / "pretrained_lung_tumor.pt")
    version = store.keep(tmp_path / "pretrained_lung_tumor.pt", {"folds": {"1.2.1": 4}})
    store.serve(version)
    store.weights(version).write_bytes(b"damaged")
    for name in ("training.json", "folds.json", "train_stats.json", "serving.json"):
        (tmp_path / name).write_text("[")
    (tmp_path / "runs" / "killed").mkdir(parents=True)
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases))
    manifest = ModelStore(tmp_path).manifests()[-1]
    assert stats["version"] == manifest["version"]
    assert (manifest["parent"], manifest["compared_with"]) == ("pretrained", "pretrained")
    assert manifest["folds"]["1.2.1"] == 4
    assert not (tmp_path / "runs" / "killed").exists()


def test_s7_version_is_compared_on_request(info, cases, tmp_path):
    """S7: an upload is compared like any candidate, but not put into use."""
    train = task(info, tmp_path)
    ship(train, tmp_path)
    store = ModelStore(tmp_path)
    version = store.keep(tmp_path / "pretrained_lung_tumor.pt", {"uploaded_by": "ada"})
    with pytest.raises(UserError, match="no model version 'other'"):
        train({"compare": "other"}, Labelled(cases))
    stats = train({"compare": version}, Labelled(cases))
    verdict = store.manifests()[-1]["verdict"]
    assert verdict["reason"] == stats["verdict"]["reason"]
    assert verdict["outcome"] == "kept"
    assert verdict["candidate"] == verdict["published"]
    assert verdict["candidate"]["patients"].keys() == {"1.2.1", "1.2.2"}
    assert store.serving_version() == "pretrained"


def test_c10_gate_compares_on_no_patient_of_the_shipped_weights(info, cases, tmp_path):
    """C10: whichever of the two patients the shipped weights saw, the other one judges, also on request."""
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1}
    for shown, judge in (("1.2.1", "1.2.2"), ("1.2.2", "1.2.1")):
        folder = tmp_path / shown
        folder.mkdir()
        train = task(info, folder)
        ship(train, folder, shown)
        verdict = train(request, Labelled(cases))["verdict"]
        assert verdict["candidate"]["patients"].keys() == verdict["published"]["patients"].keys() == {judge}
        version = ModelStore(folder).keep(folder / "pretrained_lung_tumor.pt", {"uploaded_by": "ada"})
        assert train({"compare": version}, Labelled(cases))["verdict"]["candidate"]["patients"].keys() == {judge}


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


def test_c10_nobody_judges_if_the_shipped_weights_saw_everybody(info, cases, tmp_path):
    """C10: the candidate waits for a user."""
    train = task(info, tmp_path)
    ship(train, tmp_path, "1.2.1", "1.2.2")
    store = ModelStore(tmp_path)
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases))
    assert stats["verdict"]["publish"] is False
    assert "shipped weights were trained on every labelled patient" in stats["verdict"]["reason"]
    assert store.manifests()[-1]["folds"] == {}
    assert store.serving_version() == "pretrained"
    with pytest.raises(UserError, match="nothing to compare on"):
        train({"compare": stats["version"]}, Labelled(cases))


def test_c9_candidate_is_not_judged_against_unmeasurable_scores(info, cases, tmp_path):
    """C9: the output of the model in use is NaN; nothing can be said about the new version."""
    train = task(info, tmp_path)
    torch.nn.init.constant_(train._network.head.conv.bias, float("nan"))
    torch.save({"model": train._network.state_dict()}, tmp_path / "pretrained_lung_tumor.pt")
    torch.nn.init.constant_(train._network.head.conv.bias, 0)
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1, "pretrained": False}
    stats = train(request, Labelled(cases))
    assert stats["verdict"]["publish"] is False
    assert "the output of the model in use is not finite" in stats["verdict"]["reason"]
    assert stats["verdict"]["published"]["dice"] is None
    assert len(ModelStore(tmp_path).manifests()) == 1
