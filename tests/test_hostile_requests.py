"""Malformed requests to the real server: always a client error with a message."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from fastapi import UploadFile
from monai.transforms import Compose

from lib.errors import UserError
from lib.phantoms import write_dicom_series
from lib.server.log_routes import log_router
from lib.server.requests import is_file_below, uploaded_volume
from lib.settings import load_info
from lib.transforms import image_transforms
from tests.support.client import detail, put_label, same_grid, wait_until_indexed
from tests.support.image_headers import META, NRRD
from tools.fuzz.raw_dicom import RawDicom
from tools.support.processes import ServerProcess

SCRIPT = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def series(phantom_studies):
    return phantom_studies.series[0]


@pytest.fixture(scope="module")
def damaged(series, tmp_path_factory) -> tuple[Path, list[str]]:
    """Return a folder with the series, one of `SCRIPT` and a slice of a third, and the UIDs of the latter.

    The slice is damaged where the index does not read.
    """
    studies = tmp_path_factory.mktemp("studies")
    for path in series.directory.rglob("*.dcm"):
        (studies / path.name).write_bytes(path.read_bytes())
    file = RawDicom.read(next(iter(sorted(studies.iterdir()))))
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "MediaStorageSOPInstanceUID"):
        file.set(keyword, f"1.2.3.{len(keyword)}")
    file.set("AcquisitionDate", b"\xff\xff\xff", vr="FD")
    file.set("TransferSyntaxUID", "1.2.840.10008.1.2.5")
    file.remove("PixelData")
    items = b"\xfe\xff\x00\xe0\x03\0\0\0\0\0\0"
    write_dicom_series(studies / "script", np.zeros((4, 16, 16), np.int16), np.eye(4), patient_id=SCRIPT)
    (studies / "damaged.dcm").write_bytes(file.encoded() + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + items)
    return studies, [file.text(name) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]


@pytest.fixture(scope="module")
def server(start_module_server, damaged) -> ServerProcess:
    return start_module_server(damaged[0])


@pytest.fixture(scope="module")
def labelled(server, series) -> str:
    assert put_label(server, series.series_uid, series.truth).status_code == 200
    return series.series_uid


def error_message(answer: requests.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    return detail(answer)


def upload(server: ServerProcess, name: str, content: bytes) -> requests.Response:
    url = f"{server.url}/infer/lung_tumor"
    return requests.post(url, params={"output": "image"}, files={"file": (name, content)})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.mhd", META.format("", "/etc/passwd").encode(), "another file"),
        ("x.nrrd", NRRD.format("data file: /etc/passwd").encode(), "another file"),
        ("x.mha", META.format("", "LOCAL").replace("8 7 6", "2154 2154 2154").encode(), "more than its file can hold"),
        ("x.nii.gz", b"\x1f\x8b" + bytes(100), "cannot be read"),
        ("x.nrrd", b"", "cannot be read"),
        ("x.nhdr", NRRD.format("data file: /etc/passwd").encode(), "must be .nii"),
        ("x.h5", b"\x89HDF\r\n\x1a\n", "must be .nii"),
        ("x", b"1", "must be .nii"),
        ("x.n\x01i", b"1", "no suffix"),
    ],
)
def test_rejects_an_upload_that_is_not_one_readable_image(server, name, content, message):
    assert message in error_message(upload(server, name, content))


@pytest.mark.parametrize("kind", ["four dimensions", "more bytes than voxels"])
def test_readers_agree_on_an_uploaded_image(series, tmp_path, kind):
    """Found by fuzzing, cases 1151 and 1271: the server's check accepted a file that inference could not read."""
    image = sitk.Cast(sitk.ReadImage(str(series.truth)), sitk.sitkInt16)
    path = tmp_path / ("image.mha" if kind == "four dimensions" else "image.nrrd")
    sitk.WriteImage(sitk.JoinSeries(image) if kind == "four dimensions" else image, str(path))
    sent = io.BytesIO(path.read_bytes() + (b"" if kind == "four dimensions" else bytes(1000)))
    with uploaded_volume(UploadFile(sent, filename=path.name), tmp_path / "uploads") as volume:
        assert same_grid(sitk.ReadImage(str(volume)), image)
        seen = Compose(image_transforms(load_info()["preprocessing"]))({"image": volume})["image"]
    assert seen.shape[1:] == (256, 256, image.GetSize()[2])
    assert not any((tmp_path / "uploads").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image.SetSpacing((1, 1e6, 1)), "voxels of 1 × 1e+06 × 1 mm"),
        (lambda image: image.SetOrigin((0, 0, 1e20)), "its first voxel is at"),
    ],
)
def test_rejects_an_implausible_grid(server, series, tmp_path, change, message):
    """Found by fuzzing, cases 1070 and 1322."""
    image = sitk.Cast(sitk.ReadImage(str(series.truth)), sitk.sitkInt16)
    change(image)
    sitk.WriteImage(image, str(tmp_path / "image.mha"))
    assert message in error_message(upload(server, "image.mha", (tmp_path / "image.mha").read_bytes()))


def test_rejects_a_truncated_image(server, series, tmp_path):
    image = sitk.Cast(sitk.ReadImage(str(series.truth)), sitk.sitkInt16)
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    content = (tmp_path / "image.nii.gz").read_bytes()
    assert "cannot be read" in error_message(upload(server, "x.nii.gz", content[: len(content) // 2]))


INFO = ["", "no json", "[]", "1", '{"a": NaN}', '{"a": 1e999}', r'{"a": "\ud800"}', "[" * 5000, '{"a":' * 5000]


@pytest.mark.parametrize("info", INFO[1:])
@pytest.mark.parametrize("target", ["image/info", "label/info", "updatelabelinfo"])
def test_info_must_be_a_json_object(server, labelled, target, info):
    params = {"image": labelled, "label": labelled, "tag": "final"}
    field = "params" if target == "updatelabelinfo" else "info"
    answer = requests.put(f"{server.url}/datastore/{target}", params=params, data={field: info})
    assert "must be a JSON object" in error_message(answer)
    for readable in ("image/info", "label/info"):
        assert requests.get(f"{server.url}/datastore/{readable}", params=params).status_code == 200


def test_valid_info_is_stored(server, labelled):
    params = {"image": labelled, "label": labelled, "tag": "final"}
    for target in ("image/info", "label/info"):
        url = f"{server.url}/datastore/{target}"
        assert requests.put(url, params=params, data={"info": '{"seen": "yes"}'}).status_code == 200
        assert requests.get(url, params=params).json()["seen"] == "yes"


@pytest.mark.parametrize("target", ["train/lung_tumor", "train/", "scoring/", "batch/infer/lung_tumor"])
def test_rejects_parameters_that_are_not_json(server, labelled, target):
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{server.url}/{target}", data='{"a": NaN}', headers=headers)
    assert answer.status_code == 422
    assert "Out of range" in answer.json()["detail"][0]["msg"]
    assert requests.get(f"{server.url}/status/data").status_code == 200


@pytest.mark.parametrize("task", ["train", "scoring"])
def test_parameters_of_each_task_must_be_an_object(server, labelled, task):
    answer = requests.post(f"{server.url}/{task}/", json={"lung_tumor": "x", "uncertainty": 1})
    assert "must be a JSON object" in error_message(answer)


def test_archives_are_not_unpacked(server, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../../../../../../../../../tmp/escaped", "x")
    files = {"files": ("x.zip", archive.getvalue())}
    answer = requests.put(f"{server.url}/session/", params={"uncompress": "true"}, files=files)
    assert "not unpacked" in error_message(answer)
    assert "must be .nii" in error_message(requests.put(f"{server.url}/session/", files=files))


def test_session_stores_one_image(server, series, tmp_path):
    content = series.truth.read_bytes()
    name = series.truth.name
    created = requests.put(f"{server.url}/session/", files={"files": (name, content)}).json()
    where = f"{server.url}/session/{created['session_id']}"
    (tmp_path / "back.nrrd").write_bytes(requests.get(where, params={"image": True}).content)
    back, sent = sitk.ReadImage(str(tmp_path / "back.nrrd")), sitk.ReadImage(str(series.truth))
    assert same_grid(back, sent)
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(sent))
    assert requests.delete(where).status_code == 200
    assert "no session" in error_message(requests.get(where), 404)
    hostile = {"files": ("x.mhd", META.format("", "/etc/passwd").encode())}
    assert "another file" in error_message(requests.put(f"{server.url}/session/", files=hostile))
    for unknown in ("../../x", "..", "\0", "x" * 5000):
        answer = requests.post(f"{server.url}/infer/lung_tumor", params={"session_id": unknown, "output": "image"})
        assert "no session" in error_message(answer, 404)


def test_app_cannot_be_reloaded(server):
    assert requests.post(f"{server.url}/reload").status_code == 404


def test_gpu_status_without_a_gpu_is_a_user_error(monkeypatch, tmp_path):
    gpu = next(route.endpoint for route in log_router().routes if route.path == "/logs/gpu")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="nvidia-smi does not work"):
        gpu()


def test_number_of_log_lines_is_limited(server):
    assert requests.get(f"{server.url}/logs/", params={"lines": 10**30}).status_code == 422


def test_damaged_instance_is_reported_and_does_not_affect_others(server, damaged, series):
    study, bad, instance = damaged[1]
    root = f"{server.url}/proxy/dicom/wado/studies/{study}/series/{bad}"
    answers = [requests.get(f"{root}/{what}") for what in (f"instances/{instance}/frames/1", f"instances/{instance}")]
    for answer in answers:
        assert answer.status_code in (200, 404, 422), answer.text
        if answer.status_code != 200:
            assert detail(answer)
    assert answers[0].status_code == 404
    metadata = requests.get(f"{server.url}/proxy/dicom/wado/studies/{study}/metadata").json()
    assert series.series_uid in {one["0020000E"]["Value"][0] for one in metadata}


def test_patient_name_is_no_markup_of_the_status_page(server):
    wait_until_indexed(server)
    assert "<img" not in requests.get(f"{server.url}/status").text
    assert SCRIPT in [case["patient"] for case in requests.get(f"{server.url}/status/data").json()["cases"]]


@pytest.mark.parametrize("target", ["train/lung_tumor", "scoring/", "batch/infer/lung_tumor", "activelearning/random"])
@pytest.mark.parametrize("value", [{}, [1], 5])
def test_rejects_a_model_name_that_is_not_text(server, target, value):
    answer = requests.post(f"{server.url}/{target}", json={"model": value})
    assert "model must be a name" in error_message(answer)


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 3000, "a\0b", "missing"])
def test_a_name_that_no_file_can_have_is_no_upload(tmp_path, name):
    assert not is_file_below(tmp_path / name, [tmp_path])
