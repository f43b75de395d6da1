"""The table of the cases of an export: a row for each series, whatever is known of it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lib.datastore.opening import open_datastore
from lib.datastore.series_datastore import SeriesDatastore
from lib.exports.case_table import CASE_COLUMNS, CaseRow, cases_as_csv
from lib.phantoms import Acquisition, write_dicom_series, write_volume
from lib.settings import APP_DIR, Settings

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))


@pytest.fixture
def folder(tmp_path) -> tuple[Path, Path, dict[str, str]]:
    """Return studies, workspace and image ids: four scans, two of them NIfTI called ct, and one PET."""
    studies, workspace = tmp_path / "dicom", tmp_path / "workspace"
    for patient in ("A", "B"):
        write_dicom_series(
            studies / f"patient {patient}", np.full(GRID.shape, -50, np.int16), GRID.affine, patient_id=patient
        )
    write_dicom_series(studies / "pet", np.zeros(GRID.shape, np.int16), GRID.affine, patient_id="P", modality="PT")
    for number, patient in enumerate(("one", "two")):
        hu = np.full(GRID.shape, -1000, np.int16)
        hu[2:4] = 40 + number
        (studies / patient).mkdir()
        write_volume(studies / patient / "ct.nii.gz", hu, GRID.affine)
    datastore = opened(studies, workspace)
    images = {datastore.series(image).value("PatientID"): image for image in datastore.list_images()}
    mask = np.zeros(GRID.shape, np.uint8)
    for patient, voxels in (("A", 3), ("one/ct", 0)):
        mask[2, 3, 4 : 4 + voxels] = 1
        mask.tofile(tmp_path / "label.bin")
        note = {"annotator": "Ada", "note": "=1+1", "model_version": "v1"}
        datastore.save_label(images[patient], str(tmp_path / "label.bin"), "final", note)
        mask[:] = 0
    datastore.skipped.skip(images["B"], "poor quality", "bob", 86_400.0)
    return studies, workspace, images


def opened(studies: Path, workspace: Path) -> SeriesDatastore:
    datastore = open_datastore(Settings.from_conf(str(studies), {"workspace": str(workspace)}))
    datastore.client.scan()
    return datastore


@pytest.fixture
def exported(folder, tmp_path, run_main) -> Path:
    studies, workspace, _ = folder
    run_main("export", studies, "--workspace", workspace, "--output", tmp_path / "out", "--format", "table")
    return tmp_path / "out"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_series_has_a_row(exported):
    rows = {row["patient_id"]: row for row in rows_of(exported / "cases.csv")}
    states = {patient: row["state"] for patient, row in rows.items()}
    assert states == {
        "A": "labelled",
        "B": "unlabelled",
        "P": "excluded",
        "one/ct": "labelled",
        "two/ct": "unlabelled",
    }
    labelled = rows["A"]
    assert labelled["annotator"] == "Ada"
    assert labelled["submitted"]
    assert labelled["note"] == "'=1+1", "a spreadsheet must not evaluate it"
    assert (labelled["lesions"], labelled["volume_ml"], labelled["longest_diameter_mm"]) == ("1", "0.0075", "3.0")
    assert [labelled[name] for name in ("columns", "rows", "slices")] == ["20", "16", "6"]
    assert [float(labelled[f"spacing_{axis}_mm"]) for axis in "xyz"] == [1, 1, 2.5]
    assert labelled["source"] == "patient A"
    assert rows["one/ct"]["lesions"] == "0", "a case without findings"
    assert rows["one/ct"]["source"] == "one/ct.nii.gz"
    assert rows["two/ct"]["lesions"] == ""
    assert rows["P"]["problem"] == "modality PT; only CT is segmented"


def test_skipped_images_are_listed_with_reason_person_and_time(exported):
    (row,) = [row for row in rows_of(exported / "cases.csv") if row["skipped"]]
    assert (row["patient_id"], row["skipped"], row["skipped_by"]) == ("B", "poor quality", "bob")
    assert row["skipped_at"].startswith("1970-01-0")


def test_rows_of_lesions_say_who_drew_them_on_which_scan(exported):
    (row,) = rows_of(exported / "lesions.csv")
    assert (row["annotator"], row["source"], row["slices"], row["spacing_z_mm"]) == ("Ada", "patient A", "6", "2.5")


def test_every_column_is_documented_with_its_unit(exported):
    described = {(row["file"], row["column"]): row for row in rows_of(exported / "columns.csv")}
    for file in ("cases.csv", "lesions.csv"):
        with (exported / file).open(encoding="utf-8") as text:
            columns = next(csv.reader(text))
        assert [column for name, column in described if name == file] == columns
    assert all(row["meaning"] for row in described.values())
    assert described["cases.csv", "volume_ml"]["unit"] == "ml"
    assert described["lesions.csv", "mean_hu"]["unit"] == "HU"
    assert "patient's left, back and head" in described["lesions.csv", "x_mm"]["meaning"]
    documentation = (APP_DIR / "docs" / "exports.md").read_text(encoding="utf-8")
    assert [name for name in CASE_COLUMNS if f"`{name}`" not in documentation] == []


def test_json_has_the_same_cases(exported):
    content = json.loads((exported / "cases.json").read_text())
    assert {case["patient_id"] for case in content["cases"]} == {"A", "B", "P", "one/ct", "two/ct"}
    assert content["definitions"]["spacing_z_mm"].endswith("mm")


def test_cases_are_listed_before_any_label_exists(folder, tmp_path, run_main):
    studies, _, _ = folder
    workspace = tmp_path / "empty"
    opened(studies, workspace)
    run_main("export", studies, "--workspace", workspace, "--output", tmp_path / "o", "--format", "csv")
    assert len(rows_of(tmp_path / "o" / "cases.csv")) == 5
    assert rows_of(tmp_path / "o" / "lesions.csv") == []


def test_rows_are_sorted_by_patient():
    rows = [CaseRow(patient, "", "", "1", "", "", "unlabelled") for patient in ("b", "a")]
    assert [row["patient_id"] for row in csv.DictReader(cases_as_csv(rows).splitlines())] == ["a", "b"]
