"""S18: unreachable folders and files are reported, and nothing in them is forgotten."""

import builtins
import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from pydicom import dcmread

from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.phantoms import Acquisition, write_dicom_series
from lib.server.folder_routes import folder_router
from lib.settings import Settings
from tests.support.client import detail
from tests.support.routes import serve_router

GRID = Acquisition(shape=(4, 16, 20), spacing=(2.5, 1, 1))


def write(folder: Path, patient_id: str) -> str:
    return write_dicom_series(folder, np.zeros(GRID.shape, np.int16), GRID.affine, patient_id=patient_id)


@pytest.fixture
def studies(tmp_path) -> Path:
    write(tmp_path / "dicom" / "one", "P1")
    write(tmp_path / "dicom" / "two", "P2")
    image = sitk.GetImageFromArray(np.arange(-1000, 200, dtype=np.int16).reshape(10, 10, 12))
    sitk.WriteImage(image, tmp_path / "dicom" / "scan.nrrd")
    return tmp_path / "dicom"


@pytest.fixture
def datastore(studies, tmp_path) -> SeriesDatastore:
    settings = Settings.from_conf(str(studies), {"workspace": str(tmp_path / "workspace")})
    client = FolderClient(studies, settings.segs_dir, settings.cache_dir / "index.sqlite")
    client.scan()
    datastore = SeriesDatastore(client, settings)
    assert len(datastore.list_images()) == 3
    return datastore


def rescan(datastore: SeriesDatastore) -> int:
    """Scan again and return the number of images."""
    scan = datastore.client.scan()
    datastore.catalog.refresh()
    assert scan.removed == 0 or not datastore.client.index.unreachable()
    return len(datastore.list_images())


@pytest.mark.parametrize("how", ["missing", "empty", "a file"])
def test_s18_unreachable_folder_is_reported_and_not_forgotten(datastore, studies, tmp_path, how):
    cached, other, file = sorted(datastore.list_images(), key=lambda uid: datastore.series(uid).value("PatientID"))
    volume = datastore.get_image_uri(cached)
    study = datastore.series(other).study_uid
    instance = datastore.client.search_for_instances(study, other)[0]["00080018"]["Value"][0]
    studies.rename(tmp_path / "elsewhere")
    if how == "empty":
        studies.mkdir()
    if how == "a file":
        studies.touch()
    assert rescan(datastore) == 3
    assert datastore.get_image_uri(cached) == volume
    for image in (other, file):
        with pytest.raises(UserError, match=r"The folder .*dicom cannot be reached") as raised:
            datastore.get_image_uri(image)
        assert raised.value.status == 503
    status = datastore.status()
    assert str(studies) in status["error"]
    assert status["unreachable"][0]["path"] == str(studies)
    with serve_router(folder_router(datastore.client, tmp_path / "uploads")) as url:
        root = f"{url}/proxy/dicom/wado/studies/{study}"
        one = f"series/{other}/instances/{instance}"
        for what in (
            "metadata",
            f"series/{other}/metadata",
            f"series/{other}",
            one,
            f"{one}/frames/1",
            f"{one}/metadata",
        ):
            answer = requests.get(f"{root}/{what}", timeout=30)
            assert answer.status_code == 503, what
            assert "cannot be reached" in detail(answer)
        assert len(requests.get(f"{url}/proxy/dicom/qido/studies", timeout=30).json()) == 2

    # A server started in the meantime has the same index.
    again = FolderClient(studies, tmp_path / "workspace" / "segs", tmp_path / "workspace" / "cache" / "index.sqlite")
    again.scan()
    assert len(again.search_for_series()) == 2

    if how == "empty":
        studies.rmdir()
    if how == "a file":
        studies.unlink()
    (tmp_path / "elsewhere").rename(studies)
    assert datastore.client.scan().added == 0, "everything was indexed again"
    assert rescan(datastore) == 3
    assert datastore.get_image_uri(other)
    assert "error" not in datastore.status()


def test_unreadable_subfolder_is_not_forgotten(datastore, studies, monkeypatch):
    """S18: while files deleted elsewhere are."""
    listing = os.scandir

    def failing(path):
        if path == str(studies / "one"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return listing(path)

    with monkeypatch.context() as broken:
        broken.setattr(os, "scandir", failing)
        assert datastore.client.scan().removed == 0
        assert datastore.client.index.unreachable() == [(studies / "one", "Input/output error")]
        shutil.rmtree(studies / "two")
        assert datastore.client.scan().removed == 4
    assert datastore.client.scan().added == 0
    assert datastore.client.index.unreachable() == []
    datastore.catalog.refresh()
    assert len(datastore.list_images()) == 2


def test_unreadable_file_is_not_forgotten(datastore, studies, monkeypatch):
    """S18: neither stat nor read errors remove a file; it is read again once that works."""
    path = min((studies / "one").iterdir())
    look_at, open_ = os.stat, builtins.open

    def failing_stat(where, *arguments, **options):
        if str(where) == str(path):
            raise OSError(errno.EIO, "Input/output error", str(where))
        return look_at(where, *arguments, **options)

    def failing_open(self, *arguments, **options):
        if self == path:
            raise OSError(errno.EIO, "Input/output error", str(self))
        return open_(self, *arguments, **options)

    with monkeypatch.context() as broken:
        broken.setattr(os, "stat", failing_stat)
        assert datastore.client.scan().removed == 0
        assert datastore.client.index.unreachable() == [(path, "Input/output error")]
    os.utime(path, (1, 1))
    new = studies / "new.dcm"
    new.touch()
    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", failing_open)
        datastore.client.scan()
        assert datastore.client.index.unreachable() == [(path, "Input/output error")]
        assert rescan(datastore) == 3
        series = next(uid for uid in datastore.list_images() if datastore.series(uid).value("PatientID") == "P1")
        assert datastore.series(series).instance_count == 4
        with pytest.raises(UserError, match="cannot be reached: Input/output error") as raised:
            datastore.get_image_uri(series)
        assert raised.value.status == 503
    datastore.client.scan()
    assert datastore.client.index.unreachable() == []
    assert [path for path, _ in datastore.client.index.problems()] == [new]


def test_dangling_link_is_not_forgotten(studies, tmp_path):
    """S18: a link into an archive that is not mounted."""
    write(tmp_path / "archive" / "P3", "P3")
    (studies / "link").symlink_to(tmp_path / "archive")
    client = FolderClient(studies, tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    assert client.scan().removed == 0
    assert client.index.unreachable() == [(studies / "link", "No such file or directory")]
    (studies / "link").unlink()
    assert client.scan().removed == 4
    assert client.index.unreachable() == []


def test_s18_deleted_files_are_forgotten(datastore, studies):
    series = next(uid for uid in datastore.list_images() if datastore.series(uid).value("PatientID") == "P1")
    path = min((studies / "one").iterdir())
    uid = dcmread(path).SOPInstanceUID
    path.unlink()
    with pytest.raises(UserError, match="was deleted") as raised:  # before the next scan
        datastore.client.retrieve_instance(datastore.series(series).study_uid, series, uid)
    assert raised.value.status == 404
    for path in (studies / "one").iterdir():
        path.unlink()
    assert rescan(datastore) == 2
    (studies / "scan.nrrd").unlink()
    assert rescan(datastore) == 1


def test_copies_do_not_replace_unreachable_originals(studies, tmp_path, monkeypatch):
    """S18: a slice stored again under another UID must not join the series while its original is unreachable."""
    for path in (studies / "one").iterdir():
        dataset = dcmread(path)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{dataset.SOPInstanceUID}.1"
        (studies / "three").mkdir(exist_ok=True)
        dataset.save_as(studies / "three" / path.name)
    client = FolderClient(studies, tmp_path / "segs", tmp_path / "index.sqlite")
    client.scan()
    counts = sorted(count for _, count in client.index.series())
    assert counts == [4, 4]
    (studies / "one").rename(tmp_path / "one")
    (studies / "one").symlink_to(tmp_path / "nowhere")
    client.scan()
    assert sorted(count for _, count in client.index.series()) == counts
