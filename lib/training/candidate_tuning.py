"""Short training of the second stage on the labelled scans of a site, from the one in use, and its calibration."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from lib.inference.candidate_judge import CandidateJudge
from lib.networks.candidate_classifier import CandidateClassifier
from lib.training.candidate_fitting import ScanLogits, calibrated, varied_batches
from lib.training.candidate_samples import CandidateSamples
from lib.training.second_stage import FALSE_FINDINGS

_BATCH = 32
_FEWEST_LESIONS = 5  # to calibrate the confidence on


def tune_judge(
    start: CandidateJudge,
    samples: Sequence[CandidateSamples],
    *,
    steps: int,
    learning_rate: float,
    share: float,
    seed: int,
) -> CandidateJudge:
    """Return a judge that learned the candidates of some scans, with the calibration of the one it started from.

    As for the segmentation network, the new weights are a mean of those before and after, and the statistics of batch
    normalisation stay as they were. Half of each batch are lesions, so without a lesion, or without another candidate,
    nothing is learned.

    Args:
        start: Judge in use.
        samples: Candidates of each scan.
        steps: Optimiser steps.
        learning_rate: Learning rate.
        share: Share of the trained weights in the mean, 0 to 1.
        seed: Seed of the batches.
    """
    lesion = torch.cat([one.lesion for one in samples]) if samples else torch.zeros(0, dtype=torch.bool)
    if not lesion.any() or lesion.all():
        return start
    network = _trained(start.network, samples, steps, learning_rate, seed)
    with torch.no_grad():
        for value, before in zip(network.parameters(), start.network.parameters(), strict=True):
            value.lerp_(before, 1 - share)
    return CandidateJudge(network, start.slope, start.intercept, start.operating_points)


def recalibrated(judge: CandidateJudge, scans: Sequence[ScanLogits]) -> CandidateJudge:
    """Return a judge whose confidence and limits are those of scans that were left out; with few, it is unchanged.

    Args:
        judge: The judge.
        scans: Logits of the scans, by judges that did not learn them.
    """
    if sum(int(scan.lesion.sum()) for scan in scans) < _FEWEST_LESIONS or all(scan.lesion.all() for scan in scans):
        return judge
    return calibrated(judge.network, scans, FALSE_FINDINGS)


def _trained(
    start: CandidateClassifier, samples: Sequence[CandidateSamples], steps: int, learning_rate: float, seed: int
) -> CandidateClassifier:
    torch.manual_seed(seed)
    network = copy.deepcopy(start).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm3d):
            module.eval()
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.01)
    for _, (cubes, lesion) in zip(range(steps), varied_batches(samples, seed, _BATCH), strict=False):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(network(cubes.fine, cubes.coarse, cubes.features), lesion).backward()
        optimizer.step()
    return network.eval()
