"""DICOM SR of the lesions: values of the table and references to segments, read without highdicom."""

import dataclasses
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from lib.datastore.label_lesions import Remark
from lib.datastore.label_measurements import measurements_of
from lib.datastore.lesion_numbers import number_lesions
from lib.datastore.volume import read_volume
from lib.dicomweb.folder_client import FolderClient
from lib.exports.dicom_seg import lesion_segmentation
from lib.exports.lesion_table import lesion_table, measured_lesions
from lib.exports.measurement_report import measurement_report
from lib.exports.provenance import Provenance
from lib.exports.reader_remarks import placed_measurements, with_remarks
from lib.exports.source_images import SourceImages
from lib.geometry.voxel_grid import VoxelGrid
from lib.inference import Finding
from lib.phantoms import Acquisition, PhantomLesion, chest_volume, write_dicom_series
from lib.settings import load_info
from tests.support.requirement import find_program

INFO = load_info()
MANUAL = Provenance("1.2.3/1/abc", 1, 1_767_600_000.25, "MANUAL", author="Ada Löwe")
CORRECTED = Provenance("1.2.3/2/abc", 2, 1_767_600_000.25, "SEMIAUTOMATIC", "20260105-093000-000", "Ada")
# Concept name, unit and column of the table; codes from PS3.16 CID 7472, 7470 and 7469.
MEASUREMENTS = [
    ("118565006", "SCT", "mm3", "volume_mm3"),
    ("103339001", "SCT", "mm", "longest_diameter_mm"),
    ("131189007", "SCT", "mm", "perpendicular_diameter_mm"),
    ("112031", "DCM", "[hnsf'U]", "mean_hu"),
]


class Case:
    """Chest with a lesion in each lung, stored feet first, and exports of it."""

    def __init__(self, folder: Path) -> None:
        grid = Acquisition(shape=(60, 64, 72), spacing=(4, 6, 5.5), plane="feet_first_supine")
        tumours = (PhantomLesion((-84, 58, -22), 35), PhantomLesion((84, 44, -18), 27))
        hu, self.mask, affine = chest_volume(3, lesions=tumours, acquisition=grid)
        self.series_uid = write_dicom_series(folder / "ct", hu, affine, patient_id="P", shuffle_files=True)
        client = FolderClient(folder / "ct", folder / "segs", folder / "index.sqlite")
        client.scan()
        study = client.search_for_studies()[0]["0020000D"]["Value"][0]
        self.sources = SourceImages.of(client.retrieve_series_metadata(study, self.series_uid))
        self.volume = read_volume(client.series_paths(study, self.series_uid))
        self.folder = folder
        self.table = lesion_table(self.mask, self.volume, INFO["labels"])

    def export(
        self, provenance: Provenance, mask: np.ndarray | None = None, findings: Sequence[Finding] = ()
    ) -> tuple[Path, Path | None]:
        """Write report and segmentation and return their paths."""
        lesions, places = measured_lesions(self.mask if mask is None else mask, self.volume, INFO["labels"], findings)
        return self.write(provenance, lesions, places)

    def reviewed(self, remarks: Sequence[Remark], drawn: list[dict]) -> tuple[Path, Path | None]:
        """Write report and segmentation with what a reader said and drew, and return their paths."""
        numbered = [
            dataclasses.replace(one, number=one.number + 4) for one in number_lesions(self.mask, INFO["labels"])
        ]
        lesions, places = measured_lesions(self.mask, self.volume, INFO["labels"], (), numbered)
        grid = VoxelGrid.from_image(self.volume)
        measurements = placed_measurements(measurements_of(drawn), places, grid)
        return self.write(CORRECTED, with_remarks(lesions, places, remarks, measurements), places, measurements)

    def write(self, provenance: Provenance, lesions: list, places: np.ndarray, measurements: Sequence = ()) -> tuple:
        seg = lesion_segmentation(places, lesions, self.sources, provenance, INFO) if lesions else None
        report = measurement_report(lesions, seg, self.sources, provenance, INFO, measurements)
        paths = []
        for name, dataset in (("sr", report), ("seg", seg)):
            paths.append(dataset and self.folder / f"{len(list(self.folder.iterdir()))}-{name}.dcm")
            if dataset:
                dataset.save_as(paths[-1], write_like_original=False)
        return tuple(paths)


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    return Case(tmp_path_factory.mktemp("report"))


def items(parent: Dataset, code: str) -> list[Dataset]:
    """Return all descendant content items with a concept name code."""
    found = []
    for item in parent.get("ContentSequence", []):
        if item.ConceptNameCodeSequence[0].CodeValue == code:
            found.append(item)
        found += items(item, code)
    return found


def groups(report: Dataset) -> list[Dataset]:
    return items(report, "125007")


def code_of(item: Dataset) -> tuple[str, str]:
    concept = item.ConceptCodeSequence[0]
    return concept.CodeValue, concept.CodingSchemeDesignator


def test_values_equal_the_lesion_table(case):
    report = dcmread(case.export(MANUAL)[0])
    assert report.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert len(groups(report)) == len(case.table) == 2
    for group, lesion in zip(groups(report), case.table, strict=True):
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1411"
        for code, scheme, unit, column in MEASUREMENTS:
            (number,) = items(group, code)
            assert number.ConceptNameCodeSequence[0].CodingSchemeDesignator == scheme
            value = number.MeasuredValueSequence[0]
            assert value.MeasurementUnitsCodeSequence[0].CodeValue == unit
            assert float(value.NumericValue) == getattr(lesion, column)
        assert code_of(items(items(group, "112031")[0], "121401")[0]) == ("373098007", "SCT")  # mean
        assert [code_of(item) for item in items(group, "121071")] == [("108369006", "SCT")]
        (site,) = items(group, "363698007")
        assert code_of(site) == ("39607008", "SCT")
        side = {"7771000": "left", "24028007": "right"}[code_of(items(site, "272741003")[0])[0]]
        assert side == lesion.side
    assert {lesion.side for lesion in case.table} == {"left", "right"}


def test_confidence_is_in_report_and_segment_of_its_lesion_only(case):
    first, second = case.table
    judged = [dataclasses.replace(first, confidence=0.9312), second]
    places = measured_lesions(case.mask, case.volume, INFO["labels"])[1]
    seg = lesion_segmentation(places, judged, case.sources, CORRECTED, INFO)
    report = measurement_report(judged, seg, case.sources, CORRECTED, INFO)
    with_confidence, without = groups(report)
    (number,) = items(with_confidence, "111012")
    assert number.ConceptNameCodeSequence[0].CodingSchemeDesignator == "DCM"
    assert number.ConceptNameCodeSequence[0].CodeMeaning == "Certainty of Finding"
    value = number.MeasuredValueSequence[0]
    unit = value.MeasurementUnitsCodeSequence[0]
    assert (float(value.NumericValue), unit.CodeValue, unit.CodingSchemeDesignator) == (93.12, "%", "UCUM")
    assert not items(without, "111012")
    assert "nothing about malignancy" in items(report, "121106")[0].TextValue
    described, bare = seg.SegmentSequence
    assert described.SegmentDescription.rstrip() == (
        "Confidence of the model that this is a lesion: 93 %. It says nothing about malignancy."
    )
    assert "SegmentDescription" not in bare


def line(case: Case, *index: tuple[float, float, float]) -> list[list[float]]:
    """Return voxels (column, row, slice) as points in LPS, mm."""
    return VoxelGrid.from_image(case.volume).to_mm(np.array(index, float)).tolist()


def drawn(case: Case) -> list[dict]:
    """Return a bidirectional measurement of the larger lesion on a slice, and a length over slices beside both."""
    z, y, x = np.rint(np.argwhere(measured_lesions(case.mask, case.volume, INFO["labels"])[1] == 1).mean(0)).tolist()
    axes = [(x - 2, y, z), (x + 2.5, y, z), (x, y - 1.5, z), (x, y + 1.5, z)]
    return [
        {"kind": "bidirectional", "plane": "axial", "points": line(case, *axes)},
        {"kind": "length", "plane": "coronal", "points": line(case, (30, 5, 10), (30, 5, 14))},
    ]


def test_what_a_reader_drew_is_in_the_report_with_its_place(case):
    measured = drawn(case)
    paths = case.reviewed([], measured)
    report, seg = (dcmread(path) for path in paths)
    large, _, axes, length = groups(report)
    assert axes.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert items(axes, "112040")[0].UID == items(large, "112040")[0].UID == seg.SegmentSequence[0].TrackingUID
    assert items(axes, "112039")[0].TextValue == "lung_tumor 5"
    (long,), (short,) = items(axes, "103339001"), items(axes, "103340004")
    values = [float(one.MeasuredValueSequence[0].NumericValue) for one in (long, short)]
    assert values == pytest.approx([4.5 * 5.5, 3 * 6], abs=0.01)
    (place,) = items(long, "121112")
    assert (place.ValueType, place.GraphicType, place.RelationshipType) == ("SCOORD", "POLYLINE", "INFERRED FROM")
    uid = place.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    (image,) = (one for one in case.sources.headers if one.SOPInstanceUID == uid)
    columns, rows = np.reshape(place.GraphicData, (2, 2)).T - 0.5
    row, column = np.reshape(np.array(image.ImageOrientationPatient, float), (2, 3))
    height, width = map(float, image.PixelSpacing)
    ends = (
        np.array(image.ImagePositionPatient, float) + np.outer(columns * width, row) + np.outer(rows * height, column)
    )
    assert ends == pytest.approx(np.array(measured[0]["points"][:2]), abs=0.01)

    assert items(length, "112039")[0].TextValue == "measurement 2"
    (number,) = items(length, "410668003")
    assert float(number.MeasuredValueSequence[0].NumericValue) == pytest.approx(16)
    (place,) = items(number, "121112")
    assert place.ValueType == "SCOORD3D"
    assert np.reshape(place.GraphicData, (2, 3)) == pytest.approx(np.array(measured[1]["points"]), abs=0.01)
    assert place.ReferencedFrameOfReferenceUID == case.sources.headers[0].FrameOfReferenceUID
    check_with_other_programs(paths)


@pytest.mark.parametrize("beyond", [-0.9, 0.9], ids=["first", "last"])
def test_a_line_beyond_the_first_or_last_slice_is_on_no_image(case, beyond):
    """The viewer draws sagittal and coronal planes to the edge of the image, and a little beyond it."""
    slice_ = beyond if beyond < 0 else len(case.mask) - 1 + beyond
    ends = line(case, (30, 5, slice_), (30, 9, slice_))
    report, _ = case.reviewed([], [{"kind": "length", "plane": "sagittal", "points": ends}])
    (number,) = items(groups(dcmread(report))[-1], "410668003")
    (place,) = items(number, "121112")
    assert place.ValueType == "SCOORD3D"
    assert np.reshape(place.GraphicData, (2, 3)) == pytest.approx(np.array(ends), abs=0.01)


def test_what_a_reader_said_is_in_report_and_segment(case):
    x, y, z = number_lesions(case.mask, INFO["labels"])[0].voxel
    remarks = [
        Remark((x, y, z), "accepted", 0.9, "spiculated\x00", "part_solid"),
        Remark((0, 0, 0), "rejected", 0.2, ""),
    ]
    report, seg = (dcmread(path) for path in case.reviewed(remarks, []))
    said, nothing = groups(report)
    codes = [code_of(item)[0] for name in ("state", "texture") for item in items(said, name)]
    assert codes == ["accepted", "part_solid"]
    assert items(said, "121106")[0].TextValue.rstrip() == "spiculated"
    assert not items(nothing, "121106")
    described, bare = seg.SegmentSequence
    assert described.SegmentDescription.rstrip() == "Proposed by the model and accepted. Part-solid. Note: spiculated"
    assert "SegmentDescription" not in bare
    assert (described.TrackingID, bare.TrackingID) == ("lung_tumor 5", "lung_tumor 6")


def test_report_without_confidence_does_not_mention_it(case):
    report = dcmread(case.export(CORRECTED)[0])
    assert not items(report, "111012")
    assert "Certainty" not in items(report, "121106")[0].TextValue


def test_each_lesion_references_the_segment_of_its_voxels(case):
    report, seg = (dcmread(path) for path in case.export(CORRECTED))
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(seg.NumberOfFrames, -1)
    numbers = np.array(
        [
            groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            for groups in seg.PerFrameFunctionalGroupsSequence
        ]
    )
    segments = {segment.SegmentNumber: segment for segment in seg.SegmentSequence}
    assert len(segments) == 2
    tracked = set()
    for group, lesion in zip(groups(report), case.table, strict=True):
        (reference,) = items(group, "121191")
        referenced = reference.ReferencedSOPSequence[0]
        assert referenced.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        number = referenced.ReferencedSegmentNumber
        assert frames[numbers == number].sum() == lesion.voxels
        (identifier,), (uid,) = items(group, "112039"), items(group, "112040")
        assert identifier.TextValue == segments[number].TrackingID == f"lung_tumor {lesion.number}"
        assert segments[number].TrackingUID == uid.UID
        tracked.add(uid.UID)
        (source,) = items(group, "121232")
        assert case.series_uid == source.UID
    assert len(tracked) == 2
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert seg.SeriesInstanceUID in {series.SeriesInstanceUID for series in evidence}


def test_report_names_author_algorithm_and_research_use(case):
    drawn, corrected = dcmread(case.export(MANUAL)[0]), dcmread(case.export(CORRECTED)[0])
    assert items(drawn, "121008")[0].PersonName == "Ada Löwe^"
    assert items(drawn, "121013")[0].TextValue == INFO["name"]
    assert not items(drawn, "111001")
    assert [item.TextValue for item in items(corrected, "111003")] == ["20260105-093000-000"] * 2
    assert "SEMIAUTOMATIC" in items(corrected, "111002")[0].TextValue
    for report in (drawn, corrected):
        assert "Research use only" in items(report, "121106")[0].TextValue
        assert "research use only" in report.SeriesDescription
        assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_export_is_deterministic_per_label_version(case):
    first, again, other = case.export(MANUAL), case.export(MANUAL), case.export(CORRECTED)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    uids = {dcmread(path).SOPInstanceUID for path in (*first, *other)}
    assert len(uids) == 4


def test_empty_mask_makes_a_valid_report(case):
    report, seg = case.export(MANUAL, np.zeros_like(case.mask))
    assert seg is None
    assert not groups(dcmread(report))
    assert "No lesion" in items(dcmread(report), "121106")[0].TextValue


def test_unknown_side_is_omitted(case):
    lesions, places = measured_lesions(case.mask, case.volume, INFO["labels"])
    sides = zip(lesions, ("midline", ""), strict=True)
    unknown = [dataclasses.replace(lesion, side=side) for lesion, side in sides]
    seg = lesion_segmentation(places, unknown, case.sources, MANUAL, INFO)
    report = measurement_report(unknown, seg, case.sources, MANUAL, INFO)
    assert len(items(report, "363698007")) == 2
    assert not items(report, "272741003")


@pytest.mark.parametrize("provenance", [MANUAL, CORRECTED], ids=["manual", "corrected"])
@pytest.mark.parametrize("empty", [False, True], ids=["lesions", "none"])
def test_dciodvfy_and_dsrdump_report_no_errors(case, provenance, empty):
    findings = [Finding(tuple(np.argwhere(case.mask)[0, ::-1].tolist()), 0.9312)]
    paths = case.export(provenance, np.zeros_like(case.mask) if empty else None, findings)
    dumped = check_with_other_programs(paths)
    assert dumped.count("Measurement Group") == (0 if empty else 2)
    assert dumped.count('Certainty of Finding")="93.12"') == (0 if empty else 1)


def check_with_other_programs(paths: Sequence[Path | None]) -> str:
    """Assert that dciodvfy and dsrdump find no errors in a report and its segmentation; return the report as text."""
    verify = find_program("dciodvfy", message="dciodvfy is not installed: apt-get install dicom3tools")
    dump = find_program("dsrdump", message="dsrdump is not installed: apt-get install dcmtk")
    for path in filter(None, paths):
        output = subprocess.run([verify, path], capture_output=True, text=True).stderr
        assert [line for line in output.splitlines() if line.startswith("Error")] == [], output
    read = subprocess.run([dump, paths[0]], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    assert not [line for line in read.stderr.splitlines() if line.startswith("E:")], read.stderr
    return read.stdout
