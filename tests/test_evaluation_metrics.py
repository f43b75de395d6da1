"""Metrics against manually calculated values."""

import numpy as np
import pytest

from lib.evaluation.metrics import VoxelCounts, match_lesions
from lib.inference import Finding


def cube(corner, side=4, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(start, start + side) for start in corner)] = True
    return mask


def test_perfect_mask():
    counts = VoxelCounts.of(cube((2, 2, 2)), cube((2, 2, 2)))
    assert (counts.dice, counts.iou, counts.accuracy, counts.precision, counts.sensitivity) == (1, 1, 1, 1, 1)


def test_empty_mask():
    counts = VoxelCounts.of(np.zeros((20, 20, 20)), cube((2, 2, 2)))
    assert (counts.dice, counts.iou, counts.precision, counts.sensitivity) == (0, 0, 1, 0)
    assert counts.accuracy == pytest.approx(1 - 64 / 8000)


def test_shifted_mask():
    """A shift by half the side leaves 32 of 64 voxels overlapping."""
    counts = VoxelCounts.of(cube((4, 2, 2)), cube((2, 2, 2)))
    assert counts == VoxelCounts(32, 8000 - 96, 32, 32)
    assert counts.dice == pytest.approx(0.5)
    assert counts.iou == pytest.approx(1 / 3)
    assert counts.precision == counts.sensitivity == pytest.approx(0.5)
    assert counts.accuracy == pytest.approx(1 - 64 / 8000)


def test_empty_mask_without_lesions_is_perfect():
    counts = VoxelCounts.of(np.zeros((5, 5, 5)), np.zeros((5, 5, 5)))
    assert (counts.dice, counts.iou, counts.sensitivity) == (1, 1, 1)


def test_rejects_masks_on_different_grids():
    with pytest.raises(ValueError, match="not on the same grid"):
        VoxelCounts.of(np.zeros((5, 5, 5)), np.zeros((5, 5, 6)))


def test_lesions_are_matched_individually():
    truth = cube((2, 2, 2)) | cube((12, 12, 12), side=2)
    found = cube((4, 2, 2)) | cube((12, 2, 12), side=2)
    (large, small), invented = match_lesions(found, truth, voxel_mm3=27.0)
    assert large.best_iou == pytest.approx(1 / 3)
    assert large.hit
    assert large.dice == pytest.approx(0.5)
    assert large.diameter_mm == pytest.approx((6 * 64 * 27 / np.pi) ** (1 / 3))
    assert not large.small
    assert (small.best_iou, small.hit, small.small, small.dice) == (0, False, True, 0)
    assert invented == 1


def test_lesion_has_the_confidence_of_the_component_that_matches_it_best():
    truth = cube((2, 2, 2)) | cube((12, 12, 12), side=2)
    found = cube((2, 2, 3)) | cube((5, 5, 1), side=1) | cube((12, 2, 12), side=2)
    findings = [Finding((2, 2, 4), 0.9), Finding((5, 5, 1), 0.2), Finding((12, 2, 12), 0.1)]
    (large, small), _ = match_lesions(found, truth, 1.0, findings=findings)
    assert (large.confidence, small.confidence) == (0.9, None)
    assert match_lesions(found, truth, 1.0)[0][0].confidence is None


def test_component_covering_two_lesions_is_no_false_positive():
    truth = cube((2, 2, 2)) | cube((8, 2, 2))
    found = np.zeros_like(truth)
    found[2:12, 2:6, 2:6] = True
    lesions, invented = match_lesions(found, truth, voxel_mm3=1.0)
    assert [lesion.best_iou for lesion in lesions] == pytest.approx([64 / 160] * 2)
    assert invented == 0


def test_pieces_of_the_consensus_that_a_reader_joined_are_one_lesion():
    truth = cube((2, 2, 2)) | cube((8, 2, 2), side=2)
    marked = truth | cube((14, 14, 14))
    marked[2:10, 2:4, 2:4] = True
    ((lesion,), invented) = match_lesions(cube((2, 2, 2)) | cube((14, 14, 14)), truth, 1.0, marked)
    assert lesion.diameter_mm == pytest.approx((6 * (64 + 8) / np.pi) ** (1 / 3))
    assert lesion.best_iou == pytest.approx(64 / 72)
    assert invented == 1  # in what a reader marked, but not in the consensus
    assert len(match_lesions(truth, truth, 1.0)[0]) == 2


def test_voxels_touching_at_a_corner_are_one_lesion():
    truth = cube((2, 2, 2), side=2) | cube((4, 4, 4), side=2)
    assert len(match_lesions(truth, truth, voxel_mm3=1.0)[0]) == 1
