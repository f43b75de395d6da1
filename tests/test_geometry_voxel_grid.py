"""Voxel grids from images, files, DICOM headers and tensors."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from monai.transforms import LoadImage
from pydicom import dcmread

from lib.datastore.label_reader import read_label
from lib.datastore.volume import read_volume, write_volume
from lib.geometry.slice_stack import SliceStack
from lib.geometry.voxel_grid import SLICE_POSITIONS, VoxelGrid, check_grid
from lib.phantoms import Acquisition, write_dicom_series
from tests.support.dicom_variants import sorted_slices

SHAPE = (8, 20, 28)
SERIES = {
    "even": ({"oblique_degrees": 3}, ()),
    "tilted": ({"gantry_tilt_degrees": 15}, ()),
    "missing slices": ({"plane": "sagittal"}, (3,)),
    "tilted and missing slices": ({"gantry_tilt_degrees": -12, "plane": "feet_first_supine"}, (2, 5)),
}


@pytest.fixture(params=SERIES)
def series(request, tmp_path):
    """Return the headers of the slices in order, a volume and its file."""
    options, missing = SERIES[request.param]
    acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7), **options)
    write_dicom_series(tmp_path / "CT", np.zeros(SHAPE, np.int16), acquisition.affine, patient_id="P")
    for number in missing[::-1]:
        sorted_slices(tmp_path / "CT")[number].unlink()
    paths = sorted_slices(tmp_path / "CT")
    image = read_volume(paths)
    write_volume(image, tmp_path / "volume.nrrd")
    return [dcmread(path, stop_before_pixels=True) for path in paths], image, tmp_path / "volume.nrrd"


def test_all_sources_give_the_same_grid(series):
    headers, image, path = series
    stack = SliceStack.from_headers([header.to_json_dict() for header in headers])
    grids = [
        stack.grid(*SHAPE[1:]),
        VoxelGrid.from_image(image),
        VoxelGrid.from_file(path),
        VoxelGrid.from_tensor(LoadImage(image_only=True, ensure_channel_first=True)(path)),
    ]
    for grid in grids:
        assert grid.shape == grid.size[::-1] == (len(headers), *SHAPE[1:])
        for what in ("affine", "spacing", "direction", "slice_positions", "normal"):
            np.testing.assert_allclose(getattr(grid, what), getattr(grids[0], what), atol=1e-6)
        assert grid.is_sheared == grids[0].is_sheared


def test_voxel_positions_match_the_headers(series):
    headers, image, _ = series
    grid = VoxelGrid.from_image(image)
    for index, header in enumerate(headers):
        position, orientation = (
            np.array(header[keyword].value, float) for keyword in ("ImagePositionPatient", "ImageOrientationPatient")
        )
        between_rows, between_columns = map(float, header.PixelSpacing)
        expected = position + 5 * between_columns * orientation[:3] + 7 * between_rows * orientation[3:]
        np.testing.assert_allclose(grid.to_mm(np.array([[5, 7, index]]))[0], expected, atol=1e-4)
        np.testing.assert_allclose(grid.to_pixels(expected[None], index)[0], (5, 7), atol=1e-3)
        assert grid.slice_at(np.stack([position, expected])) == index
    assert grid.slice_at(position[None] + 0.9 * grid.normal) is None


def test_image_on_the_grid_has_the_same_geometry(series):
    _, image, path = series
    for source, grid in ((image, VoxelGrid.from_image(image)), (sitk.ReadImage(path), VoxelGrid.from_file(path))):
        for made in (grid.image(np.zeros(grid.shape, np.float32)), grid.mask(np.ones(grid.shape, bool))):
            for what in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
                assert getattr(made, what)() == getattr(source, what)()
            assert not made.HasMetaDataKey(SLICE_POSITIONS)
        volume = grid.volume(np.zeros(grid.shape, np.int16))
        assert volume.HasMetaDataKey(SLICE_POSITIONS) == image.HasMetaDataKey(SLICE_POSITIONS)
        if image.HasMetaDataKey(SLICE_POSITIONS):
            assert volume.GetMetaData(SLICE_POSITIONS) == image.GetMetaData(SLICE_POSITIONS)


def test_rejects_a_wrong_number_of_slice_positions():
    image = sitk.Image(4, 4, 5, sitk.sitkInt16)
    image.SetMetaData(SLICE_POSITIONS, json.dumps([[0, 0, 0], [0, 0, 1]]))
    with pytest.raises(ValueError, match="5 slices, but positions of 2"):
        VoxelGrid.from_image(image)


def test_slice_positions_copied_into_a_cropped_label_are_ignored(tmp_path):
    sitk.WriteImage(sitk.Image(4, 4, 5, sitk.sitkInt16), tmp_path / "volume.nrrd")
    label = sitk.Image(2, 2, 2, sitk.sitkUInt8) + 1
    label.SetOrigin((1, 1, 1))
    label.SetMetaData(SLICE_POSITIONS, json.dumps([[0, 0, z] for z in range(5)]))
    sitk.WriteImage(label, tmp_path / "label.nrrd")
    found = sitk.GetArrayFromImage(read_label(tmp_path / "label.nrrd", tmp_path / "volume.nrrd", {"lung_tumor": 1}))
    assert found.sum() == found[1:3, 1:3, 1:3].sum() == 8


@pytest.mark.parametrize(
    ("origin", "spacing", "direction", "message"),
    [
        ((0, 0, 0), (1, 1, 0.01), np.eye(3), "voxels of 1 × 1 × 0.01 mm"),
        ((0, 0, 0), (1, 1, 1), np.ones((3, 3)), "do not span a volume"),
        ((0, 0, 1e6), (1, 1, 1), np.eye(3), "first voxel is at"),
    ],
)
def test_rejects_an_implausible_grid(origin, spacing, direction, message):
    with pytest.raises(ValueError, match=message):
        check_grid(VoxelGrid.from_geometry((4, 4, 4), origin, spacing, direction))
