"""LungTumorTrainTask on phantoms: learns, validates on whole volumes, leaves progress, needs no TensorBoard."""

import sys

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from lib.evaluation.validation_metrics import FalsePositiveComponents, dice_handler
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.publishing import ModelStore
from lib.publishing.hold_out import HoldOut
from lib.settings import load_info
from lib.trainers import LungTumorTrainTask
from lib.transforms import image_transforms
from lib.transforms.augmentation import patch_transforms

GRID = Acquisition(shape=(12, 96, 96), spacing=(5.0, 4.0, 4.0))


class Labelled:
    """The part of a datastore that training asks for."""

    def __init__(self, cases):
        self.cases = cases

    def datalist(self):
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
    """The app's settings at a quarter of the resolution and width."""
    info = load_info()
    info["network"]["channels"] = [8, 16, 32]
    info["preprocessing"] |= {"size": [64, 64]}
    info["config"]["train"] |= {"patch_size": 32, "patches_per_volume": 16, "max_epochs": 2, "val_interval": 1}
    return info


def task(info, folder):
    torch.manual_seed(0)
    return LungTumorTrainTask(
        str(folder / "lung_tumor"),
        AttentionResidualUNet(**info["network"]),
        info,
        ModelStore(folder),
        HoldOut(folder / "hold_out.json", info["config"]["train"]["val_split"], min_patients=2),
    )


def test_two_cases_train_validate_and_publish(info, cases, tmp_path):
    stats = task(info, tmp_path)({"model": "lung_tumor", "device": "cpu"}, Labelled(cases))
    assert stats["epoch"] == 2
    assert set(stats["eval"]["metrics"]) == {"val_mean_dice", "val_false_positives"}
    assert 0 <= stats["eval"]["metrics"]["val_mean_dice"] <= 1
    weights = torch.load(ModelStore(tmp_path).serving_weights(), weights_only=True)
    AttentionResidualUNet(**info["network"]).load_state_dict(weights.get("model", weights))
    assert not any(name.split(".")[0] in ("tensorboard", "mlflow") for name in sys.modules)


def test_one_case_trains_without_validation(info, cases, tmp_path):
    stats = task(info, tmp_path)({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases[:1]))
    assert stats["epoch"] == 1
    assert "eval" not in stats
    assert 0 <= stats["train"]["metrics"]["train_mean_dice"] <= 1


def test_training_lowers_the_loss(info, cases, tmp_path):
    losses = []
    trainer = task(info, tmp_path)
    original = trainer.loss_function

    def recorded(context):
        function = original(context)
        function.register_forward_hook(lambda module, args, loss: losses.append(loss.item()))
        return function

    trainer.loss_function = recorded
    request = {"model": "lung_tumor", "device": "cpu", "max_epochs": 6, "val_split": 0.0, "learning_rate": 0.01}
    trainer(request, Labelled(cases))
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])


def test_the_same_seed_gives_the_same_weights(info, cases, tmp_path):
    states = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        task(info, tmp_path / name)({"model": "lung_tumor", "device": "cpu", "max_epochs": 1}, Labelled(cases[:1]))
        weights = torch.load(ModelStore(tmp_path / name).serving_weights(), weights_only=True)
        states.append(weights.get("model", weights))
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_half_of_the_patches_hold_tumour(info, cases):
    preprocessing = info["preprocessing"]
    draw = Compose(
        [
            *image_transforms(preprocessing, keys=("image", "label")),
            *patch_transforms(preprocessing, patch_size=32, count=200),
        ]
    ).set_random_state(0)
    patches = draw({"image": cases[0]["image"], "label": cases[0]["label"]})
    assert len(patches) == 200
    assert all(patch["image"].shape == (3, 32, 32) and patch["label"].shape == (1, 32, 32) for patch in patches)
    assert {value for patch in patches for value in patch["label"].unique().tolist()} == {0.0, 1.0}
    centred = sum(patch["label"].sum() > 0 for patch in patches)
    assert 100 <= centred < 200


def test_a_volume_without_tumour_still_gives_patches(info, cases, tmp_path):
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


def test_false_positives_are_components_that_touch_no_tumour():
    truth = torch.zeros(1, 1, 20, 20, 5)
    truth[..., 2:6, 2:6, 1:3] = 1
    found = torch.zeros_like(truth)
    found[..., 5:8, 5:8, 2] = 1  # touches
    found[..., 15:17, 2:4, 0] = 1
    found[..., 10, 10, 4] = 1
    metric = FalsePositiveComponents()
    metric(found, truth)
    assert metric.aggregate().item() == 2
    metric(torch.zeros_like(found), truth)
    assert metric.aggregate().item() == 1


def test_a_finding_in_a_volume_without_tumour_costs_all_of_its_dice():
    handler = dice_handler(lambda output: output)
    empty = torch.zeros(1, 1, 8, 8, 4)
    found = empty.clone()
    found[..., 0, 0, 0] = 1
    handler.update((found, empty))
    assert handler.metric_fn.aggregate().item() == 0
    handler.reset()
    handler.update((empty, empty))
    assert handler.metric_fn.aggregate().item() == 1
