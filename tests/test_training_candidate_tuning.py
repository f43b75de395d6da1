"""What the second stage learns from labelled scans, and its calibration on scans that were left out."""

import numpy as np
import pytest
import torch

from lib.training.candidate_fitting import ScanLogits, scan_logits, varied_batches
from lib.training.candidate_tuning import recalibrated, tune_judge
from tests.support.candidates import judge, samples

TUNING = {"steps": 12, "learning_rate": 0.003, "seed": 0}


def margin(one, of):
    logits = scan_logits(one, of)
    return logits.logits[logits.lesion].mean() - logits.logits[~logits.lesion].mean()


def test_tuning_separates_the_lesions_of_a_scan_and_keeps_calibration_and_statistics():
    start = judge()
    tuned = tune_judge(start, [samples(1, 3), samples(1, 3, seed=2)], **TUNING)
    assert margin(tuned, samples(2, 6, seed=1)) > margin(start, samples(2, 6, seed=1)) + 0.1
    assert (tuned.slope, tuned.intercept, tuned.operating_points) == (0.5, -1.0, start.operating_points)
    buffers = zip(tuned.network.buffers(), start.network.buffers(), strict=True)
    assert all(torch.equal(one, other) for one, other in buffers)


def test_tuning_stays_near_the_logits_before_however_long_it_takes():
    start, learned = judge(), samples(2, 6)
    tuned = tune_judge(start, [learned, learned], steps=60, learning_rate=0.01, seed=0)
    assert np.abs(scan_logits(tuned, learned).logits - scan_logits(start, learned).logits).max() < 2.5


@pytest.mark.parametrize("scans", [[], [samples(2, 6)], [samples(1, 3), samples(0, 3)], [samples(2, 0)] * 2])
def test_without_two_scans_with_lesions_or_other_candidates_nothing_is_learned(scans):
    start = judge()
    assert tune_judge(start, scans, **TUNING) is start


def test_what_a_reader_rejected_is_drawn_three_times_as_often():
    rejected = torch.tensor([False, True, False, False])
    group = samples(1, 3, rejected=rejected)
    group.cubes.features[:, 0] = torch.arange(4.0)
    drawn = []
    for _, (cubes, lesion) in zip(range(60), varied_batches([group], 0, 32), strict=False):
        drawn += cubes.features[lesion == 0, 0].tolist()
    counts = np.bincount(np.array(drawn, int), minlength=4)
    assert counts[0] == 0 and counts[1] / counts[2:].mean() == pytest.approx(3, abs=0.5)


def test_confidence_is_calibrated_on_five_lesions_or_more_only():
    rng = np.random.default_rng(0)

    def scans(count):
        return [ScanLogits(np.r_[3.0, rng.normal(-3, 1, 9)], np.arange(10) < 1, composed=False) for _ in range(count)]

    start = judge()
    assert recalibrated(start, scans(4)) is start
    site = recalibrated(start, scans(6))
    assert site.network is start.network and site.operating_points != start.operating_points
    assert site.confidences(np.array([3.0]))[0] > 0.5 > site.confidences(np.array([-3.0]))[0]


@pytest.mark.parametrize("apart", [1.0, 4.0, 10.0])
def test_few_lesions_that_are_all_recognised_are_not_certain(apart):
    """Six lesions among 42 candidates cannot tell a probability of 0.99 from one of 1."""
    rng = np.random.default_rng(0)
    logits = [np.r_[apart, rng.uniform(-1, 0.5, 6)] for _ in range(6)]
    site = recalibrated(judge(), [ScanLogits(one, np.arange(7) < 1, composed=False) for one in logits])
    confidences = site.confidences(np.concatenate(logits).reshape(6, 7))
    assert 0.5 < confidences[:, 0].mean() < 0.98
    assert 0.002 < confidences[:, 1:].mean() < 0.15


def test_a_judge_that_ranks_lesions_last_is_not_calibrated():
    start = judge()
    logits = np.r_[-3.0, np.linspace(1, 3, 6)]
    assert recalibrated(start, [ScanLogits(logits, np.arange(7) < 1, composed=False)] * 6) is start
