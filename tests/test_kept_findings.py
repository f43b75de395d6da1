"""Findings of a prediction that a label still has after it was edited."""

import numpy as np
import pytest

from lib.datastore.kept_findings import kept_findings

SHAPE = (6, 12, 20)  # slice, row, column
BAR, SPOT = {"voxel": [4, 3, 2], "confidence": 0.9}, {"voxel": [15, 8, 4], "confidence": 0.3}


@pytest.fixture
def predicted() -> np.ndarray:
    """Return a bar of nine voxels along a row, and a distant spot."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, 3, 1:10] = 1
    mask[4, 8, 15:17] = 1
    return mask


def test_untouched_findings_are_kept(predicted):
    assert kept_findings([BAR, SPOT], predicted, predicted) == [BAR, SPOT]


def test_grown_finding_keeps_its_voxel(predicted):
    label = predicted.copy()
    label[1:4, 2:5, 0:12] = 1
    assert kept_findings([BAR, SPOT], predicted, label) == [BAR, SPOT]


def test_removed_and_added_lesions_have_no_finding(predicted):
    label = np.zeros(SHAPE, np.uint8)
    label[2, 3, 1:10] = 1
    label[0, 0, 0] = 1
    assert kept_findings([BAR, SPOT], predicted, label) == [BAR]


def test_finding_whose_voxel_was_erased_moves_to_the_nearest_one_left(predicted):
    label = predicted.copy()
    label[2, 3, 1:7] = 0
    assert kept_findings([BAR], predicted, label) == [{"voxel": [7, 3, 2], "confidence": 0.9}]


def test_divided_finding_is_in_each_part(predicted):
    label = predicted.copy()
    label[2, 3, 6] = 0
    kept = kept_findings([BAR], predicted, label)
    assert kept == [BAR, {"voxel": [7, 3, 2], "confidence": 0.9}]


def test_lesion_beyond_the_box_of_the_prediction_is_one(predicted):
    """Its two ends inside the box are connected outside of it; both may have an entry, with the same confidence."""
    label = predicted.copy()
    label[2, 3, 6] = 0
    label[0:3, 3, 5] = label[0:3, 3, 7] = label[0, 3, 5:8] = 1
    kept = kept_findings([BAR], predicted, label)
    assert {finding["confidence"] for finding in kept} == {0.9}
    assert all(label[tuple(finding["voxel"][::-1])] for finding in kept)


@pytest.mark.parametrize("voxel", [[0, 0, 0], [99, 3, 2], [-1, 3, 2], [4, 3, 5]])
def test_finding_that_is_not_in_the_prediction_is_left_out(predicted, voxel):
    assert kept_findings([{"voxel": voxel, "confidence": 0.9}], predicted, predicted) == []


def test_empty_masks(predicted):
    empty = np.zeros(SHAPE, np.uint8)
    assert kept_findings([], predicted, predicted) == []
    assert kept_findings([BAR], predicted, empty) == []
    assert kept_findings([BAR], empty, predicted) == []
