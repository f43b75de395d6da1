"""LungTumorTrainTask on phantoms: learning, validation on whole volumes, progress, and no need for TensorBoard."""

import json
import sys

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.transforms import Compose, RandFlipd, RandLambdad

from lib.configs.lung_tumor import LungTumor
from lib.errors import UserError
from lib.inference import ModelDescription
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.publishing import ModelStore
from lib.publishing.gate import Scores
from lib.publishing.hold_out import HoldOut
from lib.publishing.shipped_patients import ShippedPatients
from lib.publishing.version_files import PRETRAINED_FILE
from lib.settings import Settings, load_info
from lib.trainers import LungTumorTrainTask
from lib.trainers.unfinished_run import UnfinishedRun
from lib.trainers.validation import Validation
from lib.transforms import image_transforms
from lib.transforms.augmentation import patch_transforms

GRID = Acquisition(shape=(12, 96, 96), spacing=(5.0, 4.0, 4.0))


class Labelled:
    """The part of a datastore that training uses."""

    def __init__(self, cases):
        self.cases = cases

    def pinned_datalist(self):
        return self.cases


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
    info["config"]["train"] |= {"patch_size": 32, "patches_per_volume": 16, "max_epochs": 2, "val_interval": 1}
    return info


def task(info, folder):
    torch.manual_seed(0)
    return LungTumorTrainTask(
        str(folder / "lung_tumor"),
        ModelDescription.from_info(info),
        info,
        ModelStore(folder),
        HoldOut(
            folder / "hold_out.json",
            info["config"]["train"]["val_split"],
            min_patients=2,
            shipped=ShippedPatients(folder / "pretrained_lung_tumor.pt"),
        ),
        UnfinishedRun(folder / "training.json"),
    )


@pytest.mark.slow
def test_two_cases_train_validate_and_publish(info, cases, tmp_path):
    stats = task(info, tmp_path)({"model": "lung_tumor", "device": "cpu"}, Labelled(cases))
    assert stats["epoch"] == 2
    assert set(stats["eval"]["metrics"]) == {"val_mean_dice", "val_false_positives"}
    assert 0 <= stats["eval"]["metrics"]["val_mean_dice"] <= 1
    weights = torch.load(ModelStore(tmp_path).serving_weights(), weights_only=True)
    AttentionResidualUNet(**info["network"]).load_state_dict(weights.get("model", weights))
    assert not any(name.split(".")[0] in ("tensorboard", "mlflow") for name in sys.modules)


def test_c9_one_case_trains_without_validation_and_is_not_put_into_use(info, cases, tmp_path):
    """C9: without held-out patients a version is kept but not used."""
    stats = task(info, tmp_path)({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases[:1]))
    store = ModelStore(tmp_path)
    assert store.serving_version() is None
    assert stats["version"] == store.manifests()[-1]["version"]
    assert "fewer than 4 patients are labelled" in stats["verdict"]["reason"]
    assert stats["epoch"] == 1
    assert "eval" not in stats
    assert 0 <= stats["train"]["metrics"]["train_mean_dice"] <= 1


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
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 15, "val_split": 0.0, "learning_rate": 0.01}
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
def test_training_starts_from_the_model_in_use_and_stops_early(info, cases, tmp_path):
    torch.manual_seed(1)
    served = AttentionResidualUNet(**info["network"])
    torch.save({"model": served.state_dict()}, tmp_path / "served.pt")
    store = ModelStore(tmp_path)
    store.serve(store.keep(tmp_path / "served.pt", {}))
    # Nothing is learnt at this rate, so no validation is better than the first.
    request = {
        "model": "lung_tumor",
        "device": "cpu",
        "max_epochs": 9,
        "early_stop_patience": 2,
        "learning_rate": 1e-30,
    }
    stats = task(info, tmp_path)(request, Labelled(cases))
    assert stats["epoch"] == 3
    manifest = store.manifests()[-1]
    assert [look["epoch"] for look in manifest["validations"]] == [1, 2, 3]
    assert manifest["parent"] == store.manifests()[0]["version"]
    kept = torch.load(store.weights(manifest["version"]), weights_only=True)["model"]
    assert all(torch.allclose(kept[name], value, 0, 1e-20) for name, value in served.named_parameters())


@pytest.mark.slow
def test_all_labelled_cases_except_the_held_out_are_trained_on(info, cases, tmp_path):
    for _ in range(2):
        task(info, tmp_path)({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases))
    for manifest in ModelStore(tmp_path).manifests():
        assert sorted(manifest["trained_on"] + manifest["held_out"]) == [case["image_id"] for case in cases]
        assert len(manifest["held_out"]) == 1


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
    version = store.keep(tmp_path / "pretrained_lung_tumor.pt", {"held_out": ["1.2.1"]})
    store.serve(version)
    store.weights(version).write_bytes(b"damaged")
    for name in ("training.json", "hold_out.json", "train_stats.json", "serving.json"):
        (tmp_path / name).write_text("[")
    (tmp_path / "runs" / "killed").mkdir(parents=True)
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases))
    manifest = ModelStore(tmp_path).manifests()[-1]
    assert stats["version"] == manifest["version"]
    assert (manifest["parent"], manifest["compared_with"]) == ("pretrained", "pretrained")
    assert "1.2.1" in manifest["held_out"]
    assert not (tmp_path / "runs" / "killed").exists()


def test_s7_version_is_compared_on_request(info, cases, tmp_path):
    """S7: an upload is compared like any candidate, but not put into use."""
    train = task(info, tmp_path)
    torch.save({"model": train._network.state_dict()}, tmp_path / "pretrained_lung_tumor.pt")
    store = ModelStore(tmp_path)
    version = store.keep(tmp_path / "pretrained_lung_tumor.pt", {"uploaded_by": "ada"})
    with pytest.raises(UserError, match="nothing to compare on"):
        train({"compare": version}, Labelled(cases[:1]))
    with pytest.raises(UserError, match="no model version 'other'"):
        train({"compare": "other"}, Labelled(cases))
    stats = train({"compare": version}, Labelled(cases))
    verdict = store.manifests()[-1]["verdict"]
    assert verdict["reason"] == stats["verdict"]["reason"]
    assert "Kept, not in use: it is not worse" in verdict["reason"]
    assert verdict["candidate"] == verdict["published"]
    assert store.serving_version() == "pretrained"


def ship(train, folder, *patients):
    """Make shipped weights that were trained on some patients."""
    torch.save({"model": train._network.state_dict()}, folder / "pretrained_lung_tumor.pt")
    (folder / "pretrained_lung_tumor.json").write_text(json.dumps({"trained_on": patients}))


def test_c10_gate_compares_on_no_patient_of_the_shipped_weights(info, cases, tmp_path):
    """C10: whichever of the two patients the shipped weights saw, the other one judges, also on request."""
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1}
    for seen, judge in (("1.2.1", "1.2.2"), ("1.2.2", "1.2.1")):
        folder = tmp_path / seen
        folder.mkdir()
        train = task(info, folder)
        ship(train, folder, seen)
        stats = train(request, Labelled(cases))
        manifest = ModelStore(folder).manifests()[-1]
        assert (manifest["trained_on"], manifest["held_out"]) == ([seen], [judge])
        assert stats["verdict"]["candidate"]["cases"] == stats["verdict"]["published"]["cases"] == [judge]
        version = ModelStore(folder).keep(folder / "pretrained_lung_tumor.pt", {"uploaded_by": "ada"})
        assert train({"compare": version}, Labelled(cases))["verdict"]["candidate"]["cases"] == [judge]


def test_c10_app_reads_the_patients_beside_its_shipped_weights(tmp_path):
    """C10: of ``model_dir``, also before they are in use."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pretrained_lung_tumor.json").write_text(json.dumps({"trained_on": ["1.2.1"]}))
    (tmp_path / "dicom").mkdir()
    app = Settings.from_conf(
        str(tmp_path / "dicom"),
        {"workspace": str(tmp_path / "work"), "model_dir": str(tmp_path / "model"), "val_split": "0.5"},
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
    patients = [f"1.2.{number}" for number in range(40)]
    held = model.trainer()._hold_out.patients(patients)
    assert "1.2.1" in HoldOut(tmp_path / "none.json", 0.5, 4).patients(patients)
    assert held and "1.2.1" not in held


def test_c10_nobody_judges_if_the_shipped_weights_saw_everybody(info, cases, tmp_path):
    """C10: also patients whom an earlier version was compared on; the candidate waits for a user."""
    train = task(info, tmp_path)
    ship(train, tmp_path, "1.2.1", "1.2.2")
    store = ModelStore(tmp_path)
    version = store.keep(tmp_path / "pretrained_lung_tumor.pt", {"held_out": ["1.2.1"]})
    stats = train({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases))
    assert stats["verdict"]["publish"] is False
    assert "shipped weights were trained on every labelled patient" in stats["verdict"]["reason"]
    assert store.manifests()[-1]["held_out"] == []
    assert store.serving_version() == "pretrained"
    with pytest.raises(UserError, match="neither this version nor the shipped weights"):
        train({"compare": version}, Labelled(cases))


def test_c9_candidate_is_not_judged_against_unmeasurable_scores(info, cases, tmp_path):
    """C9: the output of the model in use is NaN; the new version is kept for a user to decide."""
    train = task(info, tmp_path)
    torch.nn.init.constant_(train._network.head.conv.bias, float("nan"))
    torch.save({"model": train._network.state_dict()}, tmp_path / "pretrained_lung_tumor.pt")
    torch.nn.init.constant_(train._network.head.conv.bias, 0)
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 1, "pretrained": False}
    stats = train(request, Labelled(cases))
    assert stats["verdict"]["publish"] is False
    assert "scores of the model in use are not finite" in stats["verdict"]["reason"]
    assert stats["verdict"]["published"]["dice"] is None
    assert len(ModelStore(tmp_path).manifests()) == 1


@pytest.mark.parametrize(
    ("dice", "patience", "ended", "best"),
    [
        ([0.1, 0.5, 0.4, 0.3, 0.9], 2, 4, 2),
        ([0.1, 0.5, 0.4, 0.6, 0.5], 2, 5, 4),
        ([0.1, 0.5, 0.4, 0.3, 0.9], 0, 5, 5),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 1, 2, 1),
    ],
)
def test_best_epoch_is_the_candidate(tmp_path, monkeypatch, dice, patience, ended, best):
    network = torch.nn.Linear(1, 1)
    monkeypatch.setattr(
        "lib.trainers.validation.score", lambda weights, cases, info: Scores(dice[engine.state.epoch - 1], 0, ("a",))
    )
    validation = Validation(network, [{}], {}, tmp_path, interval=1, patience=patience)
    engine = Engine(lambda engine, batch: network.bias.data.fill_(engine.state.epoch))
    engine.add_event_handler(Events.EPOCH_COMPLETED, validation)
    engine.run([0], max_epochs=len(dice))
    assert engine.state.epoch == ended
    assert validation.best.dice == dice[best - 1]
    assert torch.load(validation.weights, weights_only=True)["model"]["bias"].item() == best
    assert validation.stats()["best_metric"] == dice[best - 1]


def test_last_epoch_is_validated_whatever_the_interval(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.trainers.validation.score", lambda weights, cases, info: Scores(0.5, 0, ("a",)))
    validation = Validation(torch.nn.Linear(1, 1), [{}], {}, tmp_path, interval=3, patience=0)
    engine = Engine(lambda engine, batch: None)
    engine.add_event_handler(Events.EPOCH_COMPLETED, validation)
    engine.run([0], max_epochs=5)
    assert [look["epoch"] for look in validation.history] == [3, 5]
