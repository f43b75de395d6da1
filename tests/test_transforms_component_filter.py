"""DropDoubtfuld keeps what is large and confident enough, and nothing else changes."""

import logging

import numpy as np
import torch
from monai.data import MetaTensor

from lib.transforms.component_filter import DropDoubtfuld


def drop(probability, **options):
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0]))
    pred = MetaTensor(torch.from_numpy(probability[None].astype(np.float32)), affine=affine)
    transform = DropDoubtfuld(keys="pred", threshold=0.5, **({"min_diameter_mm": 0, "min_confidence": 0} | options))
    return transform({"pred": pred})["pred"]


def findings():
    """20 voxels of 2 mm³ (4.2 mm), sure; 4 voxels (2.5 mm), sure; 20 voxels, doubtful; around them 0.2."""
    probability = np.full((30, 30, 10), 0.2)
    probability[2:6, 2:7, 2] = 0.95
    probability[15:17, 2:4, 2] = 0.95
    probability[2:6, 20:25, 5] = 0.6
    return probability


def test_small_findings_go():
    left = drop(findings(), min_diameter_mm=3)[0].numpy()
    assert (left >= 0.5).sum() == 40
    assert (left[15:17, 2:4, 2] == 0).all()


def test_doubtful_findings_go():
    left = drop(findings(), min_confidence=0.8)[0].numpy()
    assert (left >= 0.5).sum() == 24
    assert (left[2:6, 20:25, 5] == 0).all()


def test_everything_else_stays(caplog):
    probability = findings()
    with caplog.at_level(logging.INFO):
        left = drop(probability, min_diameter_mm=3, min_confidence=0.8)[0].numpy()
    assert "2 of 3 findings left out" in caplog.text
    kept = left != 0
    np.testing.assert_allclose(left[kept], probability[kept], rtol=1e-6)
    assert kept.sum() == probability.size - 24


def test_zero_keeps_all_and_the_grid():
    result = drop(findings())
    np.testing.assert_allclose(result[0].numpy(), findings(), rtol=1e-6)
    np.testing.assert_allclose(result.affine.numpy(), np.diag([1, 1, 2, 1]))
