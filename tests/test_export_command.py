"""``python main.py export`` as a subprocess, with its files read back."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread

from lib.cohort.label_files import LabelFiles
from lib.datastore.opening import open_datastore
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.exports.formats import ExportFormat
from lib.exports.label_exports import LabelExports
from lib.phantoms import Acquisition, write_dicom_series
from lib.server.datastore_routes import datastore_router
from lib.server.seen_labels import SeenLabels
from lib.settings import Settings

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))


@pytest.fixture
def labelled(tmp_path) -> tuple[Path, Path, list[str]]:
    """Return studies, workspace and ids of two images, the first labelled twice."""
    studies, workspace = tmp_path / "dicom", tmp_path / "workspace"
    for patient in ("A", "B"):
        write_dicom_series(studies / patient, np.full(GRID.shape, -50, np.int16), GRID.affine, patient_id=patient)
    settings = Settings.from_conf(str(studies), {"workspace": str(workspace)})
    client = FolderClient(studies, settings.segs_dir, settings.cache_dir / "index.sqlite")
    client.scan()
    datastore = SeriesDatastore(client, settings)
    images = sorted(datastore.list_images())
    mask = np.zeros(GRID.shape, np.uint8)
    remark = {"voxel": [4, 3, 2], "state": "added", "confidence": None, "texture": "solid", "note": "beside a vessel"}
    for image, size in ((images[0], 1), (images[0], 3), (images[1], 2)):
        mask[2, 3, 4 : 4 + size] = 1
        mask.tofile(tmp_path / "label.bin")
        datastore.save_label(image, str(tmp_path / "label.bin"), "final", {"annotator": "Ada", "lesions": [remark]})
        mask[:] = 0
    return studies, workspace, images


def test_latest_labels_in_every_format(labelled, tmp_path, run_main):
    studies, workspace, images = labelled
    before = sorted(studies.rglob("*"))
    output = tmp_path / "out"
    where = ("--studies", studies, "--workspace", workspace, "--output", output)
    printed = run_main("export", *where, "--format", "seg", "sr", "rtstruct", "nifti", "table")
    assert "Research use only" in printed
    expected = {f"{images[0]}-2", f"{images[1]}-1"}
    for suffix in (".sr.dcm", ".lesions.seg.dcm", ".rtstruct.dcm", ".nii.gz"):
        assert {path.name.removesuffix(suffix) for path in output.glob(f"*{suffix}")} == expected
    report = dcmread(output / f"{images[0]}-2.sr.dcm")
    (reference,) = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == dcmread(output / f"{images[0]}-2.lesions.seg.dcm").SOPInstanceUID
    assert dcmread(output / f"{images[0]}-2.seg.dcm").NumberOfFrames == 1
    contours = dcmread(output / f"{images[0]}-2.rtstruct.dcm").ROIContourSequence[0].ContourSequence
    assert len(contours) == 1
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(output / f"{images[0]}-2.nii.gz"))).sum() == 3
    rows = {row["series_instance_uid"]: row for row in csv.DictReader((output / "lesions.csv").open())}
    assert float(rows[images[0]]["volume_mm3"]) == 3 * 2.5
    assert float(rows[images[1]]["longest_diameter_mm"]) == 2
    assert {row["patient_id"] for row in rows.values()} == {"A", "B"}
    assert {(row["state"], row["texture"], row["note"]) for row in rows.values()} == {
        ("added", "solid", "beside a vessel")
    }
    assert {row["algorithm_type"] for row in rows.values()} == {"MANUAL"}
    assert len(json.loads((output / "lesions.json").read_text())["masks"]) == 2
    assert sorted(studies.rglob("*")) == before


def test_damaged_label_is_reported_and_does_not_block_others(labelled, tmp_path, run_main):
    studies, workspace, images = labelled
    (workspace / "labels" / images[0] / "2.nii.gz").write_bytes(b"junk")
    printed = run_main("export", "--studies", studies, "--workspace", workspace, "--output", tmp_path / "out", status=1)
    assert f"not exported: Label 2 (final) of image {images[0]} is damaged" in printed
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{images[1]}-1.seg.dcm"]


def test_an_error_of_one_format_does_not_stop_the_others(labelled, tmp_path, monkeypatch):
    studies, workspace, images = labelled
    settings = Settings.from_conf(str(studies), {"workspace": str(workspace)})
    datastore = open_datastore(settings)
    monkeypatch.setattr("lib.exports.label_exports.structure_set", lambda *_: 1 / 0)
    files = LabelFiles(datastore, settings, tmp_path / "out", [ExportFormat.rtstruct, ExportFormat.nifti])
    made = files.write(datastore.labels.latest(images[0], "final"))
    assert made.problems == ("no rtstruct: ZeroDivisionError: division by zero",)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{images[0]}-2.nii.gz"]


def test_rejects_output_in_the_dicom_folder(labelled, tmp_path, run_main):
    studies, workspace, _ = labelled
    where = ("--studies", studies, "--workspace", workspace)
    assert "never written to" in run_main("export", *where, "--output", studies / "out", status=1)
    assert "There are no labels" in run_main(
        "export", "--studies", studies, "--workspace", tmp_path / "other", "--output", tmp_path / "out", status=1
    )


def test_server_returns_the_same_report_and_referenced_segments(labelled, tmp_path, run_main):
    studies, workspace, images = labelled
    run_main("export", "--studies", studies, "--workspace", workspace, "--output", tmp_path / "out", "--format", "sr")
    settings = Settings.from_conf(str(studies), {"workspace": str(workspace)})
    client = FolderClient(studies, settings.segs_dir, settings.cache_dir / "index.sqlite")
    datastore = SeriesDatastore(client, settings)
    exports = LabelExports(datastore, settings.info)
    router = datastore_router(SimpleNamespace(datastore=lambda: datastore, exports=exports, seen_labels=SeenLabels()))
    without_login = SimpleNamespace(state=SimpleNamespace())
    (download,) = (route.endpoint for route in router.routes if route.name == "download_label")
    for output, suffix in ((ExportFormat.sr, ".sr.dcm"), (ExportFormat.lesion_seg, ".lesions.seg.dcm")):
        given = download(without_login, label=images[1], output=output).body
        assert given == (tmp_path / "out" / f"{images[1]}-1{suffix}").read_bytes()
    np.zeros(GRID.shape, np.uint8).tofile(tmp_path / "empty.bin")
    datastore.save_label(images[1], str(tmp_path / "empty.bin"), "final", {})
    assert b"No lesion is marked" in download(without_login, label=images[1], output=ExportFormat.sr).body
    with pytest.raises(UserError, match="has no lesion"):
        download(without_login, label=images[1], output=ExportFormat.lesion_seg)
