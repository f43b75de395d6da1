"""Low rows: files about patients are readable by their owner only, synced to disk, and not logged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.settings import APP_DIR
from lib.storage.atomic import make_folder, write_atomically, write_json


@pytest.fixture(autouse=True)
def lenient_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_low_files_are_0600_and_new_folders_0700(tmp_path):
    path = tmp_path / "a" / "b" / "notes.json"
    write_json(path, {})
    write_atomically(path.with_name("mask.nii.gz"), lambda part: (part.unlink(), part.write_bytes(b"x")))
    assert {one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {0o600}
    assert {one.stat().st_mode & 0o777 for one in (path.parent, path.parent.parent)} == {0o700}


def test_low_new_folder_is_synced_into_its_parent(tmp_path, monkeypatch):
    """Otherwise a power cut could lose the folder with the first label of an image."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())))
    write_json(tmp_path / "a" / "b" / "1.json", {})
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")} <= set(synced)
    synced.clear()
    write_json(tmp_path / "a" / "b" / "2.json", {})
    assert str(tmp_path) not in synced


def test_file_in_place_of_a_folder_is_reported(tmp_path):
    (tmp_path / "a").write_text("x")
    for folder in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(FileExistsError, match=str(tmp_path / "a")):
            make_folder(folder)


@pytest.mark.server
def test_low_warnings_of_highdicom_do_not_show_patient_names():
    program = (
        "import lib.exports.dicom_seg\n"
        "from highdicom.valuerep import check_person_name\n"
        "check_person_name('MUSTERMANN')\n"
        "print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=APP_DIR, capture_output=True, text=True, timeout=120, check=True
    )
    assert "done" in done.stdout
    assert "MUSTERMANN" not in done.stderr + done.stdout
