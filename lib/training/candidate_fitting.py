"""Training and calibration of the classifier of candidates, the second stage."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from lib.inference.candidate_cubes import SIDE, CandidateCubes
from lib.inference.candidate_judge import CandidateJudge, new_classifier
from lib.networks.candidate_classifier import CandidateClassifier
from lib.training.candidate_samples import JITTER, CandidateSamples

logger = logging.getLogger(__name__)

_BATCH = 64
_REJECTED_WEIGHT = 3  # of a candidate that a reader rejected explicitly, against those that are only not labelled
_EMA_DECAY = 0.99
_SHARE_OWN = 0.25  # of the lesions in a batch, those that were not inserted
_SHARE_WITHOUT_PROBABILITY = 0.2  # of the samples, so that the classifier does not depend on one network's confidence
_LOGIT_FEATURES = (1, 2)  # features that depend on the network's confidence
_CALIBRATION_STEPS = 200


def fit_classifier(
    samples: Sequence[CandidateSamples], *, steps: int, learning_rate: float, seed: int
) -> CandidateClassifier:
    """Train a classifier; half of each batch are lesions, of which a quarter are the scans' own.

    The scans' own lesions are few, but they are the only large ones and the only ones at the chest wall.

    Args:
        samples: Candidates of each scan, and of its copies with inserted nodules.
        steps: Optimiser steps.
        learning_rate: Peak learning rate.
        seed: Seed of weights and batches.

    Returns:
        The exponential moving average over the steps, in evaluation mode.
    """
    torch.manual_seed(seed)
    network = new_classifier().train()
    average = AveragedModel(network, avg_fn=get_ema_avg_fn(_EMA_DECAY), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    running = 0.0
    for step, (cubes, lesion) in zip(range(1, steps + 1), varied_batches(samples, seed), strict=False):
        optimizer.zero_grad()
        cost = F.binary_cross_entropy_with_logits(network(cubes.fine, cubes.coarse, cubes.features), lesion)
        cost.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        running = cost.item() if step == 1 else 0.98 * running + 0.02 * cost.item()
        if step % 100 == 0:
            logger.info("Classifier: step %d of %d, loss %.3f", step, steps, running)
    return cast(CandidateClassifier, average.module.eval())


@dataclass(frozen=True)
class ScanLogits:
    """Logits of a classifier for the candidates of a scan that it was not trained on.

    Attributes:
        logits: Before calibration, (N,).
        lesion: Whether each candidate is a lesion, bool, (N,).
        composed: Whether lesions of other patients were inserted into the scan.
    """

    logits: np.ndarray
    lesion: np.ndarray
    composed: bool


def scan_logits(judge: CandidateJudge, samples: CandidateSamples) -> ScanLogits:
    """Return the logits of the candidates of a scan."""
    return ScanLogits(judge.logits(_cut(samples.cubes, JITTER // 2)), samples.lesion.numpy(), samples.composed)


def calibrated(
    network: CandidateClassifier,
    scans: Sequence[ScanLogits],
    findings: Sequence[float],
    trained_on: Iterable[str] = (),
) -> CandidateJudge:
    """Return a judge with a calibrated confidence, and the limits for numbers of false findings per scan.

    The confidence is calibrated to the prevalence of lesions among the candidates of whole scans (Platt scaling). For
    it, composed scans contribute lesions only, weighted to as many as the other scans have. The limits are measured on
    the other scans.

    Args:
        network: Trained classifier.
        scans: Logits of scans that the classifiers which computed them were not trained on.
        findings: False findings per scan for which to store a limit.
        trained_on: See `CandidateJudge`.
    """
    real = [scan for scan in scans if not scan.composed]
    false = [scan.logits[~scan.lesion] for scan in real]
    lesions = np.concatenate([scan.logits[scan.lesion] for scan in scans])
    prevalent = sum(int(scan.lesion.sum()) for scan in real)
    slope, intercept = _platt(lesions, prevalent, np.concatenate(false))
    judge = CandidateJudge(network, slope, intercept, trained_on=trained_on)
    highest = np.sort(np.concatenate(false))[::-1]
    limits = [_limit(highest, round(number * len(real))) for number in findings]
    judge.operating_points = [
        (number, float(judge.confidences(np.array([limit]))[0])) for number, limit in zip(findings, limits, strict=True)
    ]
    return judge


def _limit(highest: np.ndarray, kept: int) -> float:
    """Return the logit above which a number of values lie, halfway to the next; values in descending order."""
    padded = np.concatenate([[highest[0] + 2], highest, [highest[-1] - 2]])
    kept = min(kept, len(highest))
    return float(padded[kept : kept + 2].mean())


def _platt(lesions: np.ndarray, prevalent: float, false: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the logistic regression of lesions, which count as ``prevalent`` ones.

    The targets are not 1 and 0, but those of Platt (Probabilistic outputs for support vector machines, 1999): otherwise
    few candidates that are separated without error would all have a confidence of 0 or 1.
    """
    logits = torch.from_numpy(np.concatenate([lesions, false])).double()
    is_lesion = torch.arange(len(logits)) < len(lesions)
    target = torch.where(is_lesion, (prevalent + 1) / (prevalent + 2), 1 / (len(false) + 2)).double()
    weight = torch.where(is_lesion, prevalent / max(len(lesions), 1), 1.0)
    parameters = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=_CALIBRATION_STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        scaled = parameters[0] * logits + parameters[1]
        cost = F.binary_cross_entropy_with_logits(scaled, target, weight=weight, reduction="sum") / weight.sum()
        cost.backward()
        return cost

    optimizer.step(closure)
    slope, intercept = parameters.tolist()
    return slope, intercept


def varied_batches(
    samples: Sequence[CandidateSamples], seed: int, size: int = _BATCH
) -> Iterator[tuple[CandidateCubes, torch.Tensor]]:
    """Yield batches of varied cubes and their target, float32 (B,); see `fit_classifier`."""
    rng = np.random.default_rng(seed)
    fine, coarse, features = (
        torch.cat([getattr(one.cubes, name) for one in samples]) for name in ("fine", "coarse", "features")
    )
    lesion = torch.cat([one.lesion for one in samples])
    inserted = torch.cat([torch.full_like(one.lesion, one.composed) for one in samples])
    groups = [torch.nonzero(group)[:, 0].numpy() for group in (lesion & ~inserted, lesion & inserted, ~lesion)]
    rejected = torch.cat([torch.zeros_like(one.lesion) if one.rejected is None else one.rejected for one in samples])
    groups[2] = np.concatenate([groups[2], *[torch.nonzero(rejected)[:, 0].numpy()] * (_REJECTED_WEIGHT - 1)])
    while True:
        own = round(size // 2 * (_SHARE_OWN if len(groups[1]) else 1)) if len(groups[0]) else 0
        counts = (own, size // 2 - own, size // 2)
        chosen = torch.from_numpy(
            np.concatenate([rng.choice(group, count) for group, count in zip(groups, counts, strict=True) if count])
        )
        cubes = CandidateCubes(fine[chosen].float(), coarse[chosen].float(), features[chosen].clone())
        yield _varied(cubes, rng), lesion[chosen].float()


def _varied(cubes: CandidateCubes, rng: np.random.Generator) -> CandidateCubes:
    """Shift, mirror and turn the cubes, change their intensity, and hide the probability of some."""
    cut = _cut(cubes, *rng.integers(0, JITTER + 1, 3).tolist())
    axes = [axis for axis in (2, 3, 4) if rng.random() < 0.5]
    fine, coarse = cut.fine.flip(axes), cut.coarse.flip(axes)
    if rng.random() < 0.5:
        fine, coarse = fine.transpose(2, 3), coarse.transpose(2, 3)
    count = len(cut)
    shift = torch.from_numpy(rng.normal(0, 0.08, (count, 1, 1, 1))).float()
    scale = torch.from_numpy(rng.normal(1, 0.06, (count, 1, 1, 1))).float()
    noise = torch.randn(fine[:, 0].shape) * float(rng.uniform(0, 0.08))
    fine = torch.cat([(fine[:, 0] * scale + shift + noise)[:, None], fine[:, 1:]], dim=1)
    coarse = torch.cat([(coarse[:, 0] * scale + shift)[:, None], coarse[:, 1:]], dim=1)
    features = cut.features.clone()
    hidden = torch.from_numpy(rng.random(count) < _SHARE_WITHOUT_PROBABILITY)
    fine[hidden, 1] = 0
    coarse[hidden, 1] = 0
    for feature in _LOGIT_FEATURES:
        features[hidden, feature] = features[:, feature].mean()
    return CandidateCubes(fine, coarse, features)


def _cut(cubes: CandidateCubes, x: int, y: int | None = None, z: int | None = None) -> CandidateCubes:
    """Return cubes of the classifier's size that begin at a voxel of the larger ones."""
    columns, rows, slices = (slice(start, start + SIDE) for start in (x, x if y is None else y, x if z is None else z))
    fine, coarse = (cube[..., columns, rows, slices].float() for cube in (cubes.fine, cubes.coarse))
    return CandidateCubes(fine, coarse, cubes.features)
