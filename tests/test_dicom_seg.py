"""DICOM SEG export: exact voxels in place, correct references and codes, and truthful provenance."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom_seg
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread

from lib.datastore.label_store import LabelRecord
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.pacs_client import pacs_client
from lib.errors import UserError
from lib.exports.confidence import describe_segment
from lib.exports.dicom_seg import segmentation
from lib.exports.provenance import Provenance
from lib.exports.source_images import SourceImages
from lib.inference import Finding
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import load_info
from tests.support.requirement import find_program

INFO = load_info()
SHAPE = (12, 20, 28)
PLANES = ("head_first_supine", "head_first_prone", "feet_first_supine", "sagittal", "coronal")
MANUAL = Provenance("1.2.3/1/abc", 1, 1_767_600_000.25, "MANUAL", author="Ada Löwe")
CORRECTED = Provenance("1.2.3/2/abc", 2, 1_767_600_000.25, "SEMIAUTOMATIC", "20260105-093000-000", "Ada")


def corner(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return an asymmetric mask: a notched box near one corner and a single voxel."""
    mask = np.zeros(shape, np.uint8)
    mask[2:5, 3:6, 5:11] = 1
    mask[3, 3:5, 5] = 0
    mask[8, 15, 20] = 1
    return mask


@pytest.fixture
def series(tmp_path):
    """Return ``series(**grid)``, which writes a shuffled series and returns its grid, metadata and client."""

    def write(tag: str = "ct", **grid):
        acquisition = Acquisition(**{"shape": SHAPE, "spacing": (2.5, 0.8, 0.7), **grid})
        folder = tmp_path / tag
        uid = write_dicom_series(
            folder,
            np.zeros(acquisition.shape, np.int16),
            acquisition.affine,
            patient_id="P",
            shuffle_files=True,
            descending_instances=True,
        )
        client = FolderClient(folder, tmp_path / "segs", tmp_path / f"{tag}.sqlite")
        client.scan()
        study = client.search_for_studies()[0]["0020000D"]["Value"][0]
        return acquisition, client.retrieve_series_metadata(study, uid), client

    return write


def stored(seg: Dataset, path: Path) -> Dataset:
    seg.save_as(path, write_like_original=False)
    return dcmread(path)


def points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the sorted voxel centres in LPS mm of a mask (slice, row, column)."""
    index = np.argwhere(mask)[:, ::-1]
    return sort_points(index @ affine[:3, :3].T + affine[:3, 3])


def points_of_frames(seg: Dataset) -> np.ndarray:
    """Return the sorted voxel centres in LPS mm from the bits and plane of each frame (PS3.3 C.7.6.16.2)."""
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns)
    shared = seg.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(frame)
        along = columns[:, None] * between_columns * orientation[0] + rows[:, None] * between_rows * orientation[1]
        found.append(origin + along)
    return sort_points(np.concatenate(found))


def sort_points(found: np.ndarray) -> np.ndarray:
    return found[np.lexsort(found.round(2).T)]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("oblique", [0.0, 1.0])
def test_voxels_keep_their_position(series, tmp_path, plane, oblique):
    grid, metadata, _ = series(plane=plane, oblique_degrees=oblique)
    seg = stored(segmentation(corner(), SourceImages.of(metadata), MANUAL, INFO), tmp_path / "seg.dcm")
    np.testing.assert_allclose(points_of_frames(seg), points(corner(), grid.affine), atol=1e-3)

    image = pydicom_seg.MultiClassReader().read(seg).image
    whole = sitk.Image(SHAPE[::-1], sitk.sitkUInt8)
    whole.SetOrigin(grid.affine[:3, 3].tolist())
    whole.SetSpacing((0.7, 0.8, 2.5))
    whole.SetDirection((grid.affine[:3, :3] / [0.7, 0.8, 2.5]).ravel().tolist())
    back = sitk.Resample(image, whole, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(sitk.GetArrayFromImage(back), corner())


def test_slices_of_a_tilted_gantry_keep_their_position(series, tmp_path):
    grid, metadata, _ = series(gantry_tilt_degrees=12)
    seg = stored(segmentation(corner(), SourceImages.of(metadata), MANUAL, INFO), tmp_path / "seg.dcm")
    np.testing.assert_allclose(points_of_frames(seg), points(corner(), grid.affine), atol=1e-3)


def test_every_slice_is_referenced_and_empty_frames_are_omitted(series, tmp_path):
    _, metadata, _ = series()
    seg = stored(segmentation(corner(), SourceImages.of(metadata), MANUAL, INFO), tmp_path / "seg.dcm")
    positions = {
        one["00080018"]["Value"][0]: tuple(round(value, 3) for value in one["00200032"]["Value"]) for one in metadata
    }
    listed = seg.ReferencedSeriesSequence[0]
    assert listed.SeriesInstanceUID == metadata[0]["0020000E"]["Value"][0]
    assert {one.ReferencedSOPInstanceUID for one in listed.ReferencedInstanceSequence} == set(positions)
    assert seg.NumberOfFrames == 4
    for groups in seg.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        place = tuple(round(float(value), 3) for value in groups.PlanePositionSequence[0].ImagePositionPatient)
        assert positions[source.ReferencedSOPInstanceUID] == place
    assert seg.FrameOfReferenceUID == metadata[0]["00200052"]["Value"][0]
    assert seg.StudyInstanceUID == metadata[0]["0020000D"]["Value"][0]
    assert str(seg.PatientName) == "Phantom^P"


def test_codes_and_descriptions(series, tmp_path):
    _, metadata, _ = series()
    seg = stored(segmentation(corner(), SourceImages.of(metadata), CORRECTED, INFO), tmp_path / "seg.dcm")
    segment = seg.SegmentSequence[0]
    codes = [
        (sequence[0].CodeValue, sequence[0].CodingSchemeDesignator)
        for sequence in (
            segment.SegmentedPropertyCategoryCodeSequence,
            segment.SegmentedPropertyTypeCodeSequence,
            segment.AnatomicRegionSequence,
        )
    ]
    assert codes == [("49755003", "SCT"), ("108369006", "SCT"), ("39607008", "SCT")]
    assert segment.SegmentLabel == "lung_tumor"
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "20260105-093000-000"
    assert "research use only" in seg.SeriesDescription
    assert "research use only" in seg.ContentDescription


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([Finding((7, 4, 4), 0.93), Finding((20, 15, 8), 0.4)], "93 %, 40 %"),
        ([Finding((20, 15, 8), 1.0)], "none, 99 %"),
        ([Finding((7, 4, 4), 0.0), Finding((0, 0, 0), 0.9)], "1 %, none"),
        ([Finding((7, 4, 4), None)], None),
        ([Finding((0, 0, 0), 0.9)], None),
        ([], None),
    ],
)
def test_segment_describes_the_confidence_of_each_lesion(series, tmp_path, findings, expected):
    _, metadata, _ = series()
    seg = segmentation(corner(), SourceImages.of(metadata), CORRECTED, INFO, findings)
    segment = stored(seg, tmp_path / "seg.dcm").SegmentSequence[0]
    assert segment.get("SegmentDescription") == (
        expected
        and "Confidence of the model that each is a lesion, by number of voxels, the largest first: "
        f"{expected}. It says nothing about malignancy."
    )


def test_description_of_thousands_of_lesions_fits_the_attribute():
    """An ST has at most 1024 characters (PS3.5 6.2)."""
    specks = np.zeros((40, 40, 40), bool)
    specks[::2, ::2, ::2] = True
    text = describe_segment(specks, [Finding((0, 0, 0), 0.5)])
    assert text.endswith("none, and 7910 more. It says nothing about malignancy.")
    assert len(text) <= 1024


def test_manual_label_names_its_author_and_no_algorithm(series, tmp_path):
    _, metadata, _ = series()
    seg = stored(segmentation(corner(), SourceImages.of(metadata), MANUAL, INFO), tmp_path / "seg.dcm")
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
    assert "SegmentAlgorithmName" not in seg.SegmentSequence[0]
    assert seg.ContentCreatorName.family_name == "Ada Löwe"


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, "MANUAL"),
        ({"model_version": None, "changes": None}, "MANUAL"),
        ({"model_version": "v1", "changes": {"added": 0, "removed": 0, "kept": 9}}, "AUTOMATIC"),
        ({"model_version": "v1", "changes": {"added": 0, "removed": 1, "kept": 8}}, "SEMIAUTOMATIC"),
        ({"model_version": "v1", "changes": {"added": 1, "removed": 0, "kept": 9}}, "SEMIAUTOMATIC"),
        ({"model_version": "v1", "changes": None}, "SEMIAUTOMATIC"),
    ],
)
def test_algorithm_type_follows_the_changes_to_the_model_mask(info, expected):
    assert Provenance.of_label(LabelRecord("1.2.3", 1, "final", 0.0, "abc", info)).algorithm_type == expected


def test_export_is_deterministic_per_label_version(series, tmp_path):
    _, metadata, _ = series()
    made = []
    for name, provenance in (("a", MANUAL), ("b", MANUAL), ("c", CORRECTED)):
        # independent of the order of instances
        sources = SourceImages.of(metadata[::-1] if name == "b" else metadata)
        made.append(stored(segmentation(corner(), sources, provenance, INFO), tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert made[0].SOPInstanceUID != made[2].SOPInstanceUID
    assert made[0].SeriesInstanceUID != made[2].SeriesInstanceUID


def test_empty_mask_makes_a_valid_object(series, tmp_path, caplog):
    _, metadata, _ = series()
    seg = stored(segmentation(np.zeros(SHAPE, np.uint8), SourceImages.of(metadata), MANUAL, INFO), tmp_path / "s.dcm")
    assert seg.NumberOfFrames == SHAPE[0]
    assert not np.frombuffer(seg.PixelData, np.uint8).any()
    assert caplog.text == "", "an export is quiet"


def test_each_label_has_its_own_segment(series, tmp_path):
    _, metadata, _ = series()
    info = {**INFO, "labels": {"node": 7, "lung_tumor": 3}, "segments": {}}
    info["segments"] = dict.fromkeys(info["labels"], INFO["segments"]["lung_tumor"])
    mask = 3 * corner()
    mask[6, 10:12, 4:9] = 7
    seg = stored(segmentation(mask, SourceImages.of(metadata), MANUAL, info), tmp_path / "seg.dcm")
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == ["lung_tumor", "node"]
    numbers = [
        groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for groups in seg.PerFrameFunctionalGroupsSequence
    ]
    assert numbers == [1, 1, 1, 1, 2]


def test_rejects_a_label_of_a_series_that_has_grown(series):
    _, metadata, _ = series()
    with pytest.raises(UserError, match="11 slices, but the series now has 12"):
        segmentation(corner()[1:], SourceImages.of(metadata), MANUAL, INFO)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: [], "is not a DICOM series"),
        (lambda m: [{k: v for k, v in one.items() if k != "00200052"} for one in m], "no Frame of Reference UID"),
    ],
)
def test_rejects_images_that_cannot_be_referenced(series, change, message):
    with pytest.raises(UserError, match=message):
        SourceImages.of(change(series()[1]))


def test_invalid_headers_do_not_prevent_the_export(series, tmp_path):
    _, metadata, _ = series()
    for one in metadata:
        for tag in ("00080050", "00200010", "00180050", "00180088"):  # as anonymisers leave them
            one.pop(tag, None)
        one["00100030"] = {"vr": "DA", "Value": ["00000000"]}
        one["00100040"] = {"vr": "CS", "Value": ["UNKNOWN"]}
        one["00282110"] = {"vr": "CS", "Value": ["01"]}
        one["00200032"]["Value"] = [value + 1e-14 for value in one["00200032"]["Value"]]
        one["7FE00010"] = {"vr": "OW", "BulkDataURI": "http://pacs/bulk"}
    seg = stored(segmentation(corner(), SourceImages.of(metadata), MANUAL, INFO), tmp_path / "seg.dcm")
    assert seg.PatientBirthDate == seg.PatientSex == ""
    assert float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness) == 2.5


def test_several_values_where_one_is_allowed_do_not_prevent_the_export(series, tmp_path):
    _, metadata, _ = series()
    for one in metadata:
        one["00100010"] = {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jo"}, {"Alphabetic": "Roe"}]}
        one["00180050"] = {"vr": "DS", "Value": [2, 3]}
        one["00200011"] = {"vr": "IS", "Value": [2, 3]}
    seg = segmentation(corner(), SourceImages.of(metadata), MANUAL, INFO)
    seg.save_as(tmp_path / "seg.dcm", write_like_original=False)
    assert dcmread(tmp_path / "seg.dcm").PatientName == "Doe^Jo Roe"


def test_other_errors_of_the_writer_name_the_series(series, monkeypatch):
    _, metadata, _ = series()
    monkeypatch.setattr("highdicom.seg.Segmentation", lambda **_: 1 / 0)
    with pytest.raises(UserError, match=r"cannot be exported as DICOM SEG: ZeroDivisionError"):
        segmentation(corner(), SourceImages.of(metadata), MANUAL, INFO)


def test_dciodvfy_reports_no_errors(series, tmp_path):
    program = find_program("dciodvfy", message="dciodvfy is not installed: apt-get install dicom3tools")
    _, metadata, _ = series(plane="sagittal", oblique_degrees=1)
    for number, provenance in enumerate((MANUAL, CORRECTED)):
        path = tmp_path / f"{number}.dcm"
        stored(segmentation(corner(), SourceImages.of(metadata), provenance, INFO), path)
        output = subprocess.run([program, path], capture_output=True, text=True).stderr
        assert [line for line in output.splitlines() if line.startswith("Error")] == [], output


def test_voxels_of_a_real_scan_keep_their_position(shared_data, tmp_path):
    scan = shared_data / "lidc-idri-0001"
    client = FolderClient(scan, tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    header = client.search_for_series()[0]
    metadata = client.retrieve_series_metadata(header["0020000D"]["Value"][0], header["0020000E"]["Value"][0])
    mask = np.zeros((133, 512, 512), np.uint8)
    mask[85:95, 350:375, 300:330] = 1
    mask[90, 350:360, 300] = 0
    seg = stored(segmentation(mask, SourceImages.of(metadata), MANUAL, INFO), tmp_path / "seg.dcm")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(scan)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(points_of_frames(seg), points(mask, affine), atol=1e-2)
    assert seg.NumberOfFrames == 10


def test_frames_of_a_multi_frame_scan_are_referenced_individually(shared_data, tmp_path):
    scan = shared_data / "enhanced-ct-2frame"
    client = FolderClient(scan, tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    header = client.search_for_series()[0]
    metadata = client.retrieve_series_metadata(header["0020000D"]["Value"][0], header["0020000E"]["Value"][0])
    sources = SourceImages.of(metadata)
    mask = np.zeros((2, sources.headers[0].Rows, sources.headers[0].Columns), np.uint8)
    for place, rows in enumerate((2, 5)):  # mask rows in the lower and the upper slice
        mask[place, :rows, 3] = 1
    seg = stored(segmentation(mask, sources, MANUAL, INFO), tmp_path / "seg.dcm")
    found = points_of_frames(seg)
    direction = sources.stack.normal
    for place, rows in enumerate((2, 5)):
        at = sources.stack.positions[place] @ direction
        assert (np.abs(found @ direction - at) < 1e-3).sum() == rows
    per_frame = sources.headers[0].PerFrameFunctionalGroupsSequence
    for groups in seg.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        referred = per_frame[source.ReferencedFrameNumber - 1].PlanePositionSequence[0].ImagePositionPatient
        assert groups.PlanePositionSequence[0].ImagePositionPatient == referred


@pytest.mark.pacs
def test_round_trip_through_orthanc(series, orthanc, tmp_path):
    _, metadata, client = series()
    seg = segmentation(corner(), SourceImages.of(metadata), MANUAL, INFO)
    client.store_instances([seg])
    found = client.search_for_instances(search_filters={"Modality": "SEG"})
    assert [one["00080018"]["Value"][0] for one in found] == [seg.SOPInstanceUID]
    (written,) = (tmp_path / "segs").rglob("*.dcm")
    studies = tmp_path / "sent"
    shutil.copytree(tmp_path / "ct", studies / "ct")
    shutil.copy(written, studies / "seg.dcm")
    pacs = orthanc(studies)
    back = pacs_client(pacs.url).retrieve_instance(seg.StudyInstanceUID, seg.SeriesInstanceUID, seg.SOPInstanceUID)
    assert back.PixelData == seg.PixelData
    np.testing.assert_allclose(points_of_frames(back), points_of_frames(seg))
    metadata = pacs_client(pacs.url).retrieve_series_metadata(seg.StudyInstanceUID, metadata[0]["0020000E"]["Value"][0])
    again = segmentation(corner(), SourceImages.of(metadata), MANUAL, INFO)
    np.testing.assert_allclose(points_of_frames(again), points_of_frames(seg), atol=1e-6)
    assert again.SOPInstanceUID == seg.SOPInstanceUID
