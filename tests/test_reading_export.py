"""Tables, labels, agreement and manifest of a study, through the command line."""

import csv
import importlib
import json

import nibabel
import numpy as np
import pytest

from lib.cli import main
from lib.datastore.label_reading import is_reading
from lib.reading.row_files import writes_parquet
from lib.reading.study_export import changed_files
from tests.support.reader_study import TIMING, study_labels, submit, write_study_file
from tests.support.requirement import skip_or_fail

AFFINE = np.diag([-0.5, -1.0, 2.0, 1.0])


def box(start, stop):
    mask = np.zeros((24, 12, 8), bool)
    mask[start:stop, 4:8, 2:6] = True
    return mask


def rows(path):
    with path.open(encoding="utf-8") as file:
        return [*csv.DictReader(file)]


@pytest.fixture
def study(tmp_path):
    """Two readers of two cases; anna has corrected one, ben has missed a lesion."""
    file = write_study_file(tmp_path, ["anna", "ben"], ["1.2.3", "1.2.4"])
    labels = study_labels(file, tmp_path / "workspace")
    solid = [
        {
            "voxel": [4, 5, 3],
            "state": "added",
            "confidence": None,
            "note": "",
            "texture": "solid",
            "active_seconds": 30,
        },
        {"voxel": [13, 5, 3], "state": "added", "confidence": None, "note": "", "active_seconds": 12.5},
    ]
    submit(labels, "anna", "1.2.3", box(0, 4), AFFINE)
    submit(labels, "anna", "1.2.3", box(2, 6) | box(12, 16), AFFINE, reading=TIMING, lesions=solid)
    submit(labels, "ben", "1.2.3", box(4, 8), AFFINE)
    submit(labels, "anna", "1.2.4", box(2, 10), AFFINE, study={"patient": "abc"})
    return file, labels


def test_export_holds_all_that_a_paper_needs(study, tmp_path, capsys):
    file, _ = study
    output = tmp_path / "out"
    arguments = ["study", "export", str(file), "--workspace", str(tmp_path / "workspace"), "--output", str(output)]
    assert main(arguments) == 0
    assert "Research use only" in capsys.readouterr().out
    first, second, third = rows(output / "readings.csv")
    assert (first["reader"], first["label_number"], first["active_seconds"], first["undos"]) == (
        "anna",
        "2",
        "181.5",
        "1",
    )
    assert (second["reader"], second["active_seconds"], second["volume_mm3"]) == ("ben", "", "64.0")
    assert third["case"] == "1.2.4" and third["patient"] != first["patient"]
    assert (first["lesion_seconds"], second["lesion_seconds"]) == ("42.5", "")
    lesions = rows(output / "lesions.csv")
    assert [one["active_seconds"] for one in lesions] == ["30", "", "12.5", ""]
    assert [(one["lesion"], one["reader"], one["marked"]) for one in lesions] == [
        ("1", "anna", "True"),
        ("1", "ben", "True"),
        ("2", "anna", "True"),
        ("2", "ben", "False"),
    ]
    assert lesions[0]["texture"] == "solid"
    (pair,) = rows(output / "pairs.csv")
    assert float(pair["dice"]) == 0.5
    assert [*json.loads((output / "agreement.json").read_text())] == ["without the model's mask"]
    assert "Fleiss" in (output / "agreement.html").read_text()
    readers = nibabel.load(output / "readers/1.2.3.nii.gz")
    assert readers.shape == (24, 12, 8, 2) and np.allclose(readers.affine, AFFINE)
    assert np.array_equal(np.asarray(readers.dataobj)[..., 1] > 0, box(4, 8))
    assert (output / "labels/1.2.3/reader-2-session-1.nii.gz").is_file()
    assert (output / "study.yaml").read_bytes() == file.read_bytes()


def test_manifest_shows_what_was_changed(study, tmp_path):
    file, _ = study
    output = tmp_path / "out"
    main(["study", "export", str(file), "--workspace", str(tmp_path / "workspace"), "--output", str(output)])
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["study"]["readers"] == ["anna", "ben"]
    assert "pairs.csv" in manifest["files"] and changed_files(output, manifest) == []
    (output / "pairs.csv").write_text("dice\n1\n")
    (output / "readers/1.2.3.nii.gz").unlink()
    assert changed_files(output, manifest) == ["pairs.csv", "readers/1.2.3.nii.gz"]


def test_parquet_has_the_same_rows(study, tmp_path):
    if not writes_parquet():
        skip_or_fail("pyarrow is not installed: pip install -e .[parquet]")
    file, _ = study
    output = tmp_path / "out"
    main(["study", "export", str(file), "--workspace", str(tmp_path / "workspace"), "--output", str(output)])
    found = importlib.import_module("pyarrow.parquet").read_table(output / "readings.parquet").to_pylist()
    assert [one["active_seconds"] for one in found] == [181.5, None, None]
    assert [*found[0]] == [*rows(output / "readings.csv")[0]]


def test_final_label_of_the_study_is_exported_with_its_sources(study, tmp_path):
    file, labels = study
    image = nibabel.Nifti1Image(box(2, 8).astype(np.uint8), AFFINE)
    labels.labels.save(
        "1.2.3", "final", lambda path: nibabel.save(image, path), {"adjudicates": [2, 3], "study": {"name": "nodules"}}
    )
    output = tmp_path / "out"
    main(["study", "export", str(file), "--workspace", str(tmp_path / "workspace"), "--output", str(output)])
    assert (output / "final/1.2.3.nii.gz").is_file()
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["final"] == [{"case": "1.2.3", "label_number": 4, "adjudicates": [2, 3]}]


def test_final_label_from_before_the_study_is_told_and_not_exported(study, tmp_path, capsys):
    file, labels = study
    image = nibabel.Nifti1Image(box(2, 8).astype(np.uint8), AFFINE)
    labels.labels.save("1.2.4", "final", lambda path: nibabel.save(image, path), {"user": "anna"})
    output, arguments = tmp_path / "out", [str(file), "--workspace", str(tmp_path / "workspace")]
    assert main(["study", "check", *arguments]) == 0
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if "Warning" in line]
    assert warning.startswith("Warning: final label 2 of 1.2.4 is no result of the study")
    assert main(["study", "export", *arguments, "--output", str(output)]) == 0
    assert not (output / "final").exists()
    assert json.loads((output / "manifest.json").read_text())["final"] == []


def test_check_shows_who_reads_how_much(study, tmp_path, capsys):
    file, _ = study
    assert main(["study", "check", str(file), "--workspace", str(tmp_path / "workspace")]) == 0
    assert "| anna | 2 | 2 | 2 |" in capsys.readouterr().out
    file.write_text(file.read_text() + "order: shuffled\n")
    assert main(["study", "check", str(file)]) == 2
    assert "order must be random or listed" in capsys.readouterr().err


def test_missing_arguments_are_told(study, tmp_path, capsys):
    file, _ = study
    assert main(["study", "agreement", str(file)]) == 1
    assert "--workspace" in capsys.readouterr().err
    assert main(["study", "agreement", str(file), "--workspace", str(tmp_path / "workspace")]) == 1
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        {"active_seconds": 260.0},
        {"active_seconds": float("nan")},
        {"active_seconds": True},
        {"clicks": -1},
        {"undos": 1.5},
        {"opened": "yesterday"},
        {"opened": "2026-03-01T09:00:00"},
        {"more": 1},
    ],
)
def test_invalid_times_and_counts_are_refused(change):
    assert is_reading(TIMING)
    assert not is_reading({**TIMING, **change})
