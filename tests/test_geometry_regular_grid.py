"""Resampling of tilted or uneven slices to a straight grid and back, checked with an asymmetric object in mm."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from lib.datastore.volume import read_volume, write_volume
from lib.geometry.axial_slices import AxialSlices
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import load_info
from lib.transforms import image_transforms, mask_transforms
from tests.support.dicom_variants import sorted_slices

INFO = load_info()
SHAPE = (24, 110, 120)
MISSING = (9, 10, 17)
SERIES = {
    "missing slices": ({}, MISSING),
    "tilt": ({"gantry_tilt_degrees": 15}, ()),
    "tilt the other way": ({"gantry_tilt_degrees": -15}, ()),
    "tilt and missing slices": ({"gantry_tilt_degrees": 15}, MISSING),
    "tilt, feet first, oblique": ({"gantry_tilt_degrees": 12, "plane": "feet_first_supine", "oblique_degrees": 1}, ()),
    "missing slices, sagittal": ({"plane": "sagittal"}, MISSING),
}


def asymmetric_object(points: np.ndarray) -> np.ndarray:
    """Return the approximate distance in mm from the surface of an ellipsoid with a bump, positive inside.

    ``points`` are in LPS mm.
    """
    p = points - [8, -6, 3]
    body = 18 - np.linalg.norm(p / [1.5, 1.0, 0.8], axis=-1)
    bump = 9 - np.linalg.norm(p - [-16, 15, 9], axis=-1)
    return np.maximum(body, bump)


def voxel_points(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the LPS coordinates in mm of all voxel centres, (column, row, slice, 3)."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]


@pytest.fixture(params=SERIES)
def series(request, tmp_path):
    """Return a volume file and the position of its voxels by the DICOM headers, (column, row, slice, 3)."""
    options, missing = SERIES[request.param]
    acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 1.1, 0.9), center=(0, 0, 0), **options)
    points = voxel_points(acquisition.affine, SHAPE[::-1])
    hu = np.clip(40 * asymmetric_object(points), -800, 200).astype(np.int16)
    write_dicom_series(tmp_path, hu.transpose(), acquisition.affine, patient_id="P", shuffle_files=True)
    for number in sorted(missing)[::-1]:
        sorted_slices(tmp_path)[number].unlink()
    write_volume(read_volume(list(tmp_path.iterdir())), tmp_path / "volume.nrrd")
    return tmp_path / "volume.nrrd", np.delete(points, missing, axis=2)


def load(path):
    steps = [LoadImaged("image", dtype=np.float32, image_only=True), EnsureChannelFirstd("image", "no_channel")]
    return Compose(steps)({"image": path})["image"]


def axial(volume, slices, **how):
    """Return all axial slices of a volume, resampled in blocks of three."""
    ranges = list(slices.blocks(3))
    return np.concatenate([slices.take(volume.numpy(), *one, **how) for one in ranges], axis=-1)


def test_straight_grid_preserves_the_position_of_the_object(series):
    path, _ = series
    stored = load(path)
    slices = AxialSlices.of(stored)
    affine = np.diag([-1, -1, 1, 1]) @ slices.affine
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes, np.eye(3), atol=0.03)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-4)
    np.testing.assert_allclose(sorted(np.linalg.norm(affine[:3, :3], axis=0)), (0.9, 1.1, 2.5), atol=1e-3)
    depth = asymmetric_object(voxel_points(affine, slices.shape))
    image = axial(stored, slices, fill=-1000)[0]
    assert (image[depth > 2.5] > 0).all()
    assert (image[depth < -2.5] < 0).all()


def test_round_trip_through_the_straight_grid(series):
    path, points = series
    stored = load(path)
    slices = AxialSlices.of(stored)
    whole = axial(stored, slices, fill=-1000)
    back = np.full(stored.shape[1:], np.nan)
    for window, values in slices.stored_blocks(lambda start, stop: whole[..., start:stop], 5):
        assert np.isnan(back[window]).all()
        back[window] = values[0]
    depth = asymmetric_object(points)
    assert (back[depth > 2.5] > 0).all()
    assert (back[depth < -2.5] < 0).all()


def test_mask_covers_the_object_in_every_slice(series):
    """All transforms of inference, with a fake network that marks everything denser than -100 HU."""
    path, points = series
    transforms = Compose(image_transforms(INFO["preprocessing"], keep_hu=True))
    data = transforms({"image": path})
    center = [INFO["preprocessing"]["slice_offsets_mm"].index(0)]
    hu = data["image"].as_tensor()[center] * INFO["preprocessing"]["hu_std"] + INFO["preprocessing"]["hu_mean"]
    data["pred"] = (hu + 100) / 20
    options = {**INFO["config"]["infer"], "min_diameter_mm": 0, "crf": False}
    affine = np.asarray(data["image"].affine)
    *to_mask, to_findings = mask_transforms(options)
    data = Compose(to_mask)(data)
    ((voxels, _),) = data["findings"]
    data = to_findings(data)
    mask = np.asarray(data["pred"]).astype(bool)
    assert mask.shape == points.shape[:3] == tuple(sitk.ReadImage(path).GetSize())
    depth = asymmetric_object(points) + 2.5  # -100 HU is 2.5 mm outside
    wrong = mask != (depth > 0)
    assert np.abs(depth[wrong]).max() < 3.5
    assert wrong.sum() < 0.1 * (depth > 0).sum()
    ((voxel, _),) = data["findings"]
    assert mask[voxel]
    in_field = np.array([-1, -1, 1]) * (affine @ [*voxels[0], 1])[:3]
    assert np.linalg.norm(points[voxel] - in_field) < 3  # mm; slices are 2.5 mm apart


def test_labels_are_resampled_with_the_image_and_keep_their_values(series):
    path, points = series
    labels = sitk.GetImageFromArray((asymmetric_object(points) > 0).transpose().astype(np.uint8))
    sitk.WriteImage(labels, path.with_name("label.nrrd"))
    slices = AxialSlices.of(load(path))
    label = axial(load(path.with_name("label.nrrd")), slices, nearest=True)[0]
    assert label.shape == slices.shape
    assert set(np.unique(label)) == {0, 1}
    depth = asymmetric_object(voxel_points(np.diag([-1, -1, 1, 1]) @ slices.affine, slices.shape))
    assert label[depth > 4].all()
    assert not label[depth < -4].any()


def test_regular_series_is_unchanged(tmp_path):
    acquisition = Acquisition(shape=(8, 20, 24), spacing=(2.5, 1.1, 0.9), oblique_degrees=1)
    hu = np.random.default_rng(0).integers(-1000, 400, acquisition.shape).astype(np.int16)
    write_dicom_series(tmp_path, hu, acquisition.affine, patient_id="P")
    write_volume(read_volume(list(tmp_path.iterdir())), tmp_path / "volume.nrrd")
    stored = load(tmp_path / "volume.nrrd")
    slices = AxialSlices.of(stored)
    assert slices.grid is None
    assert np.array_equal(axial(stored, slices)[0], hu.transpose())
    for window, values in slices.stored_blocks(lambda start, stop: stored.numpy()[..., start:stop], 3):
        assert np.array_equal(values[0], hu.transpose()[window])


def test_rejects_a_wrong_number_of_slice_positions(tmp_path):
    image = sitk.Image(4, 4, 5, sitk.sitkInt16)
    image.SetMetaData("slice_positions", json.dumps([[0, 0, 0], [0, 0, 1]]))
    sitk.WriteImage(image, tmp_path / "volume.nrrd")
    with pytest.raises(ValueError, match="5 slices, but positions of 2"):
        AxialSlices.of(load(tmp_path / "volume.nrrd"))
