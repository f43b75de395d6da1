"""Lesion table against manually calculated values."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import UserError
from lib.exports import lesion_table as module
from lib.exports.dicom_seg import lesion_segmentation
from lib.exports.lesion_table import MeasuredLesion, as_csv, as_json, lesion_table, measured_lesions
from lib.followup.doubling_time import growth
from lib.geometry.voxel_grid import SLICE_POSITIONS
from lib.inference import Finding
from lib.phantoms import Acquisition, PhantomLesion, chest_volume

SHAPE, SPACING = (12, 20, 28), (2.5, 0.8, 0.7)  # slice, row, column
LABELS = {"lung_tumor": 1}


def image_of(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def two_lesions() -> np.ndarray:
    """Return a bar of 10 × 3 × 1 pixels in the middle of three slices of 4 × 3, and a distant voxel."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:7, 8:11, 5:9] = 1
    mask[5, 8:11, 5:15] = 1
    mask[10, 2, 25] = 1
    return mask


def test_lesion_has_the_confidence_of_the_finding_in_it():
    volume = image_of(np.zeros(SHAPE, np.int16), Acquisition(shape=SHAPE, spacing=SPACING).affine)
    bar, voxel = lesion_table(two_lesions(), volume, LABELS, [Finding((14, 9, 5), 0.12345678), Finding((0, 0, 0), 1.0)])
    assert (bar.confidence, voxel.confidence) == (0.1235, None)
    bar, voxel = lesion_table(two_lesions(), volume, LABELS, [Finding((14, 9, 5), None), Finding((25, 2, 10), 0.0)])
    assert (bar.confidence, voxel.confidence) == (None, 0.0)
    (first, second) = csv.DictReader(io.StringIO(as_csv([({}, [bar, voxel])])))
    assert (first["confidence"], second["confidence"]) == ("", "0.0")
    written = json.loads(as_json([({}, [bar, voxel])]))
    assert [lesion["confidence"] for lesion in written["masks"][0]["lesions"]] == [None, 0.0]
    assert "nothing about malignancy" in written["definitions"]["confidence"]


def test_values_match_manual_calculation():
    grid = Acquisition(shape=SHAPE, spacing=SPACING)
    hu = np.full(SHAPE, -800, np.int16)
    hu[4:7, 8:11, 5:15] = 40
    hu[5, 8:11, 5:15] = 70
    bar, voxel = lesion_table(two_lesions(), image_of(hu, grid.affine), LABELS)
    assert (bar.label, bar.number, voxel.number) == ("lung_tumor", 1, 2)
    assert bar.voxels == 2 * 12 + 30
    assert bar.volume_mm3 == pytest.approx(54 * 2.5 * 0.8 * 0.7, abs=0.01)
    assert bar.volume_ml == pytest.approx(bar.volume_mm3 / 1000, abs=1e-4)
    # From the middle of the left edge of a corner pixel to that of the right edge of the opposite one:
    assert bar.longest_diameter_mm == pytest.approx(np.hypot(10 * 0.7, 2 * 0.8), abs=0.01)
    assert bar.mean_hu == pytest.approx((24 * 40 + 30 * 70) / 54, abs=0.05)
    centre = np.argwhere(two_lesions()[:8]).mean(axis=0)[::-1]
    expected = grid.affine[:3, :3] @ centre + grid.affine[:3, 3]
    assert (bar.x_mm, bar.y_mm, bar.z_mm) == pytest.approx(expected, abs=0.01)
    assert bar.slice == round(centre[2]) + 1  # from 1
    assert voxel.volume_mm3 == pytest.approx(1.4, abs=0.01)
    assert (voxel.longest_diameter_mm, voxel.perpendicular_diameter_mm) == (0.8, 0.7)
    assert voxel.side == ""  # undefined without lungs


FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "diameters.json").read_text())


@pytest.mark.parametrize("name", FIXTURE["cases"])
def test_diameters_are_those_of_the_viewer(name):
    case = FIXTURE["cases"][name]
    columns, rows, slices = FIXTURE["size"]
    mask = np.zeros(columns * rows * slices, np.uint8)
    mask[case["voxels"]] = 1
    volume = sitk.Image(columns, rows, slices, sitk.sitkInt16)
    volume.SetSpacing(FIXTURE["spacing"])
    if case["axial"] == 1:  # coronal slices: the rows go to the feet
        volume.SetDirection((1, 0, 0, 0, 0, -1, 0, 1, 0))
    (lesion,) = lesion_table(mask.reshape(slices, rows, columns), volume, LABELS)
    measured = (lesion.longest_diameter_mm, lesion.perpendicular_diameter_mm)
    assert measured == (case["longest"], case["perpendicular"])


def test_perpendicular_diameter_of_a_cross():
    mask = np.zeros(SHAPE, np.uint8)
    mask[5, 8, 3:23] = 1
    mask[5, 5:12, 12] = 1
    grid = Acquisition(shape=SHAPE, spacing=SPACING)
    (cross,) = lesion_table(mask, image_of(np.zeros(SHAPE, np.int16), grid.affine), LABELS)
    assert cross.longest_diameter_mm == pytest.approx(20 * 0.7, abs=0.01)
    assert cross.perpendicular_diameter_mm == pytest.approx(7 * 0.8, abs=0.01)


@pytest.mark.parametrize("plane", ["head_first_prone", "feet_first_supine", "sagittal", "coronal"])
def test_measurements_do_not_depend_on_the_stored_orientation(plane):
    """A box of 12 mm along x, 8 mm along y and 20 mm along z, between the voxels of a grid of 1 mm."""
    grid = Acquisition(shape=(40, 40, 40), spacing=(1, 1, 1), plane=plane, center=(50, -20, 30))
    index = np.indices(grid.shape).reshape(3, -1)[::-1].T
    x, y, z = (index @ grid.affine[:3, :3].T + grid.affine[:3, 3]).T
    inside = (np.abs(x - 52) < 6) & (np.abs(y + 22) < 4) & (np.abs(z - 33) < 10)
    mask = inside.reshape(grid.shape).astype(np.uint8)
    (box,) = lesion_table(mask, image_of(np.zeros(grid.shape, np.int16), grid.affine), LABELS)
    assert box.volume_mm3 == 12 * 8 * 20
    assert box.longest_diameter_mm == pytest.approx(np.hypot(12, 7), abs=0.01)
    assert (box.x_mm, box.y_mm, box.z_mm) == pytest.approx((52, -22, 33), abs=0.51)


def test_volume_uses_the_thickness_of_each_slice():
    grid = Acquisition(shape=SHAPE, spacing=SPACING)
    volume = image_of(np.zeros(SHAPE, np.int16), grid.affine)
    steps = np.array([0, *[2.5] * 4, 7.5, *[2.5] * 6])  # slices are missing before the sixth
    positions = grid.affine[:3, 3] + np.cumsum(steps)[:, None] * [0, 0, 1]
    volume.SetMetaData(SLICE_POSITIONS, json.dumps(positions.tolist()))
    mask = np.zeros(SHAPE, np.uint8)
    mask[4, 3:5, 5] = 1
    mask[9, 3:5, 5] = 1
    wide, thin = lesion_table(mask, volume, LABELS)
    assert wide.volume_mm3 == pytest.approx(2 * 0.8 * 0.7 * 5, abs=0.01)
    assert thin.volume_mm3 == pytest.approx(2 * 0.8 * 0.7 * 2.5, abs=0.01)
    assert thin.z_mm == pytest.approx(positions[9, 2], abs=0.01)


@pytest.mark.parametrize("plane", ["head_first_supine", "feet_first_supine", "sagittal"])
def test_side_is_the_patients_side(plane):
    axial = Acquisition(shape=(60, 64, 64), spacing=(4, 6, 6), plane=plane)
    stored = {"sagittal": Acquisition(shape=(64, 60, 64), spacing=(6, 4, 6), plane=plane)}
    lesions = (PhantomLesion((-84, 58, -22), 35), PhantomLesion((84, 44, -18), 27))
    hu, mask, affine = chest_volume(3, lesions=lesions, acquisition=stored.get(plane, axial))
    found = lesion_table(mask, image_of(hu, affine), LABELS)
    assert {lesion.side: lesion.x_mm > 0 for lesion in found} == {"right": False, "left": True}
    assert found[0].side == "right"


def test_no_lesion_has_a_volume_of_zero():
    volume = sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16))
    volume.SetSpacing((0.1, 0.1, 0.1))
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, 1, 1] = 1
    (lesion,) = lesion_table(mask, volume, {"lung_tumor": 1})
    assert lesion.volume_mm3 == 0.001
    assert growth(lesion.volume_mm3, 2 * lesion.volume_mm3, 100).change_percent == pytest.approx(100)


def test_empty_mask_makes_an_empty_table():
    grid = Acquisition(shape=SHAPE, spacing=SPACING)
    volume = image_of(np.zeros(SHAPE, np.int16), grid.affine)
    assert lesion_table(np.zeros(SHAPE, np.uint8), volume, LABELS) == []


def test_csv_and_json_have_the_same_values():
    grid = Acquisition(shape=SHAPE, spacing=SPACING)
    lesions = lesion_table(two_lesions(), image_of(np.zeros(SHAPE, np.int16), grid.affine), LABELS)
    tables = [({"image": "1.2.3", "patient": "Doe, Jane"}, lesions), ({"image": "1.2.4", "patient": "B"}, [])]
    rows = list(csv.DictReader(io.StringIO(as_csv(tables))))
    content = json.loads(as_json(tables))
    assert as_json(tables) == json.dumps(content, indent=2) + "\n", "in parts, but as one text"
    assert as_json([]) == json.dumps({**content, "masks": []}, indent=2) + "\n"
    assert [row["patient"] for row in rows] == ["Doe, Jane"] * 2
    assert [mask["image"] for mask in content["masks"]] == ["1.2.3", "1.2.4"]
    volumes = [lesion["volume_mm3"] for mask in content["masks"] for lesion in mask["lesions"]]
    assert [float(row["volume_mm3"]) for row in rows] == volumes
    assert "longest_diameter_mm" in content["definitions"]


def test_more_lesions_than_fit_16_bits(monkeypatch):
    """C14: lesion 65,537 was numbered 1."""
    mask = np.zeros((80, 82, 84), np.uint8)
    mask[::2, ::2, ::2] = 1
    count = int(mask.sum())
    assert count > 65_535
    number = iter(range(count))
    row = dict.fromkeys(("volume_ml", "longest_diameter_mm", "perpendicular_diameter_mm", "mean_hu"), 0.0)
    row |= {"label": "lung_tumor", "voxels": 1, "x_mm": 0.0, "y_mm": 0.0, "z_mm": 0.0, "side": ""}
    monkeypatch.setattr(module, "_measure", lambda *_: {**row, "volume_mm3": float(next(number))})
    monkeypatch.setattr(module, "find_midline", lambda volume: None)
    volume = image_of(np.zeros(mask.shape, np.int16), np.eye(4))
    lesions, places = measured_lesions(mask, volume, LABELS)
    assert len(lesions) == places.max() == count
    assert len(np.unique(places)) == count + 1
    with pytest.raises(UserError, match=f"{count} separate lesions"):
        lesion_segmentation(places, lesions, None, None, {})


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_is_escaped_against_csv_injection(text):
    """Low: spreadsheets would evaluate a PatientID such as =HYPERLINK(…)."""
    lesion = MeasuredLesion("lung_tumor", 1, 1, 1.0, 0.001, 1.0, 1.0, -42.5, -1.0, 2.0, 3.0, "left")
    (row,) = csv.DictReader(io.StringIO(as_csv([({"patient_id": text, "plain": "LUNG-1"}, [lesion])]), newline=""))
    assert row["patient_id"] == f"'{text}"
    assert (row["plain"], row["mean_hu"], row["x_mm"]) == ("LUNG-1", "-42.5", "-1.0")
    assert json.loads(as_json([({"patient_id": text}, [lesion])]))["masks"][0]["patient_id"] == text
