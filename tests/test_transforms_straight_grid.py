"""Slices that are tilted or have gaps, brought onto a straight grid and back: an asymmetric object, in mm."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from lib.datastore.volume import read_volume, write_volume
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import load_info
from lib.transforms import image_transforms, mask_transforms
from lib.transforms.straight_grid import StraightGridd
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
    """Positive inside an ellipsoid with a bump on one side, about the distance from its surface; LPS mm."""
    p = points - [8, -6, 3]
    body = 18 - np.linalg.norm(p / [1.5, 1.0, 0.8], axis=-1)
    bump = 9 - np.linalg.norm(p - [-16, 15, 9], axis=-1)
    return np.maximum(body, bump)


def voxel_points(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """LPS mm of every voxel centre; (column, row, slice) by 3."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]


@pytest.fixture(params=SERIES)
def series(request, tmp_path):
    """A volume file, and where each of its voxels lies by the DICOM headers (column, row, slice) by 3."""
    options, missing = SERIES[request.param]
    acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 1.1, 0.9), center=(0, 0, 0), **options)
    points = voxel_points(acquisition.affine, SHAPE[::-1])
    hu = np.clip(40 * asymmetric_object(points), -800, 200).astype(np.int16)
    write_dicom_series(tmp_path, hu.transpose(), acquisition.affine, patient_id="P", shuffle_files=True)
    for number in sorted(missing)[::-1]:
        sorted_slices(tmp_path)[number].unlink()
    write_volume(read_volume(list(tmp_path.iterdir())), tmp_path / "volume.nrrd")
    return tmp_path / "volume.nrrd", np.delete(points, missing, axis=2)


def load(path, *more):
    steps = [LoadImaged("image", dtype=np.float32, image_only=True), EnsureChannelFirstd("image", "no_channel"), *more]
    return Compose(steps)


def test_the_straight_grid_shows_the_object_where_it_lies(series):
    path, _ = series
    image = load(path, StraightGridd("image"))({"image": path})["image"]
    affine = np.diag([-1, -1, 1, 1]) @ image.affine.numpy()
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), (0.9, 1.1, 2.5), atol=1e-3)
    depth = asymmetric_object(voxel_points(affine, image.shape[1:]))
    assert (image.numpy()[0][depth > 2.5] > 0).all()
    assert (image.numpy()[0][depth < -2.5] < 0).all()


def test_what_goes_to_the_straight_grid_comes_back_to_every_slice(series):
    path, points = series
    transforms = load(path, StraightGridd("image"))
    back = transforms.inverse(transforms({"image": path}))["image"]
    stored = load(path)({"image": path})["image"]
    assert back.shape == stored.shape
    np.testing.assert_allclose(back.affine, stored.affine)
    depth = asymmetric_object(points)
    assert (back.numpy()[0][depth > 2.5] > 0).all()
    assert (back.numpy()[0][depth < -2.5] < 0).all()


def test_a_mask_is_on_the_object_in_every_slice(series):
    """Through all transforms of inference, the network taken for one that marks what is denser than -100 HU."""
    path, points = series
    transforms = Compose(image_transforms(INFO["preprocessing"], keep_hu=True))
    data = transforms({"image": path})
    itself = [INFO["preprocessing"]["slice_offsets_mm"].index(0)]
    hu = data["image"].as_tensor()[itself] * INFO["preprocessing"]["hu_std"] + INFO["preprocessing"]["hu_mean"]
    data["pred"] = (hu + 100) / 20
    options = {**INFO["config"]["infer"], "min_confidence": 0, "min_diameter_mm": 0, "crf": False}
    mask = np.asarray(Compose(mask_transforms(options, transforms))(data)["pred"]).astype(bool)
    assert mask.shape == points.shape[:3] == tuple(sitk.ReadImage(path).GetSize())
    depth = asymmetric_object(points) + 2.5  # -100 HU is 2.5 mm outside
    wrong = mask != (depth > 0)
    assert np.abs(depth[wrong]).max() < 3.5
    assert wrong.sum() < 0.1 * (depth > 0).sum()


def test_labels_go_with_the_image_and_keep_their_values(series):
    path, points = series
    labels = sitk.GetImageFromArray((asymmetric_object(points) > 0).transpose().astype(np.uint8))
    sitk.WriteImage(labels, path.with_name("label.nrrd"))
    keys = ("image", "label")
    steps = [LoadImaged(keys, dtype=np.float32, image_only=True), EnsureChannelFirstd(keys, channel_dim="no_channel")]
    found = Compose([*steps, StraightGridd(keys)])({"image": path, "label": path.with_name("label.nrrd")})
    assert found["label"].shape == found["image"].shape
    assert set(np.unique(found["label"].numpy())) == {0, 1}
    affine = np.diag([-1, -1, 1, 1]) @ found["image"].affine.numpy()
    depth = asymmetric_object(voxel_points(affine, found["image"].shape[1:]))
    label = found["label"].numpy()[0] == 1
    assert label[depth > 4].all()
    assert not label[depth < -4].any()


def test_a_regular_series_is_left_as_it_is(tmp_path):
    acquisition = Acquisition(shape=(8, 20, 24), spacing=(2.5, 1.1, 0.9), oblique_degrees=1)
    hu = np.random.default_rng(0).integers(-1000, 400, acquisition.shape).astype(np.int16)
    write_dicom_series(tmp_path, hu, acquisition.affine, patient_id="P")
    write_volume(read_volume(list(tmp_path.iterdir())), tmp_path / "volume.nrrd")
    transforms = load(tmp_path, StraightGridd("image"))
    data = transforms({"image": tmp_path / "volume.nrrd"})
    assert np.array_equal(data["image"].numpy()[0], hu.transpose())
    assert np.array_equal(transforms.inverse(data)["image"].numpy()[0], hu.transpose())


def test_positions_of_other_slices_are_refused(tmp_path):
    image = sitk.Image(4, 4, 5, sitk.sitkInt16)
    image.SetMetaData("slice_positions", json.dumps([[0, 0, 0], [0, 0, 1]]))
    sitk.WriteImage(image, tmp_path / "volume.nrrd")
    with pytest.raises(RuntimeError, match="applying transform") as error:
        load(tmp_path, StraightGridd("image"))({"image": tmp_path / "volume.nrrd"})
    assert "5 slices, but positions of 2" in str(error.value.__cause__)
