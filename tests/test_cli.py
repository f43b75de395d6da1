"""The command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.datastore.label_store import LabelStore
from lib.phantoms import Acquisition, write_dicom_series

ROOT = Path(__file__).parents[1]


def call(*arguments: object, status: int = 0) -> str:
    """Run main.py as a user does, and return what it prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *map(str, arguments)], capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.server
def test_doctor_reports_the_content_of_a_folder_without_changing_it(tmp_path):
    folder = tmp_path / "dicom"
    grid = Acquisition(shape=(5, 16, 16))
    good = write_dicom_series(folder / "ct", np.zeros(grid.shape, np.int16), grid.affine, patient_id="GOOD")
    write_dicom_series(folder / "pt", np.zeros(grid.shape, np.int16), grid.affine, patient_id="PET", modality="PT")
    (folder / "letter.txt").write_text("Dear colleague")
    before = sorted(folder.rglob("*"))
    output = call("doctor", folder)
    assert sorted(folder.rglob("*")) == before
    assert "1 usable CT series" in output
    assert "1 left out, 1 other files" in output
    assert good in output
    assert "modality PT; only CT is segmented" in output
    assert "not a DICOM file" in output
    assert "No problems found." in output


def test_doctor_fails_without_ct_series(run_main, tmp_path):
    assert "has no CT series that can be used" in run_main("doctor", tmp_path, status=1)
    assert "is neither a folder nor a URL" in run_main("doctor", tmp_path / "missing", status=1)
    assert "does not respond as DICOMweb" in run_main("doctor", "http://127.0.0.1:9/dicom-web", status=1)


@pytest.mark.server
def test_rejects_unknown_commands():
    assert "invalid choice: 'frobnicate'" in call("frobnicate", status=2)


def test_labels_are_listed_and_restored(run_main, tmp_path):
    store = LabelStore(tmp_path / "labels")
    for text in ("first", "second"):
        store.save("1.2.3", "final", lambda path, text=text: path.write_text(text), {"annotator": "Ada"})
    where = ("labels", "/data/dicom", "--workspace", tmp_path)
    output = run_main(*where)
    assert output.count("Ada") == 2
    assert "restored from 1" in run_main(*where, "--image", "1.2.3", "--restore", 1)
    again = LabelStore(tmp_path / "labels")
    assert again.path(again.latest("1.2.3", "final")).read_text() == "first"
    assert len(again.history("1.2.3")) == 3
    assert "no label number 9" in run_main(*where, "--image", "1.2.3", "--restore", 9, status=1)
