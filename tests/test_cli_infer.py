"""``python main.py infer`` on whole folders: resumable and robust against broken series."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from lib import app as app_module
from lib.app import MyApp
from lib.cli import main
from lib.phantoms import Acquisition, write_dicom_series, write_volume
from lib.publishing import ModelStore
from tests.support.client import same_grid
from tests.support.dicom_variants import change
from tests.support.flawed_pacs import flawed_pacs

pytestmark = pytest.mark.slow  # runs the network

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))
VOXELS = 3
TABLES = {"lesions.csv", "lesions.json", "cases.csv", "cases.json", "columns.csv"}
FINDINGS = [{"voxel": [5, 3, 2], "confidence": 0.934}]  # in the middle of the three voxels


def break_pixels(image: Dataset) -> None:
    image.file_meta.TransferSyntaxUID = JPEG2000Lossless
    image.PixelData = encapsulate([b"this is no JPEG 2000"])
    image["PixelData"].is_undefined_length = True


class Batch:
    """A folder of tiny series, one of them broken, and the command with a model that marks three voxels."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
        self.folder, self.output, self.model_dir = root / "dicom", root / "out", root / "model"
        self.first, self.broken, self.last = (self.add(patient) for patient in "ABC")
        change(sorted((self.folder / "B").iterdir()), break_pixels)
        self.model_dir.mkdir()
        self.serve("weights")
        self.printed = ""
        self._root, self._capsys, self._segmented = root, capsys, []
        monkeypatch.setattr(MyApp, "infer", self._infer)

    def add(self, patient: str, modality: str = "CT") -> str:
        hu = np.full(GRID.shape, -50, np.int16)
        return write_dicom_series(self.folder / patient, hu, GRID.affine, patient_id=patient, modality=modality)

    def serve(self, weights: str) -> None:
        (self.model_dir / "pretrained_lung_tumor.pt").write_text(weights)

    def run(self, *options: object, status: int = 1) -> set[str]:
        """Run the command and return the series that were segmented."""
        self._segmented.clear()
        where = ["--studies", self.folder, "--output", self.output, "--conf", "model_dir", self.model_dir]
        assert main(["infer", *map(str, [*where, *options])]) == status
        self.printed = "".join(self._capsys.readouterr())
        assert len(set(self._segmented)) == len(self._segmented)
        return set(self._segmented)

    def _infer(self, request: dict) -> dict:
        self._segmented.append(request["image"])
        mask = np.zeros(GRID.shape, np.uint8)
        mask[2, 3, 4 : 4 + VOXELS] = 1
        path = write_volume(self._root / "mask.nii.gz", mask, GRID.affine)
        params = {"voxels": VOXELS, "model_version": "pretrained", "findings": FINDINGS, "warnings": ["Odd."]}
        return {"file": str(path), "params": params}


@pytest.fixture(autouse=True)
def _restore_server_settings(monkeypatch):
    for name in ("TRACKING_ENABLED", "AUTO_UPDATE_SCORING", "INFER_CONCURRENCY", "SESSION_PATH"):
        setting = f"MONAI_LABEL_{name}"  # changed by the app for its whole process
        monkeypatch.setattr(app_module.server_settings, setting, getattr(app_module.server_settings, setting))


@pytest.fixture
def batch(tmp_path, monkeypatch, capsys) -> Batch:
    return Batch(tmp_path, monkeypatch, capsys)


def test_broken_series_does_not_stop_others_and_skipped_series_are_listed(batch):
    pet = batch.add("P", modality="PT")
    (batch.folder / "letter.txt").write_text("Dear colleague")
    before = sorted(batch.folder.rglob("*"))
    assert batch.run() == {batch.first, batch.last}
    assert f"1 could not be made; the same command tries again:\n  {batch.broken}: Series" in batch.printed
    assert f"1 series excluded:\n  {pet}: modality PT; only CT is segmented" in batch.printed
    assert "1: not a DICOM file" in batch.printed
    assert batch.printed.count("3 voxels marked\n    Odd.") == 2
    assert sorted(batch.folder.rglob("*")) == before
    expected = {f"{uid}{suffix}" for uid in (batch.first, batch.last) for suffix in (".seg.dcm", ".json")}
    assert {path.name for path in batch.output.iterdir()} == expected | TABLES
    rows = list(csv.DictReader((batch.output / "lesions.csv").open()))
    assert [(row["patient_id"], row["algorithm_type"], row["voxels"]) for row in rows] == [
        ("A", "AUTOMATIC", "3"),
        ("C", "AUTOMATIC", "3"),
    ]
    assert [row["confidence"] for row in rows] == ["0.934"] * 2
    cases = {row["patient_id"]: row for row in csv.DictReader((batch.output / "cases.csv").open())}
    assert {patient: row["state"] for patient, row in cases.items()} == {
        "A": "predicted",
        "B": "failed",
        "C": "predicted",
        "P": "excluded",
    }
    assert (cases["A"]["lesions"], cases["A"]["slices"], cases["A"]["source"]) == ("1", "6", "A")
    segment = dcmread(batch.output / f"{batch.first}.seg.dcm").SegmentSequence[0]
    assert "the largest first: 93 %." in segment.SegmentDescription


@pytest.mark.slow
def test_finished_masks_are_kept_unless_series_model_or_settings_change(batch):
    batch.run()
    first_seg = batch.output / f"{batch.first}.seg.dcm"
    written = first_seg.read_bytes()
    assert batch.run() == set()
    assert first_seg.read_bytes() == written
    assert batch.printed.count("finished before") == 2
    assert len(json.loads((batch.output / "lesions.json").read_text())["masks"]) == 2
    first_seg.unlink()
    assert batch.run() == {batch.first}
    for damaged in (b"", b"[]", b"{}", b'{"made_by": {}}', b"\xff"):
        (batch.output / f"{batch.first}.json").write_bytes(damaged)
        assert batch.run() == {batch.first}, damaged
    (batch.folder / "C" / "0000.dcm").rename(batch.folder.parent / "taken.dcm")
    batch.run()
    (batch.folder.parent / "taken.dcm").rename(batch.folder / "C" / "0000.dcm")
    assert batch.run() == {batch.last}
    assert batch.run("--conf", "threshold", "0.6") == {batch.first, batch.last}
    batch.serve("other weights of the same version")
    assert batch.run() == {batch.first, batch.last}
    batch.add("B")  # repaired
    assert batch.run(status=0) == {batch.broken}


def test_one_model_version_makes_all_masks_of_a_run(batch, monkeypatch, tmp_path):
    """C16: publishing another model changed it in the middle of a run."""
    workspace = tmp_path / "workspace"
    store = ModelStore(workspace / "models")
    (tmp_path / "w.pt").write_text("weights of a version")
    first, second = (store.keep(tmp_path / "w.pt", {}) for _ in range(2))
    store.serve(first)
    infer, versions = batch._infer, []

    def publishing(app: MyApp, request: dict) -> dict:
        serving, content = app.models.read_serving()
        versions.append((serving.version, content))
        store.serve(second)
        batch.serve("other shipped weights")
        result = infer(request)
        return {**result, "params": {**result["params"], "model_version": serving.version}}

    monkeypatch.setattr(MyApp, "infer", publishing)
    assert batch.run("--workspace", workspace) == {batch.first, batch.last}
    assert versions == [(first, b"weights of a version")] * 2
    assert f"Model version {first}, {workspace}" in batch.printed
    records = [json.loads((batch.output / f"{uid}.json").read_text()) for uid in (batch.first, batch.last)]
    assert {record["made_by"]["model_version"] for record in records} == {first}
    assert store.serving_version() == second
    assert batch.run("--workspace", workspace) == {batch.first, batch.last}
    assert f"Model version {second}" in batch.printed


def test_killed_run_resumes_and_no_second_one_enters_its_folder(batch, monkeypatch, capsys):
    infer, second = MyApp.infer, []

    def killed(_: MyApp, request: dict) -> dict:
        if request["image"] == batch.last:
            where = ["--studies", str(batch.folder), "--output", str(batch.output)]
            second.append(main(["infer", *where, "--conf", "model_dir", str(batch.model_dir)]))
            raise KeyboardInterrupt
        return infer(request)

    monkeypatch.setattr(MyApp, "infer", killed)
    with pytest.raises(KeyboardInterrupt):
        batch.run()
    assert second == [1]
    assert "Another run writes into" in "".join(capsys.readouterr())
    monkeypatch.setattr(MyApp, "infer", infer)
    assert batch.run() == {batch.last}


@pytest.mark.pacs
def test_run_resumes_after_a_pacs_failure(orthanc, phantom_studies, tmp_path, monkeypatch, capsys):
    truths = {series.series_uid: series.truth for series in phantom_studies.series}
    segmented = []

    def return_truth(app: MyApp, request: dict) -> dict:
        app.datastore().get_image_uri(request["image"])
        segmented.append(request["image"])
        pacs.flaw = None if pacs.mended.is_set() else "error"
        mask = shutil.copy(truths[request["image"]], tmp_path / "mask.nii.gz")
        return {"file": mask, "params": {"voxels": 1, "model_version": "pretrained", "findings": [], "warnings": []}}

    monkeypatch.setattr(MyApp, "infer", return_truth)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pretrained_lung_tumor.pt").write_text("weights")
    output = tmp_path / "out"
    with flawed_pacs(orthanc(phantom_studies.directory).url) as pacs:
        command = ["infer", "--studies", pacs.url, "--output", str(output), "--format", "nifti", "table"]
        command += ["--conf", "model_dir", str(tmp_path / "model")]
        assert main(command) == 1
        stdout = capsys.readouterr().out
        assert stdout.count("failed, The PACS at") == len(truths) - 1 == stdout.count("did not respond") // 2
        assert len(segmented) == len(list(output.glob("*.nii.gz"))) == 1
        pacs.mend()
        assert main(command) == 0
    assert sorted(segmented) == sorted(truths), "each series is segmented exactly once"
    for uid, truth in truths.items():
        made, marked = (sitk.ReadImage(str(path)) for path in (output / f"{uid}.nii.gz", truth))
        assert same_grid(made, marked)
        assert np.array_equal(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(marked))


def test_outputs_of_a_previous_model_are_replaced(batch):
    batch.run("--format", "seg", "nifti")
    assert batch.run("--format", "nifti") == set()
    assert len(list(batch.output.glob("*.seg.dcm"))) == 2
    batch.serve("other")
    assert batch.run("--format", "nifti") == {batch.first, batch.last}
    assert not list(batch.output.glob("*.seg.dcm"))
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(batch.output / f"{batch.first}.nii.gz"))).sum() == VOXELS


def test_unsupported_format_is_reported_and_the_others_are_written(batch):
    hu = np.full(GRID.shape, -50, np.int16)
    hu[:, :4] = -1000
    write_volume(batch.folder / "crop.nii.gz", hu, GRID.affine)
    batch.run("--format", "seg", "nifti")
    assert "no seg: The image is not a DICOM series" in batch.printed
    assert len(list(batch.output.glob("*.nii.gz"))) == 3
    assert batch.run("--format", "seg", "nifti") == set()


def test_report_and_contours_are_written_as_by_export(batch):
    batch.run("--format", "sr", "rtstruct")
    report = dcmread(batch.output / f"{batch.first}.sr.dcm")
    (reference,) = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    seg = dcmread(batch.output / f"{batch.first}.lesions.seg.dcm")
    assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    contours = dcmread(batch.output / f"{batch.first}.rtstruct.dcm").ROIContourSequence[0].ContourSequence
    assert len(contours) == 1
    assert batch.run("--format", "dicom_sr") == set(), "the former name"


def test_invalid_arguments_are_explained(batch, capsys):
    for options, reason in (
        (("--output", batch.folder / "out"), "never written to"),
        (("--studies", batch.folder / "none"), "is neither a folder nor a URL"),
        (("--studies", "http://127.0.0.1:9/dicom-web"), "does not respond as DICOMweb"),
        (("--conf", "workspace", "w"), "writes only to --output"),
        (("--conf", "model_dir", batch.folder), "There is no trained model in use"),
    ):
        assert batch.run(*options) == set()
        assert reason in batch.printed
        assert not (batch.output / ".lunglabel").exists()
