"""RT Structure Sets: contours enclose exactly the mask's voxels, at their position in the patient."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.exports.contours import outlines
from lib.exports.provenance import Provenance
from lib.exports.rtstruct import structure_set
from lib.exports.source_images import SourceImages
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import load_info
from tests.support.requirement import find_program

INFO = load_info()
SHAPE = (12, 20, 28)
PROVENANCE = Provenance("1.2.3/1/abc", 1, 1_767_600_000.0, "SEMIAUTOMATIC", "v1", "Ada")


def inside(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return which points lie in a polygon by the even-odd rule."""
    result = np.zeros(len(points), bool)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        between = (points[:, 1] < y1) != (points[:, 1] < y2)
        result ^= between & (points[:, 0] < x1 + (points[:, 1] - y1) * (x2 - x1) / (y2 - y1))
    return result


def winding(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return which points lie in a polygon by the non-zero winding rule, used by other readers."""
    result = np.zeros(len(points), int)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y1 == y2:
            continue
        between = (points[:, 1] < y1) != (points[:, 1] < y2)
        crosses = between & (points[:, 0] < x1 + (points[:, 1] - y1) * (x2 - x1) / (y2 - y1))
        result += crosses * (1 if y2 > y1 else -1)
    return result != 0


def centres_of(shape: tuple[int, int]) -> np.ndarray:
    """Return column and row of every pixel, slightly off the channels between outline and hole."""
    rows, columns = np.indices(shape)
    return np.column_stack([columns.ravel() + 1e-4, rows.ravel() + 1.7e-4])


@pytest.fixture(params=["ring", "two rings", "pixel", "border", "diagonal", "chance"])
def slice_(request) -> np.ndarray:
    mask = np.zeros((14, 17), bool)
    if request.param == "ring":
        mask[2:9, 3:12] = True
        mask[4:6, 5:9] = False
    elif request.param == "two rings":
        mask[1:13, 1:16] = True
        mask[3:6, 3:6] = mask[8:11, 9:14] = False
        mask[9, 11] = True
    elif request.param == "pixel":
        mask[5, 6] = True
    elif request.param == "border":
        mask[0:3, 0:5] = mask[12:, 14:] = True
    elif request.param == "diagonal":
        mask[3, 3] = mask[4, 4] = mask[5, 3] = True
    else:
        mask = np.random.default_rng(1).random(mask.shape) < 0.5
    return mask


@pytest.mark.parametrize("rule", [inside, winding])
def test_contours_enclose_exactly_the_mask(slice_, rule):
    found = sum(rule(polygon, centres_of(slice_.shape)).astype(int) for polygon in outlines(slice_))
    assert np.array_equal(found.reshape(slice_.shape), slice_)


def corner() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 3:8, 5:11] = 1
    mask[3, 5, 7:9] = 0
    mask[8, 15, 20] = 1
    return mask


@pytest.fixture
def series(tmp_path):
    def write(**grid):
        acquisition = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7), **grid)
        uid = write_dicom_series(
            tmp_path / "ct", np.zeros(SHAPE, np.int16), acquisition.affine, patient_id="P", shuffle_files=True
        )
        client = FolderClient(tmp_path / "ct", tmp_path / "segs", tmp_path / "index.sqlite")
        client.scan()
        study = client.search_for_studies()[0]["0020000D"]["Value"][0]
        return acquisition, client.retrieve_series_metadata(study, uid)

    return write


def stored(mask: np.ndarray, metadata: list[dict], path: Path) -> Dataset:
    structure_set(mask, SourceImages.of(metadata), PROVENANCE, INFO).save_as(path, write_like_original=False)
    return dcmread(path)


@pytest.mark.parametrize("plane", ["head_first_supine", "feet_first_supine", "sagittal"])
@pytest.mark.parametrize("oblique", [0.0, 1.0])
def test_contours_enclose_the_voxels_of_their_slice(series, tmp_path, plane, oblique):
    grid, metadata = series(plane=plane, oblique_degrees=oblique)
    rtstruct = stored(corner(), metadata, tmp_path / "rt.dcm")
    to_index = np.linalg.inv(grid.affine)
    centres = centres_of(SHAPE[1:])
    found = np.zeros(SHAPE, np.uint8)
    positions = {one["00080018"]["Value"][0]: one["00200032"]["Value"] for one in metadata}
    for contour in rtstruct.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert contour.NumberOfContourPoints == len(points)
        index = points @ to_index[:3, :3].T + to_index[:3, 3]
        place = round(float(index[0, 2]))
        np.testing.assert_allclose(index[:, 2], place, atol=1e-3)
        image = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(positions[image], (grid.affine @ [0, 0, place, 1])[:3], atol=1e-3)
        found[place] |= inside(index[:, :2], centres).reshape(SHAPE[1:])
    assert np.array_equal(found, corner())


def test_attributes_and_references(series, tmp_path):
    _, metadata = series()
    rtstruct = stored(corner(), metadata, tmp_path / "rt.dcm")
    assert rtstruct.StructureSetROISequence[0].ROIName == "lung_tumor"
    assert rtstruct.StructureSetROISequence[0].ROIGenerationAlgorithm == "SEMIAUTOMATIC"
    assert "research use only" in rtstruct.SeriesDescription
    study = rtstruct.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    listed = study.RTReferencedSeriesSequence[0].ContourImageSequence
    assert {one.ReferencedSOPInstanceUID for one in listed} == {one["00080018"]["Value"][0] for one in metadata}
    assert stored(corner(), metadata, tmp_path / "again.dcm").SOPInstanceUID == rtstruct.SOPInstanceUID
    assert (tmp_path / "rt.dcm").read_bytes() == (tmp_path / "again.dcm").read_bytes()


def test_empty_mask_makes_a_region_without_contours(series, tmp_path):
    _, metadata = series()
    rtstruct = stored(np.zeros(SHAPE, np.uint8), metadata, tmp_path / "rt.dcm")
    assert "ContourSequence" not in rtstruct.ROIContourSequence[0]


def test_rejects_a_label_of_a_series_that_has_grown(series, tmp_path):
    _, metadata = series()
    with pytest.raises(UserError, match="11 slices, but the series now has 12"):
        stored(corner()[1:], metadata, tmp_path / "rt.dcm")


def test_dciodvfy_reports_no_errors(series, tmp_path):
    program = find_program("dciodvfy", message="dciodvfy is not installed: apt-get install dicom3tools")
    _, metadata = series(plane="sagittal", oblique_degrees=1)
    for name, mask in (("some.dcm", corner()), ("none.dcm", np.zeros(SHAPE, np.uint8))):
        stored(mask, metadata, tmp_path / name)
        output = subprocess.run([program, tmp_path / name], capture_output=True, text=True).stderr
        assert [line for line in output.splitlines() if line.startswith("Error")] == [], output
