"""Labelled chests and the train task on them, at a quarter of the app's resolution and width."""

import json

import pytest
import torch

from lib.inference import ModelDescription
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.publishing import ModelStore
from lib.publishing.folds import Folds
from lib.publishing.shipped_patients import ShippedPatients
from lib.settings import load_info
from lib.trainers import LungTumorTrainTask
from lib.trainers.unfinished_run import UnfinishedRun

GRID = Acquisition(shape=(12, 96, 96), spacing=(5.0, 4.0, 4.0))


class Labelled:
    """The part of a datastore that training uses."""

    def __init__(self, cases, unlabelled=None, clicks=None):
        self.cases = cases
        self.unlabelled = unlabelled or {}
        self.clicks = clicks or {}

    def pinned_datalist(self):
        return self.cases

    def some_unlabelled(self, count):
        return self.unlabelled

    def first_clicks(self, image_id):
        return self.clicks.get(image_id, [])


def labelled_chests(folder, seeds, lesions):
    """Write labelled chests in the formats of the datastore, and return the files and id of each."""
    pairs = []
    for seed in seeds:
        drawn = draw_lesions(seed, lesions, diameters=(20, 40))
        hu, mask, affine = chest_volume(seed, lesions=drawn, acquisition=GRID)
        files = {
            "image": str(write_volume(folder / f"{seed}.nrrd", hu, affine)),
            "label": str(write_volume(folder / f"{seed}.nii.gz", mask, affine)),
        }
        pairs.append(files | {"image_id": f"1.2.{seed}"})
    return pairs


@pytest.fixture(scope="session")
def chests(tmp_path_factory):
    """Return the files and ids of two labelled chests."""
    return labelled_chests(tmp_path_factory.mktemp("labelled"), (1, 2), lesions=5)


@pytest.fixture
def train_info():
    """Return the app's settings at a quarter of the resolution and width."""
    info = load_info()
    info["network"]["channels"] = [8, 16, 32]
    info["preprocessing"] |= {"size": [64, 64]}
    info["config"]["train"] |= {"patch_size": 32, "patches_per_volume": 16, "max_epochs": 2}
    return info


def task(info, folder, study_file=None):
    torch.manual_seed(0)
    return LungTumorTrainTask(
        str(folder / "lung_tumor"),
        ModelDescription.from_info(info),
        info,
        ModelStore(folder),
        Folds(folder / "folds.json", ShippedPatients(folder / "pretrained_lung_tumor.pt")),
        UnfinishedRun(folder / "training.json"),
        study_file,
    )


def record_losses(trainer):
    """Return a list that gets the loss of each step of a trainer."""
    losses, original = [], trainer.loss_function

    def recorded(context):
        function = original(context)
        function.register_forward_hook(lambda module, args, loss: losses.append(loss.item()))
        return function

    trainer.loss_function = recorded
    return losses


def weights_of(path):
    loaded = torch.load(path, weights_only=True)
    return loaded.get("model", loaded)


def ship(train, folder, *patients):
    """Make shipped weights that were trained on some patients."""
    torch.save({"model": train._network.state_dict()}, folder / "pretrained_lung_tumor.pt")
    (folder / "pretrained_lung_tumor.json").write_text(json.dumps({"trained_on": patients}))
