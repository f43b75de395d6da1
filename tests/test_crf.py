"""DenseCRFd: equal to pydensecrf on each box, keeps every lesion, bounded in time and memory."""

import logging
import tracemalloc

import numpy as np
import pydensecrf.densecrf as pydensecrf
import pytest
from pydensecrf.utils import create_pairwise_bilateral, create_pairwise_gaussian, unary_from_softmax
from scipy import ndimage

from lib.settings import load_info
from lib.transforms import DenseCRFd

INFER = load_info()["config"]["infer"]
SPACING = np.array([0.8, 0.8, 2.5])
OPTIONS = {name: INFER[f"crf_{name}"] for name in DenseCRFd.OPTIONS}


def crf(**changes):
    return DenseCRFd(keys="pred", image_key="hu", threshold=0.5, **(OPTIONS | changes))


def refine(transform, probability, hu):
    """Return the refined mask of a probability map."""
    mask = (probability >= 0.5).astype(np.uint8)
    transform.refine(mask, lambda boxes: [probability[box].astype(np.float32) for box in boxes], hu, SPACING)
    return mask.astype(bool)


@pytest.fixture
def lesion():
    """Return a noisy ball of tissue in lung, whose probability map is shifted by one voxel."""
    rng = np.random.default_rng(0)
    distance = np.linalg.norm((np.indices((60, 60, 20)).T - [30, 28, 10]) * SPACING, axis=-1).T
    hu = np.where(distance < 8, 30.0, -800.0) + rng.normal(0, 30, distance.shape)
    probability = np.clip(0.5 + (8 - np.roll(distance, 1, axis=0)) / 6, 0.01, 0.99)
    return probability.astype(np.float32), hu.astype(np.float32), distance < 8


def test_marginal_equals_pydensecrf_on_the_box(lesion):
    probability, hu, _ = lesion
    found = ndimage.find_objects(probability >= 0.5)[0]
    margin = np.ceil(OPTIONS["margin_mm"] / SPACING).astype(int)
    box = tuple(
        slice(max(s.start - m, 0), min(s.stop + m, n)) for s, m, n in zip(found, margin, probability.shape, strict=True)
    )
    p = probability[box]
    reference = pydensecrf.DenseCRF(p.size, 2)
    reference.setUnaryEnergy(unary_from_softmax(np.stack([1 - p, p])))
    reference.addPairwiseEnergy(
        create_pairwise_gaussian(OPTIONS["gaussian_mm"] / SPACING, p.shape), compat=OPTIONS["gaussian_weight"]
    )
    reference.addPairwiseEnergy(
        create_pairwise_bilateral(OPTIONS["bilateral_mm"] / SPACING, (OPTIONS["bilateral_hu"],), hu[box]),
        compat=OPTIONS["bilateral_weight"],
    )
    expected = np.array(reference.inference(OPTIONS["iterations"]))[1].reshape(p.shape)
    np.testing.assert_allclose(crf().marginal(p, hu[box], SPACING), expected, atol=1e-6)
    mask = np.zeros(probability.shape, bool)
    mask[box] = expected >= 0.5
    np.testing.assert_array_equal(refine(crf(), probability, hu), mask)


def test_outline_moves_to_the_image_edge(lesion):
    probability, hu, truth = lesion

    def dice(mask):
        return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())

    assert dice(refine(crf(), probability, hu)) > dice(probability >= 0.5) + 0.02


def test_nothing_is_marked_outside_the_boxes(lesion, monkeypatch):
    probability, hu, truth = lesion
    transform = crf(margin_mm=0)
    monkeypatch.setattr(transform, "marginal", lambda box, *_: np.ones_like(box))
    inside = np.zeros(truth.shape, bool)
    inside[ndimage.find_objects(probability >= 0.5)[0]] = True
    np.testing.assert_array_equal(refine(transform, probability, hu), inside)


def test_lesion_erased_by_the_crf_is_kept(lesion):
    _, hu, _ = lesion
    probability = np.full(hu.shape, 0.01, np.float32)
    probability[5, 5, 5] = 0.51  # one weak voxel in the middle of lung
    transform = crf(gaussian_weight=20)
    assert transform.marginal(probability, hu, SPACING)[5, 5, 5] < 0.5
    refined = refine(transform, probability, hu)
    assert refined[5, 5, 5]
    assert refined.sum() == 1


def test_every_lesion_is_refined(lesion):
    probability, hu, _ = lesion
    twice = np.concatenate([probability, probability])
    changed = refine(crf(), twice, np.concatenate([hu, hu])) != (twice >= 0.5)
    assert changed[:60].any() and changed[60:].any()


def test_smaller_of_two_overlapping_boxes_wins(monkeypatch):
    probability = np.zeros((30, 10, 10), np.float32)
    probability[4:6, 4:6, 4:6] = probability[10:20, 2:8, 2:8] = 0.9
    transform = crf(margin_mm=8)
    monkeypatch.setattr(transform, "marginal", lambda box, *_: np.full_like(box, box.size < 2000))
    refined = refine(transform, probability, np.zeros(probability.shape))
    small = np.zeros(refined.shape, bool)
    small[:16] = True  # with a margin of 10 voxels
    assert refined[small].all()
    assert not refined[20:].any()


def test_lesion_above_the_voxel_budget_is_left_unrefined(lesion, caplog):
    probability, hu, _ = lesion
    with caplog.at_level(logging.WARNING):
        refined = refine(crf(max_voxels=1000), probability, hu)
    np.testing.assert_array_equal(refined, probability >= 0.5)
    assert "CRF skipped for the 1 largest of 1" in caplog.text


def test_small_lesion_is_refined_beside_one_above_the_budget(lesion):
    probability, hu, _ = lesion
    wide = np.concatenate([probability, np.full((200, 60, 20), 0.9, np.float32)])
    wide[60:100] = 0.0
    refined = refine(crf(max_voxels=60 * 60 * 20), wide, np.concatenate([hu, np.zeros((200, 60, 20))]))
    assert (refined[:60] != (probability >= 0.5)).any()
    np.testing.assert_array_equal(refined[100:], wide[100:] >= 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["whole lung", "many specks"])
def test_time_and_memory_are_bounded(pattern, monkeypatch):
    probability = np.full((120, 100, 60), 0.1, np.float32)
    if pattern == "whole lung":
        probability[5:-5, 5:-5, 5:-5] = 0.9
    else:
        probability[::4, ::4, ::4] = 0.9
    hu = np.zeros(probability.shape, np.float32)
    transform = crf(max_voxels=50_000, margin_mm=3)
    refined_voxels = []

    def marginal(box, *_):
        refined_voxels.append(box.size)
        return box

    monkeypatch.setattr(transform, "marginal", marginal)
    tracemalloc.start()
    refined = refine(transform, probability, hu)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(refined_voxels) <= 50_000
    assert bool(refined_voxels) == (pattern == "many specks")
    assert peak < 24 * probability.nbytes
    np.testing.assert_array_equal(refined, probability >= 0.5)


def test_empty_mask_stays_empty():
    probability = np.full((10, 10, 10), 0.2, np.float32)
    assert not refine(crf(), probability, np.zeros((10, 10, 10))).any()
