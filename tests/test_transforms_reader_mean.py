"""Masks of several readers in one file."""

import nibabel
import numpy as np
import pytest
from monai.transforms import Compose

from lib.settings import load_info
from lib.training.scans import load_scan
from lib.transforms import image_transforms


@pytest.fixture
def files(tmp_path):
    """Return paths of an image and of an asymmetric mask by four readers, on an oblique grid order."""
    rng = np.random.default_rng(0)
    affine = np.array([[0, -0.8, 0, 10], [0.7, 0, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
    image = rng.integers(-900, 100, (24, 30, 6)).astype(np.int16)
    readers = np.zeros((24, 30, 6, 4), np.uint8)
    readers[5:12, 8:14, 2:4] = 1
    readers[5:9, 20:23, 3, 0] = 1
    readers[5:9, 20:23, 4, :2] = 1
    paths = {"image": tmp_path / "image.nii.gz", "label": tmp_path / "readers.nii.gz", "mean": tmp_path / "mean.nii.gz"}
    nibabel.save(nibabel.Nifti1Image(image, affine), paths["image"])
    nibabel.save(nibabel.Nifti1Image(readers, affine), paths["label"])
    nibabel.save(nibabel.Nifti1Image(readers.mean(-1).astype(np.float32), affine), paths["mean"])
    return paths


def test_mean_of_the_readers_has_the_geometry_of_a_single_mask(files):
    data = Compose(image_transforms(load_info()["preprocessing"], keys=("image", "label", "mean"), neighbours=False))(
        files
    )
    assert set(np.unique(data["label"].numpy())) == {0, 0.25, 0.5, 1}
    assert np.array_equal(data["label"].numpy(), data["mean"].numpy())


def test_consensus_is_what_half_of_the_readers_marked(files, tmp_path):
    scan = load_scan(files["image"], files["label"], load_info()["preprocessing"], tmp_path)
    assert np.array_equal(scan.label.numpy(), scan.target.numpy() >= 0.5)
    assert (scan.target == 0.25).sum() > 0
    assert scan.label.sum() < (scan.target > 0).sum()


def test_empty_channels_are_no_readers(files, tmp_path):
    """The same mean with two channels more, of which nobody marked a voxel; and no tumour if all are empty."""
    masks = nibabel.load(files["label"])
    padded = np.pad(np.asarray(masks.dataobj), ((0, 0), (0, 0), (0, 0), (1, 1)))
    targets = []
    for voxels in (np.asarray(masks.dataobj), padded, np.zeros_like(padded)):
        nibabel.save(nibabel.Nifti1Image(voxels, masks.affine), tmp_path / "masks.nii.gz")
        scan = load_scan(files["image"], tmp_path / "masks.nii.gz", load_info()["preprocessing"], tmp_path)
        targets.append(scan.target.numpy())
    assert np.array_equal(targets[0], targets[1])
    assert not targets[2].any()
