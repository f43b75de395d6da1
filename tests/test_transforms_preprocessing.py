"""Network input: HU clipping, normalisation, physical scale, lung field, neighbouring slices."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from lib.settings import load_info
from lib.transforms import image_transforms
from lib.transforms.adjacent_slices import AdjacentSlicesd
from lib.transforms.axial_field import AxialFieldd
from lib.transforms.lungs import find_lungs

PREPROCESSING = load_info()["preprocessing"]
MIDDLE = PREPROCESSING["slice_offsets_mm"].index(0)  # channel of the slice itself


def save(path, array, spacing):
    nib.save(nib.Nifti1Image(array.astype(np.float32), np.diag([-spacing[0], -spacing[1], spacing[2], 1])), path)


def chest(shape=(130, 110, 12), left_lung=True):
    """Return a body in air with two lungs, 3 mm voxels; the lungs end two slices before each end."""
    x, y, z = np.ogrid[tuple(slice(n) for n in shape)]
    body = ((x - 65) / 55) ** 2 + ((y - 55) / 40) ** 2 < 1
    inner = (z >= 2) & (z < shape[2] - 2)
    right = ((x - 42) / 18) ** 2 + ((y - 55) / 28) ** 2 < 1
    left = ((x - 88) / 18) ** 2 + ((y - 55) / 28) ** 2 < 1
    hu = np.where(body & (z >= 0), 40.0, -1000.0)
    hu[right & inner] = -800
    if left_lung:
        hu[left & inner] = -800
    return hu


def run(path, **changes):
    return Compose(image_transforms(PREPROCESSING | changes))({"image": path})


def test_hu_are_clipped_and_normalised(tmp_path):
    hu = np.full((40, 40, 3), -500.0)
    hu[:20, :, :] = 3000
    hu[:, :10, :] = -3000
    save(tmp_path / "a.nii.gz", hu, (1.0, 1.0, 1.0))
    image = run(tmp_path / "a.nii.gz", hu_mean=-200, hu_std=300)["image"]
    assert image.max() == pytest.approx((400 + 200) / 300, abs=1e-4)
    assert image.min() == pytest.approx((-1000 + 200) / 300, abs=1e-4)


def test_normalisation_per_scan_has_mean_0_and_deviation_1(tmp_path):
    save(tmp_path / "a.nii.gz", chest(), (3.0, 3.0, 3.0))
    image = run(tmp_path / "a.nii.gz", normalise="scan")["image"]
    assert image[MIDDLE].mean() == pytest.approx(0, abs=0.02)
    assert image[MIDDLE].std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("spacing", [0.5, 0.9])
def test_crop_is_padded_and_keeps_its_scale(spacing, tmp_path):
    hu = np.full((60, 60, 4), -1000.0)
    hu[20:40, 20:40] = 40  # a bar 20 pixels wide
    save(tmp_path / "crop.nii.gz", hu, (spacing, spacing, 2.0))
    image = run(tmp_path / "crop.nii.gz")["image"]
    pixel = PREPROCESSING["field_mm"] / 256
    np.testing.assert_allclose(image.pixdim[:2], pixel, rtol=0.01)
    width = (image[MIDDLE, :, 128, 1] > 0).sum().item() * pixel
    assert width == pytest.approx(20 * spacing, abs=1.5 * pixel)


def test_field_slice_resamples_the_whole_slice(tmp_path):
    save(tmp_path / "a.nii.gz", np.zeros((250, 200, 2)), (2.0, 2.0, 2.0))
    image = run(tmp_path / "a.nii.gz", field="slice")["image"]
    np.testing.assert_allclose(image.pixdim[:2], 500 / 256, rtol=1e-3)
    assert (image[MIDDLE, :, 128, 0] > 0).all()


def test_lung_field_is_centred_on_the_body_even_with_one_opaque_lung(tmp_path):
    shifted = np.roll(np.pad(chest(left_lung=False), ((30, 30), (30, 30), (0, 0)), constant_values=-1000), 20, axis=0)
    save(tmp_path / "a.nii.gz", shifted, (3.0, 3.0, 3.0))
    data = run(tmp_path / "a.nii.gz", field_mm=200)
    body = (data["image"][MIDDLE].numpy() > -0.5).any((1, 2))
    assert abs((body.argmax() + 255 - body[::-1].argmax()) / 2 - 127.5) < 3


def test_lung_field_grows_until_it_contains_both_lungs(tmp_path):
    save(tmp_path / "a.nii.gz", chest(), (3.0, 3.0, 3.0))
    image = run(tmp_path / "a.nii.gz", field_mm=150)["image"]
    lungs_mm = (88 + 18 - 42 + 18) * 3
    assert lungs_mm < float(image.pixdim[0]) * 256 < lungs_mm + 60


def test_slices_with_lung_are_detected(tmp_path):
    save(tmp_path / "a.nii.gz", chest(shape=(130, 110, 40)), (3.0, 3.0, 3.0))
    first, stop = run(tmp_path / "a.nii.gz")["lung_slices"]
    assert (first, stop) == (0, 40)  # two slices are less than the margin
    deep = np.concatenate([chest()[:, :, :1]] * 20 + [chest(shape=(130, 110, 20))], axis=2)
    save(tmp_path / "b.nii.gz", deep, (3.0, 3.0, 3.0))
    assert run(tmp_path / "b.nii.gz")["lung_slices"] == (19, 40)


def test_falls_back_to_the_whole_slice_without_lungs(tmp_path):
    save(tmp_path / "head.nii.gz", np.full((150, 150, 5), 40.0), (2.5, 2.5, 5.0))
    data = run(tmp_path / "head.nii.gz")
    assert data["lung_slices"] == (0, 5)
    np.testing.assert_allclose(data["image"].pixdim[:2], 375 / 256, rtol=1e-2)


def test_air_around_the_body_is_not_lung():
    box = find_lungs(chest(), (3.0, 3.0, 3.0))
    assert box.start == pytest.approx((25, 28, 2), abs=1)
    assert box.stop == pytest.approx((106, 83, 10), abs=1)
    assert find_lungs(np.full((50, 50, 5), -1000.0), (3.0, 3.0, 3.0)) is None


def test_neighbours_are_at_a_distance_in_mm_and_air_beyond_the_ends():
    ramp = torch.arange(10, dtype=torch.float32).expand(1, 4, 4, 10) - 1000
    volume = MetaTensor(ramp, affine=torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0])))
    stacked = AdjacentSlicesd(keys="image", offsets_mm=(-3, 0, 1, 5))({"image": volume})["image"]
    assert stacked.shape == (4, 4, 4, 10)
    air = 0
    expected = [
        [air, 0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5],  # the first slice extends half a slice down
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9],
        [2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9, air, air],
    ]
    for channel, line in zip(stacked, expected, strict=True):
        torch.testing.assert_close(channel[0, 0].as_tensor() + 1000, torch.tensor(line, dtype=torch.float32))


def test_invalid_settings_are_refused():
    with pytest.raises(ValueError, match="hu_window must be"):
        image_transforms(PREPROCESSING | {"hu_window": [400, -1000]})
    with pytest.raises(ValueError, match="'dataset' or 'scan', not 'global'"):
        image_transforms(PREPROCESSING | {"normalise": "global"})
    with pytest.raises(ValueError, match="'lungs' or 'slice', not 'chest'"):
        AxialFieldd(keys="image", field_mm=300, mode="chest", normalise=None, size=(256, 256))
    with pytest.raises(ValueError, match="above 0, got 0"):
        AxialFieldd(keys="image", field_mm=0, normalise=None, size=(256, 256))
