"""FilterComponentsd keeps components that are large and confident enough, and changes nothing else."""

import logging

import numpy as np
import torch
from monai.data import MetaTensor

from lib.transforms.component_filter import FilterComponentsd

KEEP_ALL = {"min_diameter_mm": 0, "min_confidence": 0, "max_elongation": 0}


def filtered(probability, lungs=True, **options):
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0]))
    image = MetaTensor(torch.zeros(1, *probability.shape), affine=affine)
    pred = torch.from_numpy(probability[None].astype(np.float32))
    transform = FilterComponentsd(keys="pred", image_key="image", threshold=0.5, **(KEEP_ALL | options))
    return transform({"pred": pred, "image": image, "lungs": torch.ones(2, 2, 2) if lungs else None})["pred"]


def findings():
    """Return 20 confident voxels of 2 mm³ (4.2 mm), 4 confident (2.5 mm) and 20 uncertain ones; background 0.2."""
    probability = np.full((30, 30, 10), 0.2)
    probability[2:6, 2:7, 2] = 0.95
    probability[15:17, 2:4, 2] = 0.95
    probability[2:6, 20:25, 5] = 0.6
    return probability


def test_small_findings_are_removed():
    left = filtered(findings(), min_diameter_mm=3)[0].numpy()
    assert (left >= 0.5).sum() == 40
    assert (left[15:17, 2:4, 2] == 0).all()


def test_uncertain_findings_are_removed():
    left = filtered(findings(), min_confidence=0.8)[0].numpy()
    assert (left >= 0.5).sum() == 24
    assert (left[2:6, 20:25, 5] == 0).all()


def test_one_confident_voxel_does_not_make_a_finding_confident():
    probability = findings()
    probability[3, 22, 5] = 1.0
    assert (filtered(probability, min_confidence=0.8)[0].numpy() >= 0.5).sum() == 24


def test_blurred_border_does_not_make_a_finding_uncertain():
    probability = findings()
    probability[2:6, 2:4, 2] = 0.5  # 8 of 20 voxels
    assert (filtered(probability, min_confidence=0.9)[0].numpy() >= 0.5).sum() == 24
    probability[2:6, 4, 2] = 0.5  # 12 of 20 voxels
    assert (filtered(probability, min_confidence=0.9)[0].numpy() >= 0.5).sum() == 4


def test_elongated_findings_are_removed_in_every_direction_in_mm():
    probability = np.zeros((40, 40, 30))
    probability[2:6, 2:6, 2:4] = 0.9  # a cube of 4 mm: slices are 2 mm apart
    probability[10:12, 2:20, 2] = 0.9
    probability[20:22, 20:22, 4:20] = 0.9
    for step in range(16):
        probability[15 + step : 17 + step, 15 + step : 17 + step, 25] = 0.9
    left = filtered(probability, max_elongation=3)[0].numpy()
    assert (left >= 0.5).sum() == 32
    assert (left[2:6, 2:6, 2:4] >= 0.5).all()


def test_rest_of_the_probability_is_unchanged(caplog):
    probability = findings()
    with caplog.at_level(logging.INFO):
        left = filtered(probability, min_diameter_mm=3, min_confidence=0.8)[0].numpy()
    assert "Removed 2 of 3 findings" in caplog.text
    kept = left != 0
    np.testing.assert_allclose(left[kept], probability[kept], rtol=1e-6)
    assert kept.sum() == probability.size - 24


def test_in_a_crop_only_small_findings_are_removed():
    left = filtered(findings(), lungs=False, min_diameter_mm=3, min_confidence=0.8, max_elongation=1)[0].numpy()
    np.testing.assert_array_equal(left, filtered(findings(), min_diameter_mm=3)[0].numpy())


def test_zero_thresholds_keep_everything():
    np.testing.assert_allclose(filtered(findings())[0].numpy(), findings(), rtol=1e-6)


def test_empty_prediction_is_unchanged():
    nothing = np.full((8, 8, 4), 0.1)
    np.testing.assert_allclose(filtered(nothing, min_confidence=0.9, max_elongation=3)[0].numpy(), nothing, rtol=1e-6)
