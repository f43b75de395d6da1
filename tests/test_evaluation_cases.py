"""Ground truth for evaluation."""

import nibabel
import numpy as np
import pytest

from lib.errors import UserError
from lib.evaluation.truth import read_truth

AFFINE = np.diag([-0.8, 0.7, 2.5, 1])


def write(path, voxels):
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), path)
    return path


def test_consensus_of_readers_is_the_truth(tmp_path):
    image = write(tmp_path / "image.nii.gz", np.zeros((6, 5, 4), np.int16))
    readers = np.zeros((6, 5, 4, 4), np.uint8)
    readers[1, 2, 3] = 1
    readers[2, 2, 3, :2] = 1
    readers[3, 2, 3, 0] = 1
    truth = read_truth(image, write(tmp_path / "readers.nii.gz", readers))
    assert np.argwhere(truth.mask).tolist() == [[1, 2, 3], [2, 2, 3]]
    assert truth.voxel_mm3 == pytest.approx(0.8 * 0.7 * 2.5)


def test_readers_on_another_grid_are_refused(tmp_path):
    image = write(tmp_path / "image.nii.gz", np.zeros((6, 5, 4), np.int16))
    with pytest.raises(UserError, match="not on the grid"):
        read_truth(image, write(tmp_path / "readers.nii.gz", np.zeros((6, 4, 4, 4), np.uint8)))
