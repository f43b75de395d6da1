"""image_transforms and their inverse in mask_transforms: any stored orientation, measured in mm."""

import nibabel as nib
import nrrd
import numpy as np
import pytest
import torch
from monai.transforms import Compose

from lib.settings import load_info
from lib.transforms import image_transforms, mask_transforms

PREPROCESSING = load_info()["preprocessing"]
ITSELF = [PREPROCESSING["slice_offsets_mm"].index(0)]  # channel of the slice itself
INFER = load_info()["config"]["infer"]
CENTRE = np.array([12.0, -7.0, 31.0])  # centre of the object, RAS mm


def rotation(degrees):
    """Return a rotation about an axis oblique to the patient."""
    axis = np.array([1.0, 2.0, 0.5]) / np.linalg.norm([1.0, 2.0, 0.5])
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def grid(columns, spacing, shape, degrees=0):
    """Return an affine (RAS) with the given patient directions as axes and the volume centre near the object."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ np.array(columns, float).T * np.array(spacing)
    affine[:3, 3] = CENTRE + np.array([3, 5, -4]) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


LEFT, POSTERIOR, UP = (-1, 0, 0), (0, -1, 0), (0, 0, 1)
RIGHT, ANTERIOR, DOWN = (1, 0, 0), (0, 1, 0), (0, 0, -1)
STORED = {
    "LPS": ((LEFT, POSTERIOR, UP), (0.9, 0.9, 2.5), (120, 120, 24), 0),
    "RAS": ((RIGHT, ANTERIOR, UP), (0.7, 0.7, 1.25), (150, 150, 40), 0),
    "feet first, reversed": ((RIGHT, POSTERIOR, DOWN), (1.0, 1.0, 3.0), (110, 110, 20), 0),
    "sagittal": ((POSTERIOR, DOWN, LEFT), (0.8, 2.0, 1.1), (130, 26, 100), 0),
    "coronal": ((LEFT, DOWN, POSTERIOR), (1.1, 2.0, 0.8), (100, 26, 130), 0),
    "oblique": ((LEFT, POSTERIOR, UP), (0.9, 0.9, 2.5), (120, 120, 24), 1),
    "anisotropic in the plane": ((LEFT, POSTERIOR, UP), (0.6, 1.3, 4.0), (170, 90, 16), 0),
    "larger than the field": ((LEFT, POSTERIOR, UP), (2.0, 2.0, 5.0), (250, 220, 12), 0),
}


def positions(affine, shape):
    """Return the RAS position in mm of every voxel centre, shape (*shape, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def asymmetric_object(affine, shape):
    """Return a signed distance in mm to an ellipsoid with a bump on one side, positive inside."""
    p = positions(affine, shape) - CENTRE
    body = 14 - np.linalg.norm(p / [1.4, 1.0, 1.0], axis=-1)
    bump = 8 - np.linalg.norm(p - [9, 12, 6], axis=-1)
    return np.maximum(body, bump)


def write(path, array, affine):
    if path.suffix == ".nrrd":
        lps = np.diag([-1, -1, 1, 1]) @ affine
        header = {
            "space": "left-posterior-superior",
            "space directions": lps[:3, :3].T,
            "space origin": lps[:3, 3],
        }
        nrrd.write(str(path), array.astype(np.int16), header)
    else:
        nib.save(nib.Nifti1Image(array.astype(np.int16), affine), path)


@pytest.fixture(params=STORED)
def stored(request):
    columns, spacing, shape, degrees = STORED[request.param]
    return grid(columns, spacing, shape, degrees), shape


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii"])
@pytest.mark.parametrize("field", ["lungs", "slice"])
def test_object_is_mapped_back_to_its_position(stored, suffix, field, tmp_path):
    affine, shape = stored
    inside = asymmetric_object(affine, shape)
    path = tmp_path / f"image{suffix}"
    write(path, np.where(inside > 0, 40, -800), affine)
    forward = Compose(image_transforms(PREPROCESSING | {"field": field}))
    data = forward({"image": path})
    assert tuple(data["image"].shape[:3]) == (len(PREPROCESSING["slice_offsets_mm"]), 256, 256)
    # Half way between lung and tumour in normalised HU is the zero of the logits.
    middle = (-380 - PREPROCESSING["hu_mean"]) / PREPROCESSING["hu_std"]
    data["pred"] = (data["image"][ITSELF] - middle).as_tensor() * 20
    mask = Compose(mask_transforms(INFER))(data)["pred"]

    assert mask.dtype == torch.uint8
    assert tuple(mask.shape) == shape
    np.testing.assert_allclose(mask.affine.numpy(), affine, atol=1e-4)
    found = mask.numpy().astype(bool)
    overlap = 2 * (found & (inside > 0)).sum() / (found.sum() + (inside > 0).sum())
    assert overlap > 0.97
    where = positions(affine, shape)
    np.testing.assert_allclose(where[found].mean(0), where[inside > 0].mean(0), atol=0.2)


def test_axes_are_left_posterior_superior(stored, tmp_path):
    affine, shape = stored
    write(tmp_path / "image.nrrd", np.where(asymmetric_object(affine, shape) > 0, 40, -800), affine)
    image = Compose(image_transforms(PREPROCESSING))({"image": tmp_path / "image.nrrd"})["image"]
    directions = image.affine.numpy()[:3, :3] / np.linalg.norm(image.affine.numpy()[:3, :3], axis=0)
    np.testing.assert_allclose(directions, np.diag([-1, -1, 1]), atol=0.03)
    # The affine of the result is correct: the object is at the same position in mm.
    bright = image[ITSELF][0].numpy() > 0.3
    where = positions(image.affine.numpy(), image.shape[1:])
    source = positions(affine, shape)[asymmetric_object(affine, shape) > 0]
    np.testing.assert_allclose(where[bright].mean(0), source.mean(0), atol=0.3)


def test_label_is_resampled_with_the_image(stored, tmp_path):
    affine, shape = stored
    inside = asymmetric_object(affine, shape) > 0
    write(tmp_path / "image.nii.gz", np.where(inside, 40, -800), affine)
    write(tmp_path / "label.nii.gz", inside, affine)
    data = Compose(image_transforms(PREPROCESSING, ("image", "label")))(
        {"image": tmp_path / "image.nii.gz", "label": tmp_path / "label.nii.gz"}
    )
    label = data["label"].numpy()
    assert label.shape == (1, *data["image"].shape[1:])
    assert set(np.unique(label)) == {0, 1}
    bright = data["image"][ITSELF].numpy() > (-380 + 500) / 400
    assert 2 * (label.astype(bool) & bright).sum() / (label.sum() + bright.sum()) > 0.95


def test_negative_logits_give_an_empty_mask(tmp_path):
    columns, spacing, shape, _ = STORED["RAS"]
    write(tmp_path / "image.nrrd", np.full(shape, -800), grid(columns, spacing, shape))
    forward = Compose(image_transforms(PREPROCESSING))
    data = forward({"image": tmp_path / "image.nrrd"})
    data["pred"] = torch.full((1, *data["image"].shape[1:]), -10.0)
    assert Compose(mask_transforms(INFER))(data)["pred"].sum() == 0


def test_threshold_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="threshold must be a probability"):
        mask_transforms(INFER | {"threshold": 50})
