"""Files and folders that cannot be read are reported and read later (R16)."""

import os

import pytest

from lib.cli.doctor_studies import check_studies
from lib.dicomweb import folder_index
from tests.support.dicom_folder import Folder


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def test_r16_unreadable_files_and_folders_are_reported_and_retried(folder, monkeypatch):
    """R16: permissions do not apply to root, so the errors are injected."""
    uid = folder.write("one")
    folder.write("locked", "Q")
    bad = min((folder.root / "one").iterdir())
    scandir, read = os.scandir, folder_index.read_index_header

    def refuse_folder(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def refuse_file(path):
        if path == bad:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(os, "scandir", refuse_folder)
    monkeypatch.setattr(folder_index, "read_index_header", refuse_file)
    assert folder.scan_series()[uid].instance_count == 11
    assert folder.excluded() == {
        "locked": "cannot be read (folder): Permission denied",
        bad.name: "cannot be read (file): Permission denied",
    }
    (wrong,) = [line for line in check_studies(str(folder.root)).problems if "locked" in line]
    assert wrong.startswith("2 files or folders cannot be read")
    monkeypatch.undo()
    found = folder.scan_series()
    assert found[uid].instance_count == 12
    assert len(found) == 2
    assert folder.excluded() == {}
