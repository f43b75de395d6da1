"""A PACS as image source: the same datastore over DICOMweb, and a server that survives failures of the PACS."""

import shutil
import uuid
from urllib.parse import quote

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from pydicom import dcmread

from lib.datastore.catalog import Series
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.exports.dicom_seg import segmentation
from lib.exports.provenance import Provenance
from lib.exports.source_images import SourceImages
from lib.settings import APP_DIR, Settings, load_info
from tests.support.client import detail, infer, put_label, response_volume, same_grid, train
from tests.support.requirement import skip_or_fail
from tools.support.orthanc import INSTALL, orthanc_is_installed, orthanc_server
from tools.support.processes import ServerProcess, free_port
from tools.support.waiting import wait_for


@pytest.fixture(scope="module")
def server(start_module_server, orthanc, phantom_studies, tmp_path_factory) -> ServerProcess:
    """Return a server on a PACS with two patients, one of whom has a SEG."""
    folder = tmp_path_factory.mktemp("pacs")
    for patient in ("LUNG-002", "LUNG-003"):
        shutil.copytree(phantom_studies.of_patient(patient).directory, folder / patient)
    series = phantom_studies.of_patient("LUNG-002")
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(series.truth), sitk.sitkUInt8))
    metadata = [dcmread(path, stop_before_pixels=True).to_json_dict() for path in (folder / "LUNG-002").iterdir()]
    made = Provenance(series.series_uid, 1, 0.0, "MANUAL")
    segmentation(truth, SourceImages.of(metadata), made, load_info()).save_as(folder / "seg.dcm")
    return start_module_server(orthanc(folder).url)


@pytest.mark.pacs
def test_s11_images_and_labels_equal_those_of_a_folder(start_server, orthanc, phantom_studies, tmp_path):
    """S11: user and password in the URL are never shown, but reach the training process."""
    series = phantom_studies.of_patient("LUNG-002")
    secret = f"p/{uuid.uuid4().hex}"
    pacs = orthanc(series.directory, user="reader", password=secret)
    server = start_server(pacs.url.replace("://", f"://reader:{quote(secret, safe='')}@"))
    assert requests.get(f"{server.url}/info/").json()["datastore"]["total"] == 1
    image = requests.get(f"{server.url}/datastore/image", params={"image": series.series_uid})
    truth = sitk.ReadImage(str(series.truth), sitk.sitkUInt8)
    assert same_grid(response_volume(image, tmp_path / "image.nrrd"), truth)
    assert put_label(server, series.series_uid, series.truth).status_code == 200
    back = requests.get(f"{server.url}/datastore/label", params={"label": series.series_uid, "tag": "final"})
    stored = response_volume(back, tmp_path / "label.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(stored), sitk.GetArrayFromImage(truth))
    train(server, max_epochs=1, folds=0)
    for path in (
        "status/data",
        "info/",
        "datastore/?output=all",
        "datastore/?output=train",
        "logs/?lines=100000",
        "train/",
    ):
        told = requests.get(f"{server.url}/{path}")
        assert told.status_code == 200
        assert secret[2:] not in told.text, path
        assert "reader:" not in told.text, path
    assert requests.get(f"{server.url}/status/data").json()["studies"] == pacs.url
    # MONAI Label prints its arguments on the console before it loads the app.
    lines = [line for line in server.log_text().splitlines() if secret[2:] in line]
    assert all("USING:: studies" in line or "Initializing App from" in line for line in lines), lines
    assert secret[2:] not in (APP_DIR / "logs" / "app.log").read_text(errors="replace")


def test_unreachable_pacs_is_reported_and_the_server_keeps_running(start_server):
    server = start_server("http://127.0.0.1:9/dicom-web")

    def failed() -> dict | None:
        status = requests.get(f"{server.url}/info/").json()["datastore"]
        return status if "error" in status else None

    status = wait_for(failed, "the error of the PACS", seconds=120)
    assert status["total"] == 0
    assert "ConnectionError" in status["error"]
    answer = requests.get(f"{server.url}/proxy/dicom/qido/studies")
    assert answer.status_code == 502
    assert "does not respond" in detail(answer)


@pytest.mark.pacs
def test_server_survives_an_outage_of_the_pacs(start_server, phantom_studies, tmp_path):
    if not orthanc_is_installed():
        skip_or_fail(INSTALL)
    cached, other = phantom_studies.of_patient("LUNG-002"), phantom_studies.of_patient("LUNG-003")
    port = free_port()
    with orthanc_server(tmp_path / "orthanc", port=port) as orthanc:
        orthanc.upload(cached.directory)
        orthanc.upload(other.directory)
        server = start_server(orthanc.url)
        total = requests.get(f"{server.url}/info/").json()["datastore"]["total"]
        assert total >= 2
        assert requests.get(f"{server.url}/datastore/image", params={"image": cached.series_uid}).status_code == 200
    away = infer(server, other.series_uid)
    assert away.status_code == 503
    assert "did not respond" in detail(away)
    assert requests.get(f"{server.url}/info/").json()["datastore"]["total"] == total
    assert put_label(server, cached.series_uid, cached.truth).status_code == 200
    assert requests.get(f"{server.url}/info/").json()["datastore"]["completed"] == 1
    with orthanc_server(tmp_path / "orthanc", port=port):
        back = infer(server, other.series_uid)
        assert back.status_code == 409  # only the weights are missing: the volume could be created
        assert "no trained model" in detail(back)
        assert requests.get(f"{server.url}/datastore/image", params={"image": other.series_uid}).status_code == 200


def test_interrupted_retrieval_is_503_and_a_deleted_cache_is_recreated(tmp_path):
    class BreaksOff:
        base_url = "http://pacs"

        def search_for_series(self, **_: object) -> list:
            return [{"0020000E": {"vr": "UI", "Value": ["1.2.3"]}, "0020000D": {"vr": "UI", "Value": ["1.2"]}}]

        def search_for_instances(self, *_: object, **__: object) -> list:
            return []

        def retrieve_series(self, *_: object) -> list:
            assert settings.cache_dir.is_dir()
            raise requests.ConnectionError("gone")

    settings = Settings.from_conf("http://pacs", {"workspace": str(tmp_path / "workspace")})
    datastore = SeriesDatastore(BreaksOff(), settings)
    datastore.series = lambda uid: Series(uid, "1.2", {}, 1, None)
    shutil.rmtree(settings.cache_dir, ignore_errors=True)
    with pytest.raises(UserError, match=r"did not respond .* \(ConnectionError\)") as raised:
        datastore.get_image_uri("1.2.3")
    assert raised.value.status == 503


@pytest.mark.pacs
def test_query_and_headers_reach_the_pacs(server, phantom_studies):
    proxy = f"{server.url}/proxy/dicom/qido"
    one = requests.get(f"{proxy}/studies", params={"PatientID": "LUNG-003"}).json()
    assert [study["00100020"]["Value"] for study in one] == [["LUNG-003"]]
    assert len(requests.get(f"{proxy}/studies", params={"limit": 1}).json()) == 1
    series = phantom_studies.of_patient("LUNG-003")
    instances = requests.get(f"{proxy}/studies/{series.study_uid}/series/{series.series_uid}/instances").json()
    sop = instances[0]["00080018"]["Value"][0]
    where = f"{server.url}/proxy/dicom/wado/studies/{series.study_uid}/series/{series.series_uid}/instances/{sop}"
    accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    frame = requests.get(f"{where}/frames/1", headers={"Accept": accept})
    assert frame.status_code == 200
    assert frame.headers["content-type"].startswith("multipart/related")
    rows, columns = series.acquisition.shape[1:]
    assert len(frame.content) > 2 * rows * columns
    assert requests.get(f"{where}/metadata", headers={"Accept": "application/dicom+json"}).json()


@pytest.mark.pacs
def test_seg_in_the_pacs_becomes_the_initial_label(server, phantom_studies, tmp_path):
    series = phantom_studies.of_patient("LUNG-002")
    truth = sitk.ReadImage(str(series.truth), sitk.sitkUInt8)
    where = {"label": series.series_uid, "tag": "initial"}

    def label_found() -> requests.Response | None:
        found = requests.get(f"{server.url}/datastore/label", params=where)
        return None if found.status_code == 404 else found

    label = response_volume(wait_for(label_found, "the initial label", seconds=120), tmp_path / "label.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(label), sitk.GetArrayFromImage(truth))
    assert same_grid(label, truth)
    status = requests.get(f"{server.url}/info/").json()["datastore"]
    assert (status["completed"], status["label_tags"]) == (0, {"initial": 1})
    offered = requests.get(f"{server.url}/viewer/case", params={"image": series.series_uid}).json()["label"]
    assert (offered["number"], offered["tag"]) == (1, "initial")
