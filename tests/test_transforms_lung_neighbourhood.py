"""DropFarFromLungsd keeps findings at the lungs whole and removes findings far from them."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from lib.transforms.lung_neighbourhood import DropFarFromLungsd
from lib.transforms.lungs import inner_air

SHAPE = (64, 64, 12)  # voxels of 2 x 2 x 3 mm
COARSE = (32, 32, 12)


def drop_far(probability, lungs, reach_mm=5):
    image = MetaTensor(torch.zeros(1, *SHAPE), affine=torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0])))
    data = {"image": image, "pred": torch.from_numpy(probability[None]), "lungs": lungs}
    return DropFarFromLungsd(keys="pred", image_key="image", threshold=0.5, reach_mm=reach_mm)(data)["pred"][0].numpy()


@pytest.fixture
def lungs():
    mask = torch.zeros(COARSE, dtype=torch.bool)
    mask[5:12, 10:20, 2:10] = True
    return mask


def test_finding_that_touches_the_lungs_stays_whole(lungs):
    probability = np.zeros(SHAPE, np.float32)
    probability[20:50, 15:35, 4:6] = 0.9  # 30 mm; starts in the lung and extends 50 mm beyond
    probability[55:60, 50:55, 4:6] = 0.8
    probability[40:45, 50:55, 0] = 0.3  # below the threshold: no finding
    left = drop_far(probability, lungs)
    assert (left[20:50, 15:35, 4:6] == np.float32(0.9)).all()
    assert (left[55:60, 50:55] == 0).all()
    assert (left[40:45, 50:55, 0] == np.float32(0.3)).all()


@pytest.mark.parametrize(("first", "stays"), [(20, True), (25, False)])
def test_small_finding_stays_if_a_third_of_it_is_near(lungs, first, stays):
    probability = np.zeros(SHAPE, np.float32)
    probability[first : first + 12, 24:30, 4:6] = 0.9  # 15 mm; beyond index 24 it is outside of the lung
    assert bool(drop_far(probability, lungs).any()) is stays


@pytest.mark.parametrize(("reach_mm", "stays"), [(4, False), (12, True)])
def test_reach_is_in_mm(lungs, reach_mm, stays):
    probability = np.zeros(SHAPE, np.float32)
    probability[28:30, 24:30, 4:6] = 0.9  # the lung ends at index 24: distance 8 mm
    assert bool(drop_far(probability, lungs, reach_mm).any()) is stays


def test_without_lungs_nothing_is_removed():
    probability = np.full(SHAPE, 0.7, np.float32)
    np.testing.assert_array_equal(drop_far(probability, None), probability)


def test_bowel_gas_is_not_lung():
    air = np.zeros((60, 60, 60), bool)
    air[5:30, 5:30, 5:55] = True
    air[45:50, 45:50, 5:10] = True
    assert inner_air(air, voxel_ml=0.2)[10, 10, 10]
    assert not inner_air(air, voxel_ml=0.2)[46, 46, 6]
    air[:40] = False
    assert inner_air(air, voxel_ml=0.2)[46, 46, 6]  # alone it may be a remaining lung
