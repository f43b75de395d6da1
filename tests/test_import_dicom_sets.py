"""``python main.py import`` of DICOM sets: matching objects to series and choosing the label."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import Dataset, FileDataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from lib.phantoms import Acquisition, write_dicom_series
from tests.support.imports import content, labelled_cases, marked_points, open_workspace

pytestmark = pytest.mark.slow

GRID = Acquisition(shape=(6, 24, 30), spacing=(2.5, 0.8, 0.7), center=(20, -15, 60))
# Voxels (slice, row, column): an L that no flip or rotation maps onto itself.
TUMOUR = [(1, range(5, 8), range(4, 12)), (2, range(5, 15), range(4, 6)), (3, range(5, 6), range(4, 5))]
OTHER = [(2, range(18, 20), range(20, 27))]


def write_ct(folder: Path, patient: str, number: int = 1, study: str = "1") -> str:
    hu = np.full(GRID.shape, -800 + number, np.int16)
    return write_dicom_series(
        folder, hu, GRID.affine, patient_id=patient, study=study, series_number=number, shuffle_files=True
    )


def places(boxes: list) -> np.ndarray:
    """Return the sorted voxel centres of boxes, LPS in mm."""
    index = [(column, row, place) for place, rows, columns in boxes for row in rows for column in columns]
    mm = np.array(index) @ GRID.affine[:3, :3].T + GRID.affine[:3, 3]
    return np.array(sorted(mm.round(3).tolist()))


def write_rtstruct(path: Path, ct: Path, rois: dict[str, list], *, series: str | None = "") -> None:
    """Write an RTSTRUCT (PS3.3 A.19) with a rectangle around each box.

    ``series`` overrides the referenced SeriesInstanceUID; with None, only the frame of reference is referenced.
    """
    first = dcmread(next(ct.glob("*.dcm")))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = RTStructureSetStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    rt = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False, is_little_endian=True)
    rt.SOPClassUID, rt.SOPInstanceUID, rt.Modality = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID, "RTSTRUCT"
    rt.PatientID, rt.PatientName, rt.StudyInstanceUID = first.PatientID, first.PatientName, first.StudyInstanceUID
    rt.SeriesInstanceUID, rt.SeriesNumber = generate_uid(entropy_srcs=["rt", str(path)]), 50
    rt.StructureSetLabel = "outlines"
    reference = Dataset()
    reference.FrameOfReferenceUID = first.FrameOfReferenceUID
    if series is not None:
        study, one = Dataset(), Dataset()
        one.SeriesInstanceUID = series or first.SeriesInstanceUID
        study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = (
            "1.2.840.10008.3.1.2.3.1",
            first.StudyInstanceUID,
        )
        study.RTReferencedSeriesSequence = [one]
        reference.RTReferencedStudySequence = [study]
    rt.ReferencedFrameOfReferenceSequence = [reference]
    rt.StructureSetROISequence, rt.ROIContourSequence, rt.RTROIObservationsSequence = [], [], []
    for number, (name, boxes) in enumerate(rois.items(), 1):
        roi, contours, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, first.FrameOfReferenceUID
        roi.ROIGenerationAlgorithm = "MANUAL"
        contours.ReferencedROINumber, contours.ContourSequence = number, []
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType, observation.ROIInterpreter = "GTV", ""
        for place, rows, columns in boxes:
            low, high = (rows.start - 0.5, columns.start - 0.5), (rows.stop - 0.5, columns.stop - 0.5)
            corners = [(low[1], low[0]), (high[1], low[0]), (high[1], high[0]), (low[1], high[0])]
            mm = np.array([(*corner, place) for corner in corners]) @ GRID.affine[:3, :3].T + GRID.affine[:3, 3]
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
            contour.ContourData = [f"{value:.4f}" for value in mm.ravel()]
            contours.ContourSequence.append(contour)
        rt.StructureSetROISequence.append(roi)
        rt.ROIContourSequence.append(contours)
        rt.RTROIObservationsSequence.append(observation)
    path.parent.mkdir(parents=True, exist_ok=True)
    rt.save_as(path, write_like_original=False)


def labels_by_series(source: Path, workspace: Path) -> dict[str, str]:
    return {pair["image_id"]: pair["label"] for pair in open_workspace(source, workspace).datalist()}


def test_objects_are_matched_to_their_referenced_series(run_import, tmp_path):
    source, workspace = tmp_path / "set", tmp_path / "w"
    # As in 4D-Lung: phases of one study share a frame of reference, each with its own contours.
    phases = {number: write_ct(source / f"P1/phase{number}", "P1", number) for number in (1, 2, 3)}
    write_rtstruct(source / "P1/a.dcm", source / "P1/phase2", {"Tumor_c20": TUMOUR, "LN_c20": OTHER})
    write_rtstruct(source / "P1/b.dcm", source / "P1/phase1", {"Heart": TUMOUR, "Tumor_c10": OTHER})
    before = content(source)
    said = run_import("4d-lung", source, "--workspace", workspace, "--dry-run")
    assert "2 would be labelled; 0 failed" in said and not workspace.exists()
    said = run_import("4d-lung", source, "--workspace", workspace)
    assert "1 of 20 published patients are here. 3 usable CT series of 1 patients, 2 of them marked" in said
    assert "2 labelled; 0 failed" in said
    labels = labels_by_series(source, workspace)
    assert set(labels) == {phases[1], phases[2]}
    np.testing.assert_allclose(marked_points(labels[phases[2]]), places(TUMOUR), atol=2e-3)
    np.testing.assert_allclose(marked_points(labels[phases[1]]), places(OTHER), atol=2e-3)
    info = open_workspace(source, workspace).get_label_info(phases[2], "final")
    assert (info["import"]["file"], info["import"]["regions"]) == ("P1/a.dcm", ["Tumor_c20"])
    assert "2 there already; 0 failed" in run_import("4d-lung", source, "--workspace", workspace)
    assert content(source) == before


def test_object_with_an_unknown_reference_is_reported_and_others_are_imported(run_import, tmp_path):
    source, workspace = tmp_path / "set", tmp_path / "w"
    for patient in ("P1", "P2", "P3"):
        write_ct(source / patient / "ct", patient)
    write_rtstruct(source / "P1/rt.dcm", source / "P1/ct", {"GTV-1": TUMOUR}, series="1.2.3")
    write_rtstruct(source / "P2/rt.dcm", source / "P2/ct", {"GTV-1": TUMOUR})
    write_rtstruct(source / "P3/rt.dcm", source / "P3/ct", {"Lung_L": TUMOUR})
    for arguments, expected in ((["--dry-run"], "1 would be labelled"), ([], "1 labelled")):
        said = run_import("nsclc-radiomics", source, "--workspace", workspace, *arguments, status=1)
        assert f"{expected}; 2 failed" in said and "3 of 422 published patients are here" in said
        assert "failed  P1/rt.dcm: the series 1.2.3 is not in the folder" in said
        assert "failed  P3 " in said and "'Lung_L'" in said
    assert list(labelled_cases(source, workspace)) == ["P2"]


def test_frame_of_reference_is_used_without_a_series_reference(run_import, tmp_path):
    source, workspace = tmp_path / "set", tmp_path / "w"
    only = write_ct(source / "P1/ct", "P1")
    write_ct(source / "P2/ct1", "P2", 1)
    write_ct(source / "P2/ct2", "P2", 2)
    for patient, ct in (("P1", "ct"), ("P2", "ct1")):
        write_rtstruct(source / patient / "rt.dcm", source / patient / ct, {"GTV": TUMOUR}, series=None)
    said = run_import("rtstruct", source, "--workspace", workspace, status=1)
    assert "failed  P2/rt.dcm: it refers to 2 series" in said
    labels = labels_by_series(source, workspace)
    assert list(labels) == [only]
    np.testing.assert_allclose(marked_points(labels[only]), places(TUMOUR), atol=2e-3)


def test_c17_several_tumours_need_a_choice(run_import, tmp_path):
    """C17: the command lists the files that mark a series and imports the chosen one."""
    source, workspace = tmp_path / "set", tmp_path / "w"
    one, two = write_ct(source / "P1/ct", "P1"), write_ct(source / "P2/ct", "P2")
    write_rtstruct(source / "P1/rt.dcm", source / "P1/ct", {"GTV-1": TUMOUR, "GTV-2": OTHER})
    write_rtstruct(source / "P2/reader1.dcm", source / "P2/ct", {"GTV-1": TUMOUR})
    write_rtstruct(source / "P2/reader2.dcm", source / "P2/ct", {"GTV-1": OTHER})
    for dry_run in (["--dry-run"], []):
        said = run_import("rtstruct", source, "--workspace", workspace, *dry_run, status=1)
        assert "2 failed" in said and "'GTV-1'" in said and "'GTV-2'" in said
        assert "2 files mark a tumour on it: P2/reader1.dcm has GTV-1; P2/reader2.dcm has GTV-1" in said
        assert "Choose the file with --files PATTERN" in said
    said = run_import("rtstruct", source, "--workspace", workspace, "--roi", "gtv-1", status=1)
    assert "1 labelled; 1 failed" in said and "2 files mark a tumour on it" in said  # in both files
    chosen = ("rtstruct", source, "--workspace", workspace, "--files", "*reader2.dcm")
    assert "1 labelled; 0 failed" in run_import(*chosen)
    labels = labels_by_series(source, workspace)
    np.testing.assert_allclose(marked_points(labels[one]), places(TUMOUR), atol=2e-3)
    np.testing.assert_allclose(marked_points(labels[two]), places(OTHER), atol=2e-3)
    assert "None of the 3 files" in run_import(*chosen[:-1], "*reader3.dcm", status=1)
    said = run_import("rtstruct", source, "--workspace", workspace, "--roi", "GTV-2", status=1)
    assert "1 labelled; 1 failed" in said
    np.testing.assert_allclose(marked_points(labels_by_series(source, workspace)[one]), places(OTHER), atol=2e-3)


def reshape_contours(path: Path, kind: str, repeat_first_point: bool = False) -> None:
    """Set the geometric type of all contours of a file."""
    dataset = dcmread(path)
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        contour.ContourGeometricType = kind
        if repeat_first_point:
            contour.ContourData = [*contour.ContourData, *contour.ContourData[:3]]
    dataset.save_as(path)


@pytest.mark.parametrize(("kind", "repeat"), [("INTERPOLATED_PLANAR", False), ("OPEN_PLANAR", True)])
def test_r4_closed_contours_of_any_type_are_filled(kind, repeat, run_import, tmp_path):
    """R4: such contours were ignored, and the import created an empty final label."""
    source, workspace = tmp_path / "set", tmp_path / "w"
    uid = write_ct(source / "P1/ct", "P1")
    write_rtstruct(source / "P1/rt.dcm", source / "P1/ct", {"GTV-1": TUMOUR})
    reshape_contours(source / "P1/rt.dcm", kind, repeat)
    assert "1 labelled; 0 failed" in run_import("rtstruct", source, "--workspace", workspace)
    np.testing.assert_allclose(marked_points(labels_by_series(source, workspace)[uid]), places(TUMOUR), atol=2e-3)


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", "POINT", "OPEN_NONPLANAR"])
def test_r4_contours_without_an_area_create_no_label(kind, run_import, tmp_path):
    """R4: an import never creates a final label without voxels."""
    source, workspace = tmp_path / "set", tmp_path / "w"
    write_ct(source / "P1/ct", "P1")
    write_rtstruct(source / "P1/rt.dcm", source / "P1/ct", {"GTV-1": TUMOUR})
    reshape_contours(source / "P1/rt.dcm", kind)
    for dry_run in (["--dry-run"], []):
        said = run_import("rtstruct", source, "--workspace", workspace, *dry_run, status=1)
        assert "'GTV-1' marks no voxel: 3 contour(s) of type " + kind in said and "1 failed" in said
    assert labels_by_series(source, workspace) == {}


def test_r4_reported_structure_sets_are_filled(shared_data, run_import, tmp_path):
    source = shared_data / "reports/rtstruct-interpolated-planar/studies"
    said = run_import("rtstruct", source, "--workspace", tmp_path / "w")
    assert "2 labelled; 0 failed" in said and said.count("GTV-1: 180 voxels, 14.2 ml") == 2


def test_seg_of_this_app_is_imported_unless_it_is_in_its_workspace(run_import, tmp_path):
    from lib.cli import main

    source, workspace = tmp_path / "set", tmp_path / "w"
    uid = write_ct(source / "P1/ct", "P1")
    write_rtstruct(source / "P1/rt.dcm", source / "P1/ct", {"GTV-1": TUMOUR})
    run_import("rtstruct", source, "--workspace", workspace)
    assert (
        main(["export", "--studies", str(source), "--workspace", str(workspace), "--output", str(tmp_path / "o")]) == 0
    )
    (seg,) = (tmp_path / "o").glob("*.seg.dcm")
    (source / "P1/rt.dcm").unlink()
    shutil.copy(seg, workspace / "segs")
    assert "There is no RTSTRUCT or SEG" in run_import("rtstruct", source, "--workspace", workspace, status=1)
    (workspace / "segs" / seg.name).unlink()
    shutil.copy(seg, source / "P1")
    for other in ("w2", "w3"):
        assert "1 labelled; 0 failed" in run_import("rtstruct", source, "--workspace", tmp_path / other)
        np.testing.assert_allclose(
            marked_points(labels_by_series(source, tmp_path / other)[uid]), places(TUMOUR), atol=2e-3
        )
        # the SEG is preferred to an RTSTRUCT with the same voxels
        write_rtstruct(source / "P1/rt.dcm", source / "P1/ct", {"GTV-1": TUMOUR})


def lidc_xml(series: str, sops: dict[int, str], readers: int) -> str:
    """Return four LIDC-IDRI readings; ``readers`` of them outline the first box of the tumour, one pixel outside."""
    place, rows, columns = TUMOUR[0]
    edge = [(c, rows.start - 1) for c in range(columns.start - 1, columns.stop + 1)]
    edge += [(columns.stop, r) for r in range(rows.start, rows.stop + 1)]
    edge += [(c, rows.stop) for c in range(columns.stop - 1, columns.start - 2, -1)]
    edge += [(columns.start - 1, r) for r in range(rows.stop - 1, rows.start - 2, -1)]
    z = GRID.affine[2, 3] + place * GRID.affine[2, 2]
    points = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in edge)
    outline = (
        f"<roi><imageZposition>{z:g}</imageZposition><imageSOP_UID>{sops[place]}</imageSOP_UID>"
        f"<inclusion>TRUE</inclusion>{points}</roi>"
    )
    nodule = f"<unblindedReadNodule><noduleID>1</noduleID>{outline}</unblindedReadNodule>"
    sessions = "".join(
        f"<readingSession><annotationVersion>3.12</annotationVersion><servicingRadiologistID>{n}</servicingRadiologistID>"
        f"{nodule if n < readers else ''}</readingSession>"
        for n in range(4)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader>'
        f"<SeriesInstanceUid>{series}</SeriesInstanceUid></ResponseHeader>{sessions}</LidcReadMessage>"
    )


def test_lidc_readings_are_matched_by_their_header(run_import, tmp_path):
    source, workspace, readings = tmp_path / "LIDC-IDRI", tmp_path / "w", tmp_path / "tcia-lidc-xml"
    uids = {patient: write_ct(source / patient / "ct", patient) for patient in ("LIDC-IDRI-0001", "LIDC-IDRI-0002")}
    headers = [dcmread(path, stop_before_pixels=True) for path in (source / "LIDC-IDRI-0002/ct").glob("*.dcm")]
    sops = {int(header.InstanceNumber) - 1: header.SOPInstanceUID for header in headers}
    (readings / "157").mkdir(parents=True)
    (readings / "157/158.xml").write_text(lidc_xml(uids["LIDC-IDRI-0002"], sops, readers=3))
    (readings / "157/157.xml").write_text(lidc_xml(uids["LIDC-IDRI-0001"], sops, readers=1))
    (readings / "157/159.xml").write_text(
        '<IdriReadMessage xmlns="http://www.nih.gov"><ResponseHeader/></IdriReadMessage>'
    )
    (readings / "157/160.xml").write_text("<junk")
    (readings / "157/folder.xml").mkdir()
    for encoding in ("gb2312", "unheard-of"):  # which Expat has not
        (readings / f"157/{encoding}.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?><a/>')
    assert "no LIDC XML or SEG file" in run_import("lidc-idri", source, "--workspace", workspace, status=1)
    before = content(source, readings)
    arguments = ("lidc-idri", source, "--workspace", workspace, "--annotations", readings)
    for dry_run, outcome in ((["--dry-run"], "1 would be labelled"), ([], "1 labelled")):
        said = run_import(*arguments, *dry_run)
        assert "2 of 1018 published series are here" in said and f"{outcome}" in said
        assert "1 nothing marked, left without a label" in said and "0 failed" in said
    assert content(source, readings) == before
    cases = labelled_cases(source, workspace)
    assert list(cases) == ["LIDC-IDRI-0002"]
    np.testing.assert_allclose(marked_points(cases["LIDC-IDRI-0002"]["label"]), places(TUMOUR[:1]), atol=2e-3)


def test_unreadable_reading_is_reported_and_others_are_imported(run_import, tmp_path):
    source = tmp_path / "LIDC-IDRI"
    uid = write_ct(source / "P1/ct", "P1")
    headers = [dcmread(path, stop_before_pixels=True) for path in (source / "P1/ct").glob("*.dcm")]
    sops = {int(header.InstanceNumber) - 1: header.SOPInstanceUID for header in headers}
    (source / "P1/1.xml").write_text(lidc_xml(uid, sops, readers=2))
    (source / "P1/2.xml").symlink_to(tmp_path / "nowhere")
    said = run_import("lidc-idri", source, "--workspace", tmp_path / "w", status=1)
    assert "1 labelled; 1 failed" in said
    assert "failed  P1/2.xml: cannot be read (No such file or directory)" in said


@pytest.mark.parametrize(
    ("kind", "folder", "mask"),
    [
        ("4d-lung", "4d-lung-113", "4d-lung-113_Tumor_c40.nii.gz"),
        ("lidc-idri", "lidc-idri-0001", "lidc-idri-0001_nodule_ge2readers.nii.gz"),
    ],
)
def test_real_sets_match_reference_masks(kind, folder, mask, shared_data, run_import, tmp_path):
    source = shared_data / folder
    assert "1 labelled; 0 failed" in run_import(kind, source, "--workspace", tmp_path / "w")
    (pair,) = open_workspace(source, tmp_path / "w").datalist()
    ours, theirs = (nibabel.load(path) for path in (pair["label"], shared_data / "masks" / mask))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
    one, other = (np.asarray(image.dataobj) > 0 for image in (ours, theirs))
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.98
