"""STOW-RS to a folder: accepted and rejected instances, and precedence of the user's files."""

import errno
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from fastapi import APIRouter, Depends, Header, Request
from pydicom import dcmread
from pydicom.uid import (
    generate_uid,
)

from lib.datastore import object_senders
from lib.datastore.object_senders import ObjectSenders
from lib.dicomweb import multipart
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.identity.authentication import Identity
from lib.identity.roles import Role
from lib.phantoms import Acquisition, write_dicom_series
from lib.server.access.request_audit import AUDITED
from lib.server.folder_routes import folder_router
from tests.support.client import detail
from tests.support.routes import serve_router
from tests.support.stow import encoded, instance, instance_bytes, post

SMALL = Acquisition(shape=(5, 16, 24), spacing=(2.5, 1.0, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    # "workspace" sorts before "~dicom", but the user's files take precedence anyway.
    write_dicom_series(tmp_path / "~dicom", np.zeros(SMALL.shape, np.int16), SMALL.affine, patient_id="P1")
    return tmp_path / "~dicom"


@pytest.fixture
def client(folder: Path, tmp_path: Path) -> FolderClient:
    client = FolderClient(folder, tmp_path / "workspace" / "segs", tmp_path / "workspace" / "index.sqlite")
    client.scan()
    return client


@pytest.fixture
def server(client, tmp_path):
    with serve_router(folder_router(client, tmp_path / "workspace" / "uploads")) as url:
        yield f"{url}/proxy/dicom"


def stored_files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "workspace" / "segs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("kind", ["seg", "sr", "rtstruct"])
def test_s3_derived_objects_are_stored_byte_for_byte(server, tmp_path, kind):
    sent = instance_bytes(kind)
    answer = post(server, sent)
    assert answer.status_code == 200
    (uid,) = answer.json()["00081199"]["Value"][0]["00081155"]["Value"]
    (stored,) = stored_files(tmp_path)
    assert stored.name == f"{uid}.dcm"
    assert stored.read_bytes() == sent
    assert not list((tmp_path / "workspace" / "uploads").iterdir())


def test_rejects_images(server, client, folder, tmp_path):
    """S3: an additional slice of a user's series would make its labels unusable."""
    extra = dcmread(next(folder.iterdir()))
    extra.SOPInstanceUID = extra.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    answer = post(server, encoded(extra))
    assert answer.status_code == 409
    assert "CT Image Storage" in detail(answer)
    assert stored_files(tmp_path) == []
    assert client.index.series()[0][1] == 5


def test_s3_rejects_an_existing_uid(server, folder, tmp_path):
    image = dcmread(next(folder.iterdir()))
    for _ in range(2):  # the UID of a user's image, twice
        answer = post(server, instance_bytes("seg", SOPInstanceUID=image.SOPInstanceUID))
        assert answer.status_code == 409
        assert "already" in detail(answer)
    seg = instance_bytes("seg")
    assert post(server, seg).status_code == 200
    assert post(server, seg).status_code == 409
    assert len(stored_files(tmp_path)) == 1


def test_each_instance_has_its_own_status(server, tmp_path):
    """S3: PS3.18 10.5.3."""
    twice, image = instance_bytes("seg"), instance_bytes("ct")
    answer = post(server, twice, twice, image, b"no DICOM")
    assert answer.status_code == 202
    assert len(answer.json()["00081199"]["Value"]) == 1
    reasons = [failed["00081197"]["Value"][0] for failed in answer.json()["00081198"]["Value"]]
    assert reasons == [0x0111, 0x0122, 0xC000]
    assert len(stored_files(tmp_path)) == 1
    assert post(server, twice, image).status_code == 409


@pytest.mark.parametrize("other", ["series", "study"])
def test_rejects_mixing_modalities_in_a_series(server, client, folder, other):
    """S3: a SEG with the Series Instance UID of a CT would become part of it."""
    image = dcmread(next(folder.iterdir()))
    uids = {"SeriesInstanceUID": image.SeriesInstanceUID}
    uids |= {"StudyInstanceUID": image.StudyInstanceUID} if other == "series" else {}
    answer = post(server, instance_bytes("seg", **uids))
    assert answer.status_code == 409
    assert "needs a Series Instance UID of its own" in detail(answer)
    assert len(client.index.series()) == 1


@pytest.mark.parametrize("name", ["~dicom", "dicom"])
def test_files_of_the_user_take_precedence(tmp_path, name):
    """S3: independent of the order of paths and of arrival."""
    folder, store = tmp_path / name, tmp_path / "segs"
    write_dicom_series(folder, np.zeros(SMALL.shape, np.int16), SMALL.affine, patient_id="P1")
    (store / "old").mkdir(parents=True)
    for path in folder.iterdir():  # as stored by an older version of this app
        dataset = dcmread(path)
        own = dataset.PixelData
        dataset.PatientName, dataset.PixelData = "Renamed", bytes([1]) * len(dataset.PixelData)
        dataset.save_as(store / "old" / path.name)
    client = FolderClient(folder, store, tmp_path / "index.sqlite")
    for late in (False, True):
        if late:
            for path in folder.iterdir():
                path.touch()
        client.scan()
        ((header, count),) = client.index.series()
        assert count == 5
        assert header["00100010"]["Value"][0]["Alphabetic"] != "Renamed"
        study, series = dataset.StudyInstanceUID, dataset.SeriesInstanceUID
        assert all(path.is_relative_to(folder) for path in client.series_paths(study, series))
        assert client.retrieve_frames(study, series, dataset.SOPInstanceUID, [1])[1][0] == own


def test_s3_stored_seg_does_not_rename_the_patient(server, client, folder):
    image = dcmread(next(folder.iterdir()))
    seg = instance("seg", StudyInstanceUID=image.StudyInstanceUID, SeriesInstanceUID="1.2")  # sorts first
    assert post(server, encoded(seg)).status_code == 200
    (study,) = client.search_for_studies()
    assert study["00100010"]["Value"][0]["Alphabetic"] == str(image.PatientName)


@pytest.mark.parametrize("kind", ["text/plain", "application/dicom", "multipart/form-data; boundary=x", "x", ""])
def test_rejects_other_content_types(server, tmp_path, kind):
    """S2, S3: among them all that foreign pages can send without a preflight request."""
    headers = {"Content-Type": kind} if kind else {}
    answer = requests.post(f"{server}/stow/studies", data=instance_bytes("seg"), headers=headers, timeout=60)
    assert answer.status_code == 415
    assert "multipart/related" in detail(answer)
    assert stored_files(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (b"", "x"),
        (b"--x--\r\n", "x"),
        (b"--x\r\n\r\nabc", "x"),
        (b"--y\r\n\r\nabc\r\n--y--\r\n", "x"),
        (b"\0" * 99, "x"),
    ],
)
def test_c5_rejects_a_malformed_body(server, body, boundary):
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    answer = requests.post(f"{server}/stow/studies", data=body, headers={"Content-Type": kind}, timeout=60)
    assert answer.status_code == 400
    assert "boundary" in detail(answer)


def test_rejects_an_instance_of_another_study(server):
    sent = instance("seg")
    assert post(server, encoded(sent), study="1.2.3").status_code == 400
    assert post(server, encoded(sent), study=sent.StudyInstanceUID).status_code == 200


def test_full_disk_is_507(client, tmp_path, monkeypatch):
    """C5: ENOSPC while the body is spooled and while an instance is stored."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("lib.server.stow_requests.split_parts", "lib.dicomweb.folder_store.shutil.copyfile"):
        with monkeypatch.context() as broken, serve_router(folder_router(client, tmp_path / "uploads")) as url:
            broken.setattr(place, full)
            answer = post(f"{url}/proxy/dicom", instance_bytes("seg"))
            assert answer.status_code == 507
            assert "Free some space" in detail(answer)
    assert not list((tmp_path / "uploads").iterdir())


def test_large_body_is_spooled_and_limited(server, client, tmp_path):
    """S9, C5: memory does not grow with the body."""
    size = 200 << 20

    def chunks():
        yield b"--x\r\nContent-Type: application/dicom\r\n\r\n" + instance_bytes("ct")
        for _ in range(size >> 20):
            yield bytes(1 << 20)
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = requests.post(f"{server}/stow/studies", data=chunks(), headers=headers, timeout=120)
    assert answer.status_code == 409, answer.text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB
    with serve_router(folder_router(client, tmp_path / "workspace" / "uploads"), limit=10 << 20) as url:
        answer = requests.post(f"{url}/proxy/dicom/stow/studies", data=chunks(), headers=headers, timeout=120)
    assert answer.status_code == 413
    assert "10 MiB" in detail(answer)
    assert "--conf max_stow_mb" in detail(answer)
    assert not list((tmp_path / "workspace" / "uploads").iterdir())


@pytest.mark.parametrize("frames", ["²", "9" * 5000, "1,", "-1", "x", "1,1", "1e3", "٣"])
def test_c5_rejects_invalid_frame_numbers(server, folder, frames):
    image = dcmread(next(folder.iterdir()))
    where = f"studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}/instances/{image.SOPInstanceUID}"
    answer = requests.get(f"{server}/wado/{where}/frames/{frames}", timeout=60)
    assert answer.status_code == 400
    assert len(detail(answer)) < 200
    assert requests.get(f"{server}/wado/{where}/frames/1", timeout=60).status_code == 200


def test_sender_is_who_is_logged_in(client, tmp_path):
    """Noted for the label that is made of the object, unless it is not stored, and for the audit log."""
    senders, audited = ObjectSenders(tmp_path / "senders.json"), []

    def log_in(request: Request, x_user: str = Header()) -> Iterator[None]:
        request.state.identity = Identity(x_user, Role.ANNOTATOR)
        yield
        audited.append(request.scope["state"][AUDITED])

    router = APIRouter(dependencies=[Depends(log_in)])
    router.include_router(folder_router(client, tmp_path / "uploads", None, senders))
    seg, image = instance("seg"), instance("ct")
    with serve_router(router) as url:
        for user, sent in (("ada", seg), ("ben", seg), ("ben", image)):
            body, kind = multipart.encode([encoded(sent)], "application/dicom")
            requests.post(f"{url}/proxy/dicom/stow/studies", body, headers={"Content-Type": kind, "X-User": user})
    assert audited[0] == {"series": str(seg.SeriesInstanceUID), "instances": "1"}
    again = ObjectSenders(tmp_path / "senders.json")
    assert [again.of(str(one.SOPInstanceUID)) for one in (seg, image)] == ["ada", None]


def test_an_object_that_two_users_store_at_once_has_the_sender_who_stored_it(tmp_path, monkeypatch):
    """The other one is refused meanwhile: if it came second and won, the label would have the wrong author."""
    senders = ObjectSenders(tmp_path / "senders.json")
    with senders.storing(["1.1", "1.2"], "ada") as stored:
        assert senders.of("1.1") == "ada", "a label may be made at once"
        with pytest.raises(UserError, match="being stored for another request") as refused:
            senders.storing(["1.2", "1.3"], "ben").__enter__()
        assert refused.value.status == 409
        stored.add("1.1")
    assert [senders.of(uid) for uid in ("1.1", "1.2", "1.3")] == ["ada", None, None]
    with senders.storing(["1.1", "1.2"], "ben") as stored:
        stored.update(("1.1", "1.2"))
    assert [senders.of(uid) for uid in ("1.1", "1.2")] == ["ada", "ben"], "the first sender stays"
    monkeypatch.setattr(object_senders, "_MOST", 2)
    with senders.storing(["1.4"], "eve") as stored:
        stored.add("1.4")
    assert [senders.of(uid) for uid in ("1.1", "1.2", "1.4")] == [None, "ben", "eve"], "the oldest is dropped"
