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
from lib.training.optimisation import initial_network, optimise
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
    return optimise(
        lambda: initial_network(AttentionResidualUNet(**info["network"]), initial),
        lambda first: _batches(data, settings, info["preprocessing"], first),
        settings,
        new_manifest(data, settings, info, initial),
        output,
        measure=lambda average: _watched_dice(average, data, info["preprocessing"]),
    )


def _batches(data: TrainingData, settings: RunSettings, preprocessing: Mapping[str, Any], first: int) -> DataLoader:
    """Return the batches of patches after a number of steps."""
    sampler = PatchSampler(
        data.crops,
        data.hosts,
        preprocessing=preprocessing,
        size=settings.patch_size,
        seed=settings.seed + first,
        batch_size=settings.batch_size,
        warm_up=round(settings.steps * settings.crops_first),
        first=first,
        decoys=settings.decoys,
        large_tumours=settings.large_tumours,
    )
    # A single worker process, so that the order of the patches is determined by the seed.
    return DataLoader(sampler, batch_size=None, num_workers=1, prefetch_factor=8)


def _watched_dice(
    network: torch.nn.Module, data: TrainingData, preprocessing: Mapping[str, Any]
) -> dict[str, float | None]:
    """Return the mean Dice of the test crops, and of as many training crops: underfitting, or a lack of patients?"""
    every = max(1, len(data.crops) // max(1, len(data.test_crops)))
    watched = {"test_crop_dice": data.test_crops, "trained_crop_dice": data.crops[::every]}
    return {name: _mean(crop_dice(network, crops, preprocessing)) for name, crops in watched.items()}


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
