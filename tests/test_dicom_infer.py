"""Inference on various DICOM geometries: masks and labels are on the stored slices and in place, in mm."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from pydicom import dcmread

from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.inference import predictor
from lib.infers import LungTumorInferTask
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, write_dicom_series, write_volume
from lib.publishing import ModelStore
from lib.settings import Settings
from tests.support.dicom_variants import sorted_slices, write_multi_frame
from tests.support.small_network import infer_task
from tests.support.weights import model_dir_with

pytestmark = pytest.mark.slow  # runs the network

SHAPE = (20, 56, 60)
SPACING = (3.0, 1.6, 1.5)
MISSING = (8, 9, 14)
GRIDS = {
    "plain": Acquisition(shape=SHAPE, spacing=SPACING, center=(0, 0, 0), oblique_degrees=1),
    "missing slices": Acquisition(shape=SHAPE, spacing=SPACING, center=(0, 0, 0)),
    "tilted": Acquisition(shape=SHAPE, spacing=SPACING, center=(0, 0, 0), gantry_tilt_degrees=14),
    "multi-frame": Acquisition(shape=SHAPE, spacing=SPACING, center=(0, 0, 0), plane="coronal"),
    "file": Acquisition(shape=SHAPE, spacing=SPACING, center=(0, 0, 0), plane="feet_first_supine"),
}


def depth_in_object(points: np.ndarray) -> np.ndarray:
    """Return the approximate distance in mm from the surface of an ellipsoid with a bump, positive inside.

    ``points`` are in LPS mm.
    """
    p = points - [6, -4, 2]
    body = 14 - np.linalg.norm(p / [1.3, 1.0, 0.9], axis=-1)
    bump = 8 - np.linalg.norm(p - [-12, 11, 8], axis=-1)
    return np.maximum(body, bump)


def voxel_points(affine: np.ndarray) -> np.ndarray:
    """Return the LPS coordinates in mm of all voxels, (slice, row, column, 3)."""
    slices, rows, columns = (np.arange(count) for count in SHAPE)
    steps = (slices[:, None, None], 2), (rows[:, None], 1), (columns, 0)
    return affine[:3, 3] + sum(index[..., None] * affine[:3, axis] for index, axis in steps)


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    root = tmp_path_factory.mktemp("kinds")
    studies = root / "studies"
    for kind, acquisition in GRIDS.items():
        hu = np.clip(40 * depth_in_object(voxel_points(acquisition.affine)), -800, 200).astype(np.int16)
        if kind == "file":
            write_volume(studies / "file.nii.gz", hu, acquisition.affine)
            continue
        write_dicom_series(studies / kind, hu, acquisition.affine, patient_id=kind, shuffle_files=True)
        if kind == "missing slices":
            for number in MISSING[::-1]:
                sorted_slices(studies / kind)[number].unlink()
        if kind == "multi-frame":
            (studies / kind).rename(root / "plain")
            write_multi_frame(root / "plain", studies / kind)
    return Settings.from_conf(str(studies), {"workspace": str(root / "workspace")})


@pytest.fixture(scope="module")
def datastore(settings) -> SeriesDatastore:
    client = FolderClient(Path(settings.studies), settings.segs_dir, settings.cache_dir / "index.sqlite")
    client.scan()
    return SeriesDatastore(client, settings)


@pytest.fixture
def task(settings, tmp_path, monkeypatch) -> LungTumorInferTask:
    """Return the infer task with a fake network that marks everything denser than -100 HU."""
    info = {**settings.info, "network": {**settings.info["network"], "channels": [4, 8]}}
    network = AttentionResidualUNet(**info["network"])
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    scale = info["preprocessing"]

    def mark_dense(network, image, *_, **__):
        return (image * scale["hu_std"] + scale["hu_mean"] + 100) / 20, None

    monkeypatch.setattr(predictor, "infer_slices", mark_dense)
    return infer_task(info, ModelStore(model_dir_with(tmp_path / "weights.pt", tmp_path / "model")))


def image_id(datastore: SeriesDatastore, kind: str) -> str:
    (found,) = [uid for uid in datastore.list_images() if datastore.series(uid).value("PatientID") == kind]
    return found


@pytest.mark.parametrize("kind", GRIDS)
def test_mask_covers_the_object_in_every_stored_slice(kind, settings, datastore, task):
    points = voxel_points(GRIDS[kind].affine)
    if kind == "missing slices":
        points = np.delete(points, MISSING, axis=0)
        positions = [dcmread(path).ImagePositionPatient for path in sorted_slices(Path(settings.studies) / kind)]
        np.testing.assert_allclose(points[:, 0, 0], np.array(positions, float), atol=1e-3)
    path = datastore.get_image_uri(image_id(datastore, kind))
    request = {"model": "lung_tumor", "image": path, "result_extension": ".nrrd", "device": "cpu"}
    file, params = task(request)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(file)).astype(bool)
    assert mask.shape == points.shape[:3], "one mask slice per stored slice"
    depth = depth_in_object(points) + 2.5  # -100 HU is 2.5 mm outside
    wrong = mask != (depth > 0)
    assert np.abs(depth[wrong]).max() < 3.5
    assert wrong.sum() < 0.1 * (depth > 0).sum()
    assert params["voxels"] == mask.sum()


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".bin"])
def test_label_is_stored_voxel_for_voxel(kind, suffix, datastore, tmp_path):
    uid = image_id(datastore, kind)
    label = sitk.ReadImage(datastore.get_image_uri(uid)) > 0
    voxels = sitk.GetArrayFromImage(label)
    if suffix == ".bin":
        voxels.tofile(tmp_path / "label.bin")
    else:
        sitk.WriteImage(label, tmp_path / f"label{suffix}")
    datastore.save_label(uid, str(tmp_path / f"label{suffix}"), "final", {})
    kept = sitk.ReadImage(datastore.get_label_uri(uid, "final"))
    assert np.array_equal(sitk.GetArrayFromImage(kept), voxels)
    pairs = {pair["image_id"]: pair for pair in datastore.datalist()}
    assert pairs[uid]["patient_id"] == kind


def test_volume_without_lungs_has_a_warning(task, tmp_path):
    head = np.full((20, 90, 90), -1000, np.int16)
    head[2:-2, 20:-20, 20:-20] = 40
    path = write_volume(tmp_path / "head.nrrd", head, Acquisition(shape=head.shape, spacing=(3, 2, 2)).affine)
    _, params = task({"model": "lung_tumor", "image": str(path), "device": "cpu"})
    assert "No lungs were found" in params["warnings"][0]
