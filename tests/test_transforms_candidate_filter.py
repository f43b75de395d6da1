"""JudgeCandidatesd keeps candidates that are large and confident enough, and changes nothing else."""

import logging

import numpy as np
import torch
from monai.data import MetaTensor

from lib.transforms.candidate_filter import JudgeCandidatesd
from lib.transforms.candidates import Candidates

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def judge(image, candidates):
    """Return the highest probability of each candidate as its confidence."""
    return candidates.probability[tuple(candidates.peaks.T)]


def filtered(probability, lungs=True, **options):
    image = MetaTensor(torch.zeros(1, *probability.shape), affine=torch.from_numpy(AFFINE))
    pred = torch.from_numpy(probability[None].astype(np.float32))
    settings = {"threshold": 0.5, "min_diameter_mm": 0, "judge": judge} | options
    transform = JudgeCandidatesd(keys="pred", image_key="image", **settings)
    return transform({"pred": pred, "image": image, "lungs": torch.ones(2, 2, 2) if lungs else None})


def findings():
    """Return 20 confident voxels of 2 mm³ (4.2 mm), 4 confident (2.5 mm) and 20 uncertain ones; background 0.2."""
    probability = np.full((30, 30, 10), 0.2)
    probability[2:6, 2:7, 2] = 0.95
    probability[15:17, 2:4, 2] = 0.95
    probability[2:6, 20:25, 5] = 0.6
    return probability


def left(*arguments, **options):
    return filtered(*arguments, **options)["pred"][0].numpy()


def test_small_candidates_are_removed():
    kept = left(findings(), min_diameter_mm=3)
    assert (kept >= 0.5).sum() == 40
    assert (kept[15:17, 2:4, 2] == 0).all()


def test_unlikely_candidates_are_removed():
    kept = left(findings(), min_confidence=0.8)
    assert (kept >= 0.5).sum() == 24
    assert (kept[2:6, 20:25, 5] == 0).all()


def test_all_candidates_may_be_unlikely():
    probability = np.pad(findings(), ((60, 0), (60, 0), (20, 0)))
    found = filtered(probability, min_confidence=0.99)
    assert found["findings"] == []
    assert found["pred"].max() < 0.5


def test_every_finding_has_the_confidence_of_its_own_candidate():
    probability = findings()
    probability[3, 4, 2] = 0.99
    probability[16, 3, 2] = 0.97
    found = filtered(probability, min_confidence=0.8)["findings"]
    assert [voxels[0].tolist() for voxels, _ in found] == [[3, 4, 2], [16, 3, 2]]  # the most probable first
    assert [len(voxels) for voxels, _ in found] == [20, 4]
    np.testing.assert_allclose([confidence for _, confidence in found], [0.99, 0.97], rtol=1e-6)


def test_rest_of_the_probability_is_unchanged(caplog):
    probability = findings()
    with caplog.at_level(logging.INFO):
        kept = left(probability, min_diameter_mm=3, min_confidence=0.8)
    assert "Removed 2 of 3 findings" in caplog.text
    np.testing.assert_allclose(kept[kept != 0], probability[kept != 0], rtol=1e-6)
    assert (kept != 0).sum() == probability.size - 24


def test_in_a_crop_only_small_candidates_are_removed_and_none_is_judged():
    result = filtered(findings(), lungs=False, min_diameter_mm=3, min_confidence=0.8)
    np.testing.assert_array_equal(result["pred"][0].numpy(), left(findings(), min_diameter_mm=3))
    assert [confidence for _, confidence in result["findings"]] == [None, None]


def test_without_a_judge_every_candidate_is_kept():
    result = filtered(findings(), judge=None, min_confidence=0.9)
    np.testing.assert_allclose(result["pred"][0].numpy(), findings(), rtol=1e-6)
    assert [confidence for _, confidence in result["findings"]] == [None] * 3


def test_empty_prediction_is_unchanged():
    nothing = np.full((8, 8, 4), 0.1)
    result = filtered(nothing, min_diameter_mm=3, min_confidence=0.9)
    np.testing.assert_allclose(result["pred"][0].numpy(), nothing, rtol=1e-6)
    assert result["findings"] == []


def test_voxels_of_the_image_are_freed_and_its_geometry_is_kept():
    image = filtered(findings())["image"]
    assert image.untyped_storage().nbytes() < 100
    np.testing.assert_array_equal(image.affine.numpy(), AFFINE)
    assert image.shape == (1, 30, 30, 10)


def test_measurements_of_candidates():
    probability = np.zeros((40, 40, 30))
    probability[2:6, 2:6, 2:4] = 0.9  # a cube of 4 mm: slices are 2 mm apart
    probability[10:12, 2:20, 2] = 0.8
    probability[20:22, 20:22, 4:20] = 0.7
    probability[20, 20, 4] = 1.0
    candidates = Candidates.of(probability, 0.5, AFFINE)
    assert candidates.count == 3
    np.testing.assert_allclose(candidates.volumes_mm3, [64, 72, 128])
    np.testing.assert_allclose(candidates.medians, [0.9, 0.8, 0.7])
    np.testing.assert_allclose(candidates.centres, [[3.5, 3.5, 2.5], [10.5, 10.5, 2], [20.5, 20.5, 11.5]])
    assert candidates.peaks[2].tolist() == [20, 20, 4]
    np.testing.assert_allclose(candidates.elongations, [1, 9, 16])
    np.testing.assert_allclose(candidates.diameters_mm**3 * np.pi / 6, candidates.volumes_mm3)


def test_no_candidates_have_empty_measurements():
    none = Candidates.of(np.zeros((8, 8, 4), np.float32), 0.5, AFFINE)
    for values in (none.volumes_mm3, none.medians, none.elongations, none.diameters_mm, none.peaks, none.centres):
        assert len(values) == 0
