"""Images of another kind than the rest of their series, such as scouts, are excluded (R11)."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from lib.datastore.volume import read_volume
from lib.dicomweb.image_kind import ImageKind, outlier_kinds
from lib.exports.source_images import SourceImages
from lib.phantoms import Acquisition
from tests.support.dicom_folder import GRID, HU, Folder
from tests.support.dicom_variants import change, sorted_slices, write_multi_frame


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def scout(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def dose_sheet(dataset: Dataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.Modality = "OT"
    dataset.SeriesDescription = "Dose"
    del dataset.ImagePositionPatient, dataset.ImageOrientationPatient


def cropped(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[: 8 * dataset.Columns * 2]
    dataset.Rows = 8


def sagittal(dataset: Dataset) -> None:
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


@pytest.mark.parametrize("plane", ["head_first_supine", "feet_first_supine", "coronal"])
@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (scout, "a localizer (scout)"),
        (dose_sheet, "modality OT"),
        (cropped, "8×24 pixels, where the others are 16×24 pixels"),
        (sagittal, "in another plane than the others"),
    ],
)
def test_r11_odd_image_is_excluded_and_the_series_used(folder, edit, reason, plane):
    """R11: volume, viewer and DICOM SEG refer to the same slices."""
    grid = Acquisition(shape=GRID.shape, spacing=GRID.spacing, plane=plane)
    uid = folder.write("one", grid=grid, shuffle_files=True)
    for name in ("0-first", "z-last"):
        shutil.copyfile(min((folder.root / "one").iterdir()), folder.root / name)
    (folder.root / "z-last").unlink()

    def other(dataset: Dataset) -> None:
        edit(dataset)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()

    change([folder.root / "0-first"], other)
    series = folder.scan_series()[uid]
    assert (series.problem, series.instance_count, series.value("SeriesDescription")) == (None, 12, "Chest")
    assert series.warnings == (f"1 image(s) of the series are excluded, {reason}: 0-first",)
    assert folder.excluded() == {"0-first": f"not of the same kind as the other images of its series: {reason}"}
    image = read_volume(folder.client.series_paths(series.study_uid, uid))
    assert np.array_equal(sitk.GetArrayFromImage(image), HU)
    metadata = folder.client.retrieve_series_metadata(series.study_uid, uid)
    assert metadata == folder.client.retrieve_study_metadata(series.study_uid)
    sources = SourceImages.of(metadata)
    assert len(sources.headers) == 12
    for number, header in enumerate(sources.headers):
        position = image.TransformIndexToPhysicalPoint((0, 0, number))
        np.testing.assert_allclose(position, header.ImagePositionPatient, atol=1e-4)
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint((5, 4, 3)), (grid.affine @ [5, 4, 3, 1])[:3], atol=1e-4
    )


def test_r11_multi_frame_scan_is_used_without_its_scout(folder, tmp_path):
    """R11: one file with twelve frames and one with a single image."""
    folder.write("plain")
    uid = write_multi_frame(folder.root / "plain", folder.root / "frames")
    shutil.copyfile(min((folder.root / "plain").iterdir()), folder.root / "scout")
    shutil.rmtree(folder.root / "plain")
    change([folder.root / "scout"], lambda dataset: (scout(dataset), setattr(dataset, "SeriesInstanceUID", uid)))
    series = folder.scan_series()[uid]
    assert series.problem is None
    image = read_volume(folder.client.series_paths(series.study_uid, uid))
    assert image.GetSize() == GRID.shape[::-1]


def test_r11_odd_image_that_comes_first_does_not_exclude_later_slices(folder):
    """R11: odd images are determined again with every added and removed slice."""
    uid = folder.write("one")
    paths = sorted_slices(folder.root / "one")
    change(paths[:1], scout)
    away = folder.root.parent / "away"
    away.mkdir()
    for path in paths[1:]:
        path.rename(away / path.name)
    assert "scout" in folder.scan_series()[uid].problem
    for path in sorted(away.iterdir()):
        path.rename(folder.root / path.name)
    series = folder.scan_series()[uid]
    assert (series.problem, series.instance_count) == (None, 11)
    paths[0].unlink()
    assert folder.scan_series()[uid].warnings == ()


def test_r11_nothing_is_excluded_when_the_majority_is_unclear():
    """R11: nine of ten slices must be alike; images that are no slices do not count."""

    def kind(size: str = "512", **changed) -> ImageKind:
        plain = ImageKind(
            "CT", "1.2.840.10008.5.1.4.1.1.2", (size, size), "1", "", (0.7, 0.7), (1, 0, 0, 0, 1, 0), True
        )
        return ImageKind(**{**plain.__dict__, **changed})

    whole, small, tilted = kind(), kind("256"), kind(orientation=(1, 0, 0, 0, 0.9999, 0.0004))
    screen = kind(sop_class=SecondaryCaptureImageStorage)
    assert outlier_kinds({whole: 90, small: 10}).keys() == {small}
    assert outlier_kinds({whole: 89, small: 11}) == {}
    assert outlier_kinds({whole: 60, tilted: 40}) == {}
    assert outlier_kinds({whole: 12, screen: 10}).keys() == {screen}
    assert outlier_kinds({whole: 2, screen: 1}) == {}
    assert outlier_kinds({whole: 9, screen: 10}) == {}
    assert outlier_kinds({screen: 3}) == {}
