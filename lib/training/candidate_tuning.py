"""Short training of the second stage on the labelled scans of a site, from the one in use, and its calibration."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from lib.inference.candidate_judge import CandidateJudge
from lib.networks.candidate_classifier import CandidateClassifier
from lib.training.candidate_fitting import ScanLogits, calibrated, varied_batches
from lib.training.candidate_samples import CandidateSamples
from lib.training.fixed_statistics import train_with_fixed_statistics
from lib.training.second_stage import FALSE_FINDINGS

_BATCH = 32
_COST_OF_CHANGE = 0.25  # of a logit, squared, against the cross-entropy
_FEWEST_LESIONS = 5  # to calibrate the confidence on
FEWEST_SCANS = 2  # with a lesion, to learn from: after one of 13 mm, one of 39 mm was not found any more


def tune_judge(
    start: CandidateJudge,
    samples: Sequence[CandidateSamples],
    *,
    steps: int,
    learning_rate: float,
    seed: int,
) -> CandidateJudge:
    """Return a judge that learned the candidates of some scans, with the calibration of the one it started from.

    A change of a logit costs a quarter of its square, so that on the candidates it learns, none changes by more than
    about 2. Without this, a classifier that saw two large lesions took a small one for a vessel (docs/method.md). The
    statistics of batch normalisation stay as they were. With fewer than two scans with a lesion, or
    without another candidate, nothing is learned.

    Args:
        start: Judge in use.
        samples: Candidates of each scan.
        steps: Optimiser steps.
        learning_rate: Learning rate.
        seed: Seed of the batches.
    """
    enough = sum(bool(one.lesion.any()) for one in samples) >= FEWEST_SCANS
    if not enough or all(one.lesion.all() for one in samples):
        return start
    network = _trained(start.network, samples, steps, learning_rate, seed)
    return CandidateJudge(network, start.slope, start.intercept, start.operating_points, start.trained_on)


def recalibrated(judge: CandidateJudge, scans: Sequence[ScanLogits]) -> CandidateJudge:
    """Return a judge whose confidence and limits are those of scans that were left out.

    With few, it is unchanged, and also if it ranks the lesions of these scans below the others.

    Args:
        judge: The judge.
        scans: Logits of the scans, by judges that did not learn them.
    """
    if sum(int(scan.lesion.sum()) for scan in scans) < _FEWEST_LESIONS or all(scan.lesion.all() for scan in scans):
        return judge
    fitted = calibrated(judge.network, scans, FALSE_FINDINGS, judge.trained_on)
    return fitted if fitted.slope > 0 else judge


def _trained(
    start: CandidateClassifier, samples: Sequence[CandidateSamples], steps: int, learning_rate: float, seed: int
) -> CandidateClassifier:
    torch.manual_seed(seed)
    network = copy.deepcopy(start)
    train_with_fixed_statistics(network)
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.01)
    for _, (cubes, lesion) in zip(range(steps), varied_batches(samples, seed, _BATCH), strict=False):
        with torch.no_grad():
            before = start(cubes.fine, cubes.coarse, cubes.features)
        optimizer.zero_grad()
        logits = network(cubes.fine, cubes.coarse, cubes.features)
        cost = F.binary_cross_entropy_with_logits(logits, lesion) + _COST_OF_CHANGE * F.mse_loss(logits, before)
        cost.backward()
        optimizer.step()
    return network.eval()
