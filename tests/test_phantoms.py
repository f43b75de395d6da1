"""Phantoms are the ground truth of other tests, so they are checked with independent readers."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from lib.phantoms import (
    Acquisition,
    PhantomLesion,
    chest_volume,
    draw_lesions,
    write_demo_studies,
    write_dicom_series,
    write_volume,
)

LESIONS = (PhantomLesion((-78, 28, 22), 22), PhantomLesion((92, 38, -20), 14))
SMALL = {"shape": (40, 96, 96), "spacing": (4.0, 3.7, 3.7)}

ACQUISITIONS = {
    "head first supine": Acquisition(**SMALL),
    "head first prone": Acquisition(**SMALL, plane="head_first_prone"),
    "feet first": Acquisition(**SMALL, plane="feet_first_supine"),
    "sagittal": Acquisition(shape=(90, 50, 80), spacing=(4.0, 3.5, 3.1), plane="sagittal"),
    "coronal": Acquisition(shape=(64, 50, 100), spacing=(4.0, 3.5, 3.6), plane="coronal"),
    "oblique": Acquisition(**SMALL, oblique_degrees=1.0),
    "pixels not square": Acquisition(shape=(40, 80, 120), spacing=(4.0, 4.4, 2.9)),
}


def read_series(directory: Path) -> sitk.Image:
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(directory))
    return sitk.ReadImage(files)


def centroid_mm(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the centroid of a mask (slices, rows, columns), LPS in mm."""
    return affine[:3, :3] @ np.argwhere(mask).mean(axis=0)[::-1] + affine[:3, 3]


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_simpleitk_reads_the_same_volume_and_lesion(name, tmp_path):
    acquisition = ACQUISITIONS[name]
    hu, mask, affine = chest_volume(3, lesions=LESIONS[:1], acquisition=acquisition)
    write_dicom_series(
        tmp_path,
        hu,
        affine,
        patient_id="P",
        patient_position=acquisition.patient_position,
        shuffle_files=True,
    )
    image = read_series(tmp_path)

    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), hu)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(image.GetSpacing(), spacing, atol=1e-6)
    np.testing.assert_allclose(image.GetDirection(), (affine[:3, :3] / spacing).ravel(), atol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), affine[:3, 3], atol=1e-6)

    middle = np.argwhere(mask).mean(axis=0)[::-1]
    seen = image.TransformContinuousIndexToPhysicalPoint(middle.tolist())
    assert np.linalg.norm(np.subtract(seen, LESIONS[0].center)) < 1.0
    there = image.TransformPhysicalPointToIndex([float(c) for c in LESIONS[0].center])
    assert image[there] == pytest.approx(32, abs=60)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_all_acquisitions_show_the_same_patient(name):
    wanted = {
        "left ventricle": ((34, -34, -34), 42),
        "liver": ((-60, 0, -56), 60),
        "right lung": ((-100, 20, 20), -850),
        "lesion": (LESIONS[0].center, 32),
    }
    acquisition = ACQUISITIONS[name]
    hu, _, affine = chest_volume(3, lesions=LESIONS, acquisition=acquisition, noise_hu=1)
    for organ, (point, value) in wanted.items():
        column, row, slice_ = np.rint(np.linalg.solve(affine, [*point, 1]))[:3].astype(int)
        around = hu[slice_ - 1 : slice_ + 2, row - 1 : row + 2, column - 1 : column + 2]
        assert np.median(around) == pytest.approx(value, abs=60), organ


def test_gantry_tilt_shears_only_the_positions(tmp_path):
    acquisition = Acquisition(**SMALL, gantry_tilt_degrees=15)
    hu, mask, affine = chest_volume(3, lesions=LESIONS[:1], acquisition=acquisition)
    write_dicom_series(tmp_path, hu, affine, patient_id="P")
    first, second = (pydicom.dcmread(tmp_path / f"000{n}.dcm") for n in (0, 1))
    step = np.subtract(second.ImagePositionPatient, first.ImagePositionPatient)
    np.testing.assert_allclose(step, [0, 4 * np.tan(np.deg2rad(15)), 4], atol=1e-6)
    assert list(first.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert first.SliceThickness == 4
    assert np.linalg.norm(centroid_mm(mask, affine) - LESIONS[0].center) < 1.0


def test_lesions_have_their_size_and_tumour_density():
    hu, mask, affine = chest_volume(1, lesions=LESIONS)
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    balls = sum(np.pi / 6 * lesion.diameter**3 for lesion in LESIONS) / 1000
    assert mask.sum() * voxel_ml == pytest.approx(balls, rel=0.15)
    assert np.median(hu[mask == 1]) == pytest.approx(32, abs=15)


def test_phantom_is_asymmetric():
    hu, mask, _ = chest_volume(1, lesions=LESIONS[:1], acquisition=ACQUISITIONS["head first supine"])
    tissue = hu > -400
    for axis in range(3):
        flipped = np.flip(tissue, axis)
        overlap = 2 * np.sum(tissue & flipped) / (tissue.sum() + flipped.sum())
        assert overlap < 0.95, f"a flip along axis {axis} would not be noticed"
        assert not np.any(mask & np.flip(mask, axis)), f"the lesion overlaps itself after a flip along axis {axis}"


def test_same_seed_writes_the_same_bytes(tmp_path):
    for run in ("a", "b"):
        hu, _, affine = chest_volume(5, lesions=LESIONS, acquisition=ACQUISITIONS["oblique"])
        write_dicom_series(tmp_path / run, hu, affine, patient_id="P")
    first, second = (sorted((tmp_path / run).iterdir()) for run in ("a", "b"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert not np.array_equal(hu, chest_volume(6, lesions=LESIONS, acquisition=ACQUISITIONS["oblique"])[0])


def test_descending_instance_numbers_do_not_change_positions(tmp_path):
    hu, _, affine = chest_volume(1, acquisition=ACQUISITIONS["head first supine"])
    write_dicom_series(tmp_path, hu, affine, patient_id="P", descending_instances=True)
    slices = [pydicom.dcmread(path) for path in sorted(tmp_path.iterdir())]
    assert [s.InstanceNumber for s in slices] == list(range(len(slices), 0, -1))
    assert np.all(np.diff([s.ImagePositionPatient[2] for s in slices]) > 0)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_series(tmp_path)), hu)


def test_drawn_lesions_are_in_the_lung():
    lesions = draw_lesions(11, 12, diameters=(6, 14))
    healthy, _, _ = chest_volume(11, noise_hu=1)
    _, mask, _ = chest_volume(11, lesions=lesions)
    assert len(lesions) == 12
    assert np.mean(healthy[mask == 1] < -500) > 0.75


@pytest.mark.slow
def test_demo_studies(tmp_path):
    series = write_demo_studies(tmp_path / "dicom", truth=tmp_path / "truth")
    assert len({s.patient_id for s in series}) == 6
    assert len({s.study_uid for s in series}) == 6
    assert len({s.series_uid for s in series}) == 7
    assert sum(not s.lesions for s in series) == 1
    assert {path.suffix for path in (tmp_path / "dicom").rglob("*") if path.is_file()} == {".dcm"}

    for entry in series:
        truth = sitk.ReadImage(str(entry.truth))
        image = read_series(entry.directory)
        assert truth.GetSize() == image.GetSize()
        np.testing.assert_allclose(truth.GetOrigin(), image.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(truth.GetDirection(), image.GetDirection(), atol=1e-6)
        mask = sitk.GetArrayFromImage(truth)
        for axis in range(3):
            assert not np.any(mask & np.flip(mask, axis)), f"{entry.patient_id} hides a flip along axis {axis}"
        components = sitk.ConnectedComponent(truth)
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.Execute(components)
        assert shape.GetNumberOfLabels() == len(entry.lesions)
        for lesion in entry.lesions:
            at = [shape.GetCentroid(label) for label in shape.GetLabels()]
            assert min(np.linalg.norm(np.subtract(c, lesion.center)) for c in at) < 1.5
        header = pydicom.dcmread(next(entry.directory.iterdir()))
        assert (header.SeriesInstanceUID, header.PatientID) == (entry.series_uid, entry.patient_id)


def test_write_volume_preserves_an_oblique_grid(tmp_path):
    _, mask, affine = chest_volume(1, lesions=LESIONS, acquisition=ACQUISITIONS["oblique"])
    image = sitk.ReadImage(str(write_volume(tmp_path / "mask.nii.gz", mask, affine)))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), mask)
    np.testing.assert_allclose(image.GetOrigin(), affine[:3, 3], atol=1e-3)
