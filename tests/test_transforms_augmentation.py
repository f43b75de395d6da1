"""Patches that a network is trained on."""

import pytest
import torch
from monai.transforms import Compose, RandFlipd, RandLambdad

from lib.phantoms import chest_volume, write_volume
from lib.transforms import image_transforms
from lib.transforms.augmentation import patch_transforms
from tests.support.train_task import GRID


@pytest.mark.slow
def test_half_of_the_patches_contain_tumour(train_info, chests):
    preprocessing = train_info["preprocessing"]
    draw = Compose(
        [
            *image_transforms(preprocessing, keys=("image", "label")),
            *patch_transforms(preprocessing, patch_size=32, count=200),
        ]
    ).set_random_state(0)
    patches = draw({"image": chests[0]["image"], "label": chests[0]["label"]})
    assert len(patches) == 200
    channels = len(preprocessing["slice_offsets_mm"])
    assert all(patch["image"].shape == (channels, 32, 32) and patch["label"].shape == (1, 32, 32) for patch in patches)
    assert {value for patch in patches for value in patch["label"].unique().tolist()} == {0.0, 1.0}
    centred = sum(patch["label"].sum() > 0 for patch in patches)
    assert 100 <= centred < 200


@pytest.mark.parametrize(("offsets", "sides"), [([-5, 0, 5], {1.0, 3.0}), ([-5, 0, 2.5], {1.0})])
def test_volumes_are_flipped_along_the_scan_axis_only_with_symmetric_offsets(train_info, offsets, sides):
    transforms = patch_transforms(train_info["preprocessing"] | {"slice_offsets_mm": offsets}, patch_size=8, count=20)
    turns = [one for one in transforms if isinstance(one, (RandFlipd, RandLambdad))]
    image = torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand(3, 8, 8)
    draw = Compose(turns).set_random_state(0)
    assert {float(draw({"image": image, "label": image[:1]})["image"][0, 0, 0]) for _ in range(20)} == sides


def test_volume_without_tumour_still_gives_patches(train_info, chests, tmp_path):
    hu, mask, affine = chest_volume(3, acquisition=GRID)
    files = {
        "image": write_volume(tmp_path / "i.nrrd", hu, affine),
        "label": write_volume(tmp_path / "l.nii.gz", mask, affine),
    }
    preprocessing = train_info["preprocessing"]
    transforms = [
        *image_transforms(preprocessing, keys=("image", "label")),
        *patch_transforms(preprocessing, patch_size=32, count=8),
    ]
    patches = Compose(transforms)(files)
    assert len(patches) == 8
    assert all(patch["label"].sum() == 0 for patch in patches)
