"""A model that finds the lesions of phantoms, enough to tell a working server from a broken one."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from monai.transforms import Compose

from lib.losses import HybridLoss
from lib.networks import AttentionResidualUNet
from lib.phantoms import chest_volume, draw_lesions, write_volume
from lib.settings import load_info
from lib.transforms import image_transforms

PATIENTS = (101, 102)  # not in the demo set
STEPS, BATCH, SIDE = 120, 12, 48  # with 80, two of three seeds miss lesions that the tests expect
_TRAINING_SECONDS = 600
DESTRUCTIVE = {"learning_rate": 0.03, "prior_patients": 0}  # of a training, after which a network finds nothing


@pytest.fixture(scope="session")
def phantom_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return weights of the app's network, trained on patches of two phantoms, once for all processes of a run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of the run; its own folder is that of this process
    path = folder / "phantom-weights.pt"
    with FileLock(f"{path}.lock", timeout=_TRAINING_SECONDS):
        if not path.exists():
            _train(path, tmp_path_factory.mktemp("chests"))
    return path


def _train(path: Path, folder: Path) -> None:
    """Train and save the weights at ``path``, with files in ``folder``."""
    info = load_info()
    chests = [_preprocessed(seed, info["preprocessing"], folder) for seed in PATIENTS]
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network = AttentionResidualUNet(**info["network"]).train()
    loss_function = HybridLoss()
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.004, total_steps=STEPS)
    for _ in range(STEPS):
        image, label = zip(*(_patch(*chests[rng.integers(len(chests))], rng) for _ in range(BATCH)), strict=True)
        loss = loss_function(network(torch.stack(image)), torch.stack(label))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    torch.save(network.state_dict(), path)


@pytest.fixture
def phantom_model_dir(phantom_weights: Path, tmp_path: Path) -> Path:
    """Return a model folder of this test with these weights as the pretrained ones."""
    return model_dir_with(phantom_weights, tmp_path / "phantom-model")


def model_dir_with(weights: Path, directory: Path) -> Path:
    """Return a folder for ``--conf model_dir`` that serves ``weights``."""
    directory.mkdir(parents=True)
    (directory / "pretrained_lung_tumor.pt").symlink_to(weights)
    return directory


def _preprocessed(seed: int, preprocessing: dict, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the preprocessed chest, (channels, 256, 256, slices), and the mask of its many lesions."""
    hu, mask, affine = chest_volume(seed, lesions=draw_lesions(seed, 24, diameters=(6, 34)))
    files = {
        "image": write_volume(folder / f"{seed}.nii", hu, affine),
        "label": write_volume(folder / f"{seed}-mask.nii", mask, affine),
    }
    data = Compose(image_transforms(preprocessing, keys=("image", "label")))(files)
    return data["image"].as_tensor(), data["label"].as_tensor().float()


def _patch(image: torch.Tensor, label: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a square of one slice, around a lesion or, more often, anywhere in the chest."""
    if rng.random() < 0.4:
        voxels = torch.nonzero(label[0])
        column, row, slice_ = voxels[rng.integers(len(voxels))].tolist()
        column, row = np.array([column, row]) + rng.integers(-SIDE // 3, SIDE // 3, 2)
    else:
        column, row, slice_ = rng.integers([20, 20, 0], [236, 236, image.shape[-1]])
    column, row = np.clip([column - SIDE // 2, row - SIDE // 2], 0, np.array(image.shape[1:3]) - SIDE)
    window = (slice(None), slice(column, column + SIDE), slice(row, row + SIDE), slice_)
    return _random_flip(image[window], label[window], rng)


def _random_flip(
    image: torch.Tensor, label: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flip in-plane and along the slice channels, like real trainings, so that the views of inference agree."""
    axes = [axis for axis in (1, 2) if rng.random() < 0.5]
    image, label = image.flip(axes), label.flip(axes)
    return (image.flip(0) if rng.random() < 0.5 else image), label
