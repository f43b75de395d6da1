"""``python main.py infer``: a whole folder, resumed, whatever one series holds."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import Dataset
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

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))
VOXELS = 3


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
        self.said = ""
        self._root, self._capsys, self._segmented = root, capsys, []
        monkeypatch.setattr(MyApp, "infer", self._infer)

    def add(self, patient: str, modality: str = "CT") -> str:
        hu = np.full(GRID.shape, -50, np.int16)
        return write_dicom_series(self.folder / patient, hu, GRID.affine, patient_id=patient, modality=modality)

    def serve(self, weights: str) -> None:
        (self.model_dir / "pretrained_lung_tumor.pt").write_text(weights)

    def run(self, *options: object, status: int = 1) -> set[str]:
        """Returns the series that were segmented."""
        self._segmented.clear()
        where = ["--studies", self.folder, "--output", self.output, "--conf", "model_dir", self.model_dir]
        assert main(["infer", *map(str, [*where, *options])]) == status
        self.said = "".join(self._capsys.readouterr())
        assert len(set(self._segmented)) == len(self._segmented)
        return set(self._segmented)

    def _infer(self, request: dict) -> dict:
        self._segmented.append(request["image"])
        mask = np.zeros(GRID.shape, np.uint8)
        mask[2, 3, 4 : 4 + VOXELS] = 1
        path = write_volume(self._root / "mask.nii.gz", mask, GRID.affine)
        return {"file": str(path), "params": {"voxels": VOXELS, "model_version": "pretrained", "warnings": ["Odd."]}}


@pytest.fixture(autouse=True)
def _settings_of_other_tests(monkeypatch):
    for name in ("TRACKING_ENABLED", "AUTO_UPDATE_SCORING", "INFER_CONCURRENCY", "INFER_TIMEOUT", "SESSION_PATH"):
        setting = f"MONAI_LABEL_{name}"  # which the app changes for its process
        monkeypatch.setattr(app_module.server_settings, setting, getattr(app_module.server_settings, setting))


@pytest.fixture
def batch(tmp_path, monkeypatch, capsys) -> Batch:
    return Batch(tmp_path, monkeypatch, capsys)


def test_a_broken_series_stops_no_other_and_all_that_is_left_out_is_named(batch):
    pet = batch.add("P", modality="PT")
    (batch.folder / "letter.txt").write_text("Dear colleague")
    before = sorted(batch.folder.rglob("*"))
    assert batch.run() == {batch.first, batch.last}
    assert f"1 could not be made; the same command tries again:\n  {batch.broken}: Series" in batch.said
    assert f"1 series left out:\n  {pet}: modality PT; only CT is segmented" in batch.said
    assert "1: not a DICOM file" in batch.said
    assert batch.said.count("3 voxels marked\n    Odd.") == 2
    assert sorted(batch.folder.rglob("*")) == before
    expected = {f"{uid}{suffix}" for uid in (batch.first, batch.last) for suffix in (".seg.dcm", ".json")}
    assert {path.name for path in batch.output.iterdir()} == expected | {"lesions.csv", "lesions.json"}
    rows = list(csv.DictReader((batch.output / "lesions.csv").open()))
    assert [(row["patient_id"], row["algorithm_type"], row["voxels"]) for row in rows] == [
        ("A", "AUTOMATIC", "3"),
        ("C", "AUTOMATIC", "3"),
    ]


@pytest.mark.slow
def test_what_is_finished_is_not_repeated_but_what_another_model_made_is(batch):
    batch.run()
    first_seg = batch.output / f"{batch.first}.seg.dcm"
    written = first_seg.read_bytes()
    assert batch.run() == set()
    assert first_seg.read_bytes() == written
    assert batch.said.count("finished before") == 2
    assert len(json.loads((batch.output / "lesions.json").read_text())["masks"]) == 2
    first_seg.unlink()
    assert batch.run() == {batch.first}
    (batch.folder / "C" / "0000.dcm").rename(batch.folder.parent / "taken.dcm")
    batch.run()
    (batch.folder.parent / "taken.dcm").rename(batch.folder / "C" / "0000.dcm")
    assert batch.run() == {batch.last}
    assert batch.run("--conf", "threshold", "0.6") == {batch.first, batch.last}
    batch.serve("other weights of the same version")
    assert batch.run() == {batch.first, batch.last}
    batch.add("B")  # mended
    assert batch.run(status=0) == {batch.broken}


def test_one_version_makes_all_masks_of_a_run(batch, monkeypatch, tmp_path):
    """C16: the model changed in the middle of a run when another one was published."""
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
    assert f"Model version {first}, {workspace}" in batch.said
    records = [json.loads((batch.output / f"{uid}.json").read_text()) for uid in (batch.first, batch.last)]
    assert {record["made_by"]["model_version"] for record in records} == {first}
    assert store.serving_version() == second
    assert batch.run("--workspace", workspace) == {batch.first, batch.last}
    assert f"Model version {second}" in batch.said


def test_a_killed_run_goes_on_where_it_was(batch, monkeypatch):
    infer = MyApp.infer

    def killed(_: MyApp, request: dict) -> dict:
        if request["image"] == batch.last:
            raise KeyboardInterrupt
        return infer(request)

    monkeypatch.setattr(MyApp, "infer", killed)
    with pytest.raises(KeyboardInterrupt):
        batch.run()
    monkeypatch.setattr(MyApp, "infer", infer)
    assert batch.run() == {batch.last}


@pytest.mark.pacs
def test_a_pacs_that_fails_in_the_middle_is_gone_on_with(orthanc, phantom_studies, tmp_path, monkeypatch, capsys):
    truths = {series.series_uid: series.truth for series in phantom_studies.series}
    segmented = []

    def marks_the_truth(app: MyApp, request: dict) -> dict:
        app.datastore().get_image_uri(request["image"])
        segmented.append(request["image"])
        pacs.flaw = None if pacs.mended.is_set() else "error"
        mask = shutil.copy(truths[request["image"]], tmp_path / "mask.nii.gz")
        return {"file": mask, "params": {"voxels": 1, "model_version": "pretrained", "warnings": []}}

    monkeypatch.setattr(MyApp, "infer", marks_the_truth)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pretrained_lung_tumor.pt").write_text("weights")
    output = tmp_path / "out"
    with flawed_pacs(orthanc(phantom_studies.directory).url) as pacs:
        command = ["infer", "--studies", pacs.url, "--output", str(output), "--format", "nifti", "table"]
        command += ["--conf", "model_dir", str(tmp_path / "model")]
        assert main(command) == 1
        said = capsys.readouterr().out
        assert said.count("failed, The PACS at") == len(truths) - 1 == said.count("did not respond") // 2
        assert len(segmented) == len(list(output.glob("*.nii.gz"))) == 1
        pacs.mend()
        assert main(command) == 0
    assert sorted(segmented) == sorted(truths), "each once"
    for uid, truth in truths.items():
        made, marked = (sitk.ReadImage(str(path)) for path in (output / f"{uid}.nii.gz", truth))
        assert same_grid(made, marked)
        assert np.array_equal(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(marked))


def test_other_forms_replace_those_of_a_former_model(batch):
    batch.run("--format", "seg", "nifti")
    assert batch.run("--format", "nifti") == set()
    assert len(list(batch.output.glob("*.seg.dcm"))) == 2
    batch.serve("other")
    assert batch.run("--format", "nifti") == {batch.first, batch.last}
    assert not list(batch.output.glob("*.seg.dcm"))
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(batch.output / f"{batch.first}.nii.gz"))).sum() == VOXELS


def test_a_form_that_a_series_cannot_have_is_named_and_the_others_are_made(batch):
    hu = np.full(GRID.shape, -50, np.int16)
    hu[:, :4] = -1000
    write_volume(batch.folder / "crop.nii.gz", hu, GRID.affine)
    batch.run("--format", "seg", "nifti")
    assert "no seg: The image is not a DICOM series" in batch.said
    assert len(list(batch.output.glob("*.nii.gz"))) == 3
    assert batch.run("--format", "seg", "nifti") == set()


def test_what_cannot_begin_says_why(batch, capsys):
    for options, reason in (
        (("--output", batch.folder / "out"), "never written to"),
        (("--studies", batch.folder / "none"), "is neither a folder nor a URL"),
        (("--studies", "http://127.0.0.1:9/dicom-web"), "does not respond as DICOMweb"),
        (("--conf", "workspace", "w"), "writes only to --output"),
        (("--conf", "model_dir", batch.folder), "There is no trained model in use"),
    ):
        assert batch.run(*options) == set()
        assert reason in batch.said
        assert not (batch.output / ".lunglabel").exists()
