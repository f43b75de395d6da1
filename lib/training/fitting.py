"""Offline training of the automatic model on patches, with a manifest next to the weights of each run."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from lib.inference.crops import crop_batches, tumour_probability
from lib.networks import AttentionResidualUNet
from lib.networks.weights import load_weights
from lib.training.optimisation import optimise
from lib.training.patches import PatchSampler
from lib.training.run_manifest import new_manifest
from lib.training.run_settings import RunSettings
from lib.training.scans import Scan
from lib.training.training_data import TrainingData


def fit(
    data: TrainingData,
    settings: RunSettings,
    *,
    info: Mapping[str, Any],
    output: Path,
    initial: Path | None = None,
) -> Path:
    """Train a network and return the path of its weights, ``output/model.pt``.

    The weights are an exponential moving average (EMA) over the steps. The test crops are only monitored, together
    with as many training crops, and never used for selection. A stopped run resumes from ``output/resume.pt``; a
    finished one is not repeated.

    Args:
        data: Training data, and the held-out crops to monitor.
        settings: Settings of the run.
        info: ``info.yaml``.
        output: Folder of the run.
        initial: Initial weights with their manifest, instead of random ones.

    Raises:
        UserError: The folder has a run with other settings or data, or the patients of the initial weights are unknown.
    """
    # As many training crops as test crops, to distinguish underfitting from a lack of patients.
    every = max(1, len(data.crops) // max(1, len(data.test_crops)))
    watched = {"test_crop_dice": data.test_crops, "trained_crop_dice": data.crops[::every]}

    def network() -> torch.nn.Module:
        made = AttentionResidualUNet(**info["network"])
        if initial:
            load_weights(made, initial)
        return made

    def batches(first: int) -> DataLoader:
        sampler = PatchSampler(
            data.crops,
            data.hosts,
            preprocessing=info["preprocessing"],
            size=settings.patch_size,
            seed=settings.seed + first,
            batch_size=settings.batch_size,
            warm_up=round(settings.steps * settings.crops_first),
            first=first,
            decoys=settings.decoys,
        )
        # A single worker process, so that the order of the patches is determined by the seed.
        return DataLoader(sampler, batch_size=None, num_workers=1, prefetch_factor=8)

    def measure(average: torch.nn.Module) -> dict[str, float | None]:
        return {name: _mean(crop_dice(average, crops, info["preprocessing"])) for name, crops in watched.items()}

    return optimise(network, batches, settings, new_manifest(data, settings, info, initial), output, measure=measure)


def crop_dice(network: torch.nn.Module, crops: Sequence[Scan], preprocessing: Mapping[str, Any]) -> list[float]:
    """Return the Dice coefficient over all voxels of each crop, at a probability of 0.5, on the grid of the network.

    Args:
        network: Not modified.
        crops: Crops with their labels; the result is in a different order.
        preprocessing: Section ``preprocessing`` of info.yaml.
    """
    network = copy.deepcopy(network).eval()
    result = []
    for batch in crop_batches(crops, preprocessing, border_px=16):
        probabilities = batch.split(tumour_probability(network, batch.volume))
        for crop, probability in zip(batch.crops, probabilities, strict=True):
            found = probability > 0.5
            voxels = max(found.sum().item() + crop.label.sum().item(), 1)
            result.append(2 * (found & crop.label).sum().item() / voxels)
    return result


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
