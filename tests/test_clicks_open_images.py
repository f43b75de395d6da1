"""Images that are ready for clicks: mapped into memory, and opened again when they are replaced."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from lib.clicks.open_images import OpenImages
from lib.datastore.volume import write_volume
from tests.support.click_models import grid_in_order

GRID = grid_in_order((1, 0, 2), (True, False, True), size=(9, 7, 5))


def volume(path, value=0):
    hu = np.arange(GRID.shape[0] * GRID.shape[1] * GRID.shape[2], dtype=np.int16).reshape(GRID.shape) + value
    write_volume(GRID.volume(hu), path)
    return hu


def test_volume_of_the_server_is_mapped_not_read(tmp_path):
    path = tmp_path / "v.nrrd"
    hu = volume(path)
    images = OpenImages()
    opened = images.open(path)
    assert isinstance(opened.hu, np.memmap)
    np.testing.assert_array_equal(opened.hu, hu)
    np.testing.assert_allclose(opened.grid.affine, GRID.affine)
    assert images.open(path) is opened
    path.unlink()  # evicted from the cache: an open image stays readable
    np.testing.assert_array_equal(opened.hu, hu)


def test_uneven_slices_keep_their_positions(tmp_path):
    positions = np.array([[0.0, 0, 0], [0, 0, 2], [0, 0, 3], [0, 0, 7], [0, 0, 8]])
    uneven = grid_in_order((0, 1, 2), (False,) * 3, size=(9, 7, 5), positions=positions)
    write_volume(uneven.volume(np.zeros(uneven.shape, np.int16)), tmp_path / "v.nrrd")
    np.testing.assert_allclose(OpenImages().open(tmp_path / "v.nrrd").grid.slice_positions, positions)


def test_replaced_file_is_opened_again(tmp_path):
    path = tmp_path / "v.nrrd"
    volume(path)
    images = OpenImages()
    before = images.open(path)
    changed = volume(path, value=7)
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(images.open(path).hu, changed)
    assert images.open(path).source != before.source


@pytest.mark.parametrize("name", ["v.nii.gz", "v.nrrd"])
def test_other_files_are_read(tmp_path, name):
    hu = np.arange(GRID.shape[0] * GRID.shape[1] * GRID.shape[2], dtype=np.int32).reshape(GRID.shape)
    sitk.WriteImage(GRID.image(hu), str(tmp_path / name), useCompression=True)
    opened = OpenImages().open(tmp_path / name)
    np.testing.assert_array_equal(opened.hu, hu)
    np.testing.assert_allclose(opened.grid.affine, GRID.affine, atol=1e-4)


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "v.nrrd"
    volume(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RuntimeError):
        OpenImages().open(path)


def test_few_images_stay_open(tmp_path):
    images = OpenImages()
    paths = [tmp_path / f"{number}.nrrd" for number in range(17)]
    for path in paths:
        volume(path)
    opened = [images.open(path) for path in paths]
    assert images.open(paths[16]) is opened[16]
    again = images.open(paths[0])
    assert again is not opened[0]
    assert again.source == opened[0].source, "so that what is known about the image is found"


def test_images_in_memory_are_limited_by_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.clicks.open_images._MOST_BYTES", 3 * GRID.shape[0] * GRID.shape[1] * GRID.shape[2])
    images = OpenImages()
    paths = [tmp_path / f"{number}.nii.gz" for number in range(2)]
    for path in paths:
        sitk.WriteImage(GRID.image(np.zeros(GRID.shape, np.int16)), str(path))
    first, second = map(images.open, paths)
    assert images.open(paths[1]) is second
    assert images.open(paths[0]) is not first
