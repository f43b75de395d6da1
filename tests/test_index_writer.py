"""Writing to the index under concurrent writes, failures and kills."""

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from lib.datastore.catalog import SeriesCatalog
from lib.dicomweb import image_digest, index_database
from lib.dicomweb.file_exclusion import FileExclusion
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.phantoms import Acquisition, write_dicom_series
from lib.server.folder_routes import folder_router
from tests.support.client import detail
from tests.support.dicom_variants import change
from tests.support.routes import serve_router
from tests.support.stow import encoded, instance, post

GRID = Acquisition(shape=(4, 16, 20), spacing=(2.5, 1, 1))
HU = np.random.default_rng(0).integers(-1000, 400, GRID.shape).astype(np.int16)


@pytest.fixture
def folder(tmp_path) -> Path:
    write_dicom_series(tmp_path / "dicom", HU, GRID.affine, patient_id="P")
    return tmp_path / "dicom"


@pytest.fixture
def database(tmp_path) -> Path:
    return tmp_path / "workspace" / "index.sqlite"


@pytest.fixture
def client(folder, database) -> FolderClient:
    return open_client(folder, database)


def open_client(folder: Path, database: Path) -> FolderClient:
    return FolderClient(folder, database.parent / "segs", database)


def write_copy(folder: Path) -> Path:
    """Add a copy of a slice under another SOPInstanceUID; return the path of the original."""
    original = min(folder.glob("*.dcm"))
    shutil.copyfile(original, folder / "z.dcm")
    change([folder / "z.dcm"], lambda dataset: setattr(dataset, "SOPInstanceUID", generate_uid()))
    return original


def count(client: FolderClient) -> int:
    ((_, number),) = client.index.series()
    return number


@contextlib.contextmanager
def writing(database: Path) -> Iterator[None]:
    """Hold a write transaction open on another connection."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.parametrize("twin", [False, True])
def test_r2_concurrent_writer_does_not_wait_for_pixels_nor_fail_the_scan(client, folder, database, monkeypatch, twin):
    """R2: a commit between the read and the write of a transaction raised "database is locked" at once."""
    client.scan()
    if twin:
        shutil.copyfile(min(folder.glob("*.dcm")), folder / "z.dcm")
    else:
        write_copy(folder)
    digest, commits = image_digest.StoredImage, []

    def slow(path: Path):
        with contextlib.closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as other:
            other.execute("UPDATE files SET problem = NULL WHERE problem = 'other'")
            other.execute("INSERT INTO images VALUES (?, ?)", [f"other {len(commits)}", "{}"])
        commits.append(path)
        return digest(path)

    monkeypatch.setattr(image_digest, "StoredImage", slow)
    assert client.scan().added == 1
    assert len(commits) == 2
    assert count(client) == GRID.shape[0]
    assert [path.name for path, _ in client.index.problems()] == ["z.dcm"]


class Killed(BaseException):
    """Simulates the end of the process."""


def kill_once(monkeypatch, method: str) -> pytest.MonkeyPatch:
    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(FileExclusion, method, killed)
    return monkeypatch


@pytest.mark.parametrize("starts_again", [True, False])
def test_r2_copies_are_excluded_by_the_next_scan_after_a_kill(client, folder, database, monkeypatch, starts_again):
    """R2: killed after adding files and before searching for copies among them."""
    write_copy(folder)
    with monkeypatch.context() as broken, pytest.raises(Killed):
        kill_once(broken, "mark_copies")
        client.scan()
    again = open_client(folder, database) if starts_again else client
    assert again.scan().added == 0
    assert count(again) == GRID.shape[0]
    assert [path.name for path, _ in again.index.problems()] == ["z.dcm"]
    assert again.index._writer.unjudged() == set()


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_r2_copy_is_used_by_the_next_scan_after_a_kill(client, folder, database, monkeypatch, how):
    """R2: killed after removing an original and before checking its copies again."""
    original = write_copy(folder)
    client.scan()
    if how == "gone":
        original.unlink()
    else:
        change([original], lambda dataset: setattr(dataset, "SeriesInstanceUID", "1.2.3"))
    with monkeypatch.context() as broken, pytest.raises(Killed):
        kill_once(broken, "mark_again")
        client.scan()
    again = open_client(folder, database)
    again.scan()
    assert again.index.problems() == []
    assert sum(number for _, number in again.index.series()) == GRID.shape[0] + (how == "changed")


def test_r2_changes_of_a_failed_scan_are_reported_by_the_next(client, folder, monkeypatch):
    """R2: the catalog checks a series again even if its number of instances is unchanged."""
    client.scan()
    client.index.take_changed_series()
    min(folder.glob("*.dcm")).touch()
    with monkeypatch.context() as broken, pytest.raises(Killed):
        kill_once(broken, "mark_again")
        client.scan()
    client.scan()
    assert len(client.index.take_changed_series()) == 1


def test_r2_copy_stays_excluded_while_its_original_is_unreadable(client, folder, monkeypatch):
    """R2, S18: it is checked again when the original can be read."""
    original = write_copy(folder)
    client.scan()
    (folder / "other").write_bytes(original.read_bytes())
    change([folder / "other"], lambda dataset: setattr(dataset, "InstanceNumber", "99"))
    client.scan()
    (folder / "other").unlink()
    with monkeypatch.context() as broken:
        broken.setattr(image_digest, "image_digest", lambda path: path.with_suffix(".gone").read_bytes())
        client.scan()
        assert "z.dcm" in [path.name for path, _ in client.index.problems()]
        assert client.index._writer.unjudged()
    client.scan()
    assert [path.name for path, _ in client.index.problems()] == ["z.dcm"]
    assert client.index._writer.unjudged() == set()
    assert count(client) == GRID.shape[0]


def error_in_new_thread(call) -> Exception | None:
    """Return the exception that a call raises in a thread without a database connection."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return raised[0] if raised else None


@pytest.mark.parametrize(
    "failure", ["unable to open database file", "out of memory", "database is locked", "disk I/O error"]
)
def test_s18_transient_errors_do_not_reset_the_index(client, folder, monkeypatch, failure):
    """S18: without free file descriptors, the whole index was deleted, and unmounted folders would be forgotten."""
    client.scan()

    def refuse(*_: object, **__: object):
        raise sqlite3.OperationalError(failure)

    with monkeypatch.context() as broken:
        broken.setattr(index_database.sqlite3, "connect", refuse)
        error = error_in_new_thread(client.index.series)
    assert isinstance(error, UserError)
    assert error.status == 503
    assert failure in str(error)
    folder.rename(folder.with_name("away"))
    client.scan()
    assert count(client) == GRID.shape[0]


@pytest.mark.parametrize("method", ["search_for_series", "left_out", "images"])
def test_c7_series_changed_during_a_failed_refresh_are_checked_by_the_next(client, folder, monkeypatch, method):
    """C7: the number of instances is unchanged, so nothing else marks the series as changed."""
    client.scan()
    catalog = SeriesCatalog(client)
    catalog.refresh()
    (before,) = catalog.all()
    assert before.problem is None
    change(list(folder.iterdir()), lambda dataset: setattr(dataset, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]))
    client.scan()
    with monkeypatch.context() as broken, pytest.raises(OSError, match="failed"):
        broken.setattr(client, method, lambda **_: (_ for _ in ()).throw(OSError("failed")))
        catalog.refresh()
    catalog.refresh()
    (after,) = catalog.all()
    assert after.problem is not None


def test_s15_sql_is_supported_by_sqlite_3_31(client):
    """S15: SQLite 3.31 (Python 3.10 on Ubuntu 20.04) needs a conflict target in ON CONFLICT."""
    statements: list[str] = []
    client.index._connection.set_trace_callback(statements.append)
    client.scan()
    upserts = [one for one in statements if "ON CONFLICT" in one]
    assert any("INTO series" in one for one in upserts)
    assert not [one for one in upserts if "ON CONFLICT (" not in one]
    assert not [one for one in statements if "RETURNING" in one or (one.startswith("UPDATE") and " FROM " in one)]


def test_c5_storing_while_the_index_is_locked_is_503(client, database, tmp_path, monkeypatch):
    """C5: it was an unhandled sqlite3 error (500), although the file was stored."""
    monkeypatch.setattr(index_database, "_LOCK_TIMEOUT_SECONDS", 0.2)
    with serve_router(folder_router(client, tmp_path / "uploads")) as url:
        with writing(database):
            answer = post(f"{url}/proxy/dicom", encoded(instance("seg", SOPInstanceUID="1.2.3")))
        assert answer.status_code == 503
        assert "Instance 1.2.3 is stored, but not listed yet" in detail(answer)
        assert "locked" in detail(answer)
        client.scan()
        assert client.index.has_instance("1.2.3")
        assert post(f"{url}/proxy/dicom", encoded(instance("seg"))).status_code == 200


def large_instance() -> Dataset:
    dataset = instance("seg", SOPInstanceUID="1.2.3")
    dataset.SeriesDescription = "x" * 60000  # longer than its VR allows, but accepted
    return dataset


@pytest.mark.parametrize(("harm", "status"), [("full", 507), ("damaged", 503)])
def test_c5_instance_that_cannot_be_indexed_is_reported_and_indexed_later(client, harm, status):
    """C5: the disk is full or the index is damaged."""
    client.scan()
    connection = client.index._connection
    if harm == "full":
        connection.execute("PRAGMA max_page_count = 1")
    else:
        connection.execute("DROP TABLE images")
    with pytest.raises(UserError, match=r"Instance 1\.2\.3 is stored") as told:
        client.store_instances([large_instance()])
    assert told.value.status == status
    assert not connection.in_transaction
    connection.execute("PRAGMA max_page_count = 1000000")
    client.scan()
    assert client.index.has_instance("1.2.3")
    if harm == "damaged":
        client.index._connection.execute("DROP TABLE images")
        with pytest.raises(UserError, match="being rebuilt"):
            client.index.forget([client.index.instances(client.index.series()[0][0]["0020000E"]["Value"][0])[0].path])


def test_s3_instance_lookup_uses_the_index(client):
    """S3: each STOW-RS request scanned the whole table."""
    client.scan()
    statements: list[str] = []
    client.index._connection.set_trace_callback(statements.append)
    client.index.has_instance("1.2.3")
    (statement,) = statements
    client.index._connection.set_trace_callback(None)
    plan = client.index._connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    assert not [step for *_, step in plan if step.startswith("SCAN")]
