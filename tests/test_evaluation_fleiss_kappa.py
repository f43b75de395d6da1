"""Fleiss' kappa against the worked example of Fleiss (1971)."""

import numpy as np
import pytest

from lib.evaluation.fleiss_kappa import count_ratings, count_voxels

# Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76 (1971), Table 1: diagnoses of
# 30 patients by six psychiatrists each, as depression, personality disorder, schizophrenia, neurosis or other.
ROWS = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 10050 11040 03300 10050 02031
00501 30012 51000 02040 10203 00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""
DIAGNOSES = np.array([[int(count) for count in row] for row in ROWS.split()])


def test_published_example():
    counts = count_ratings(DIAGNOSES)
    assert (DIAGNOSES.sum(axis=0) / 180).round(3).tolist() == [0.144, 0.144, 0.167, 0.306, 0.239]
    assert counts.agreement / counts.subjects == pytest.approx(0.555, abs=0.001)
    assert counts.kappa == pytest.approx(0.430, abs=0.001)


def test_sums_of_images_add_up_to_the_kappa_of_all():
    halves = count_ratings(DIAGNOSES[:11]) + count_ratings(DIAGNOSES[11:])
    assert halves.kappa == pytest.approx(count_ratings(DIAGNOSES).kappa)


def test_voxels_of_two_readers():
    """Of four voxels, one is marked by both and one by the first: agreement 3/4, 3 of 8 ratings are "marked"."""
    masks = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool).reshape(2, 4, 1, 1)
    chance = (3 / 8) ** 2 + (5 / 8) ** 2
    assert count_voxels(masks).kappa == pytest.approx((3 / 4 - chance) / (1 - chance))


def test_no_kappa_without_two_categories_or_two_readers():
    assert count_voxels(np.ones((2, 2, 2, 2), bool)).kappa is None
    with pytest.raises(ValueError, match="two or more"):
        count_voxels(np.ones((1, 2, 2, 2), bool))
