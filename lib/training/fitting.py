"""Offline training on patches: seeded and resumable, with a manifest next to the weights of each run."""

import copy
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from lib.errors import UserError
from lib.inference.crops import crop_batches, tumour_probability
from lib.losses import HybridLoss
from lib.networks import AttentionResidualUNet
from lib.networks.weights import load_weights
from lib.storage.atomic import write_atomically, write_json
from lib.storage.integrity import sha256_of
from lib.training.patches import PatchSampler
from lib.training.run_manifest import FILE, WEIGHTS, is_finished, new_manifest, read_run
from lib.training.run_settings import RunSettings
from lib.training.scans import Scan
from lib.training.training_curve import training_curve
from lib.training.training_data import TrainingData

logger = logging.getLogger(__name__)

_EMA_DECAY = 0.998
_WARM_UP_STEPS = 100


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
    steps = settings.steps
    if not 1 <= settings.cycles <= steps:
        raise UserError(f"{steps} steps cannot have {settings.cycles} cycles; give at least one step per cycle.")
    manifest = new_manifest(data, settings, info, initial)
    before = read_run(output, manifest)
    if is_finished(output, before):
        logger.info("%s is finished.", output)
        return output / WEIGHTS
    torch.manual_seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = _new_parts(settings, info, initial, device)
    network, average, optimizer, schedule = parts.values()
    loss_function = HybridLoss(*manifest["settings"]["loss"].values())
    first = _resume(output, parts, manifest, before)
    network.train()
    running = 0.0
    start = time.monotonic() - (manifest["history"][-1]["seconds"] if manifest["history"] else 0)
    batches = _batches(data, settings, info["preprocessing"], first)
    for step, (image, label) in zip(range(first + 1, steps + 1), batches, strict=False):
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.bfloat16):
            logits = network(image.to(device, memory_format=torch.channels_last))
        cost = loss_function(logits.float(), label.to(device))
        cost.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        running = cost.item() if step == first + 1 else 0.98 * running + 0.02 * cost.item()
        if step % settings.save_every == 0 or step == steps:
            dice = _watched_dice(average.module, data, info["preprocessing"])
            seconds = round(time.monotonic() - start)
            manifest["history"].append({"step": step, "seconds": seconds, "loss": round(running, 4), **dice})
            logger.info("Step %d of %d: loss %.3f, %s", step, steps, running, dice)
            _save(output, parts, manifest, step)
    if first == steps:  # only the files beside the checkpoint are missing or damaged
        _save(output, parts, manifest, steps)
    return output / WEIGHTS


def _new_parts(
    settings: RunSettings, info: Mapping[str, Any], initial: Path | None, device: torch.device
) -> dict[str, Any]:
    """Return network, moving average, optimiser and schedule of the learning rate, which make up a checkpoint."""
    network = AttentionResidualUNet(**info["network"])
    if initial:
        load_weights(network, initial)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, avg_fn=_running_mean, use_buffers=True)
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    cycle = settings.steps // settings.cycles
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step % cycle, cycle))
    return {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}


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


def _rate(step: int, cycle: int) -> float:
    """Return the factor of the learning rate at a step of a cycle: a short warm-up, then half a cosine to zero."""
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * (1 + math.cos(math.pi * step / cycle)) / 2


def _running_mean(mean: torch.Tensor, value: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    """Return the moving average; with a shorter window at the beginning, so that the initial weights decay fast."""
    return torch.lerp(mean, value, max(1 - _EMA_DECAY, 9 / (10 + int(count)))) if mean.is_floating_point() else value


def _resume(output: Path, parts: Mapping[str, Any], manifest: dict[str, Any], before: Mapping[str, Any] | None) -> int:
    """Load the last checkpoint of the same run, if any, and return its step."""
    path = output / "resume.pt"
    if before is None or not path.exists():
        return 0
    checkpoint = torch.load(path, weights_only=True, map_location="cpu")
    for name, part in parts.items():
        part.load_state_dict(checkpoint[name])
    manifest["history"] = [entry for entry in before["history"] if entry["step"] <= checkpoint["step"]]
    logger.info("Resuming from step %d.", checkpoint["step"])
    return checkpoint["step"]


def _save(output: Path, parts: Mapping[str, Any], manifest: dict[str, Any], step: int) -> None:
    """Write weights, manifest and checkpoint; in this order, so that a run killed in between repeats these steps."""
    weights = {"model": parts["average"].module.state_dict()}
    write_atomically(output / WEIGHTS, lambda path: torch.save(weights, path))
    manifest["sha256"] = sha256_of(output / WEIGHTS)
    write_json(output / FILE, manifest)
    curve = training_curve(manifest["history"])
    write_atomically(output / "curve.svg", lambda path: path.write_text(curve, encoding="utf-8"))
    state = {name: part.state_dict() for name, part in parts.items()} | {"step": step}
    write_atomically(output / "resume.pt", lambda path: torch.save(state, path))


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
