"""Candidates and judges of the second stage, without an image."""

import torch

from lib.inference.candidate_cubes import CHANNELS, FEATURES, SIDE, CandidateCubes
from lib.inference.candidate_judge import CandidateJudge, new_classifier
from lib.training.candidate_samples import JITTER, CandidateSamples


def samples(lesions, others, seed=0, rejected=None):
    """Return candidates whose own mask is larger if they are a lesion."""
    count, side = lesions + others, SIDE + JITTER
    lesion = torch.arange(count) < lesions
    torch.manual_seed(seed)
    fine = torch.rand(count, CHANNELS[0], side, side, side) * 0.1
    fine[lesion, :, 8:16, 8:16, 8:16] += 1.0
    cubes = CandidateCubes(fine, torch.rand(count, CHANNELS[1], side, side, side), torch.zeros(count, FEATURES))
    return CandidateSamples(cubes, lesion, lesions, lesions, rejected=rejected)


def judge(seed=0):
    torch.manual_seed(seed)
    return CandidateJudge(new_classifier(), 0.5, -1.0, [(0.0, 0.9), (1.0, 0.2)])
