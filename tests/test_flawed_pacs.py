"""Faulty PACS: timeouts, 500 responses and closed connections are reported and lose no data."""

import time

import numpy as np
import pytest
import requests
import SimpleITK as sitk

from tests.support.client import detail, infer, put_label, response_volume
from tests.support.flawed_pacs import flawed_pacs

pytestmark = pytest.mark.pacs
_TIMEOUT = 2  # seconds


@pytest.fixture(scope="module")
def pacs(orthanc, phantom_studies):
    with flawed_pacs(orthanc(phantom_studies.directory).url) as server:
        yield server


@pytest.fixture(scope="module")
def server(start_module_server, pacs):
    return start_module_server(pacs.url, environment={"MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT": str(_TIMEOUT)})


@pytest.fixture(autouse=True)
def _clear_fault(pacs):
    pacs.mended.clear()
    yield
    pacs.mend()


@pytest.mark.parametrize(
    ("flaw", "patient"), [("error", "LUNG-002"), ("silent", "LUNG-003"), ("breaks off", "LUNG-004")]
)
def test_fault_is_reported_and_no_data_is_lost(server, pacs, phantom_studies, tmp_path, flaw, patient):
    cached, wanted = phantom_studies.of_patient("LUNG-001"), phantom_studies.of_patient(patient)
    assert requests.get(f"{server.url}/datastore/image", params={"image": cached.series_uid}).status_code == 200
    total = requests.get(f"{server.url}/info/").json()["datastore"]["total"]
    pacs.flaw = flaw
    begun = time.monotonic()
    away = infer(server, wanted.series_uid)
    assert away.status_code == 503, away.text
    assert "did not respond" in detail(away)
    assert time.monotonic() - begun < 20 * _TIMEOUT, "the request did not time out"
    assert requests.get(f"{server.url}/info/").json()["datastore"]["total"] == total
    assert requests.get(f"{server.url}/status/data").status_code == 200
    assert put_label(server, cached.series_uid, cached.truth).status_code == 200
    stored = requests.get(f"{server.url}/datastore/label", params={"label": cached.series_uid, "tag": "final"})
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(cached.truth)))
    assert np.array_equal(sitk.GetArrayFromImage(response_volume(stored, tmp_path / "label.nii.gz")), truth)
    pacs.mend()
    assert requests.get(f"{server.url}/datastore/image", params={"image": wanted.series_uid}).status_code == 200


def test_viewers_get_the_error(server, pacs):
    studies = f"{server.url}/proxy/dicom/qido/studies"
    pacs.flaw = "silent"
    silent = requests.get(studies)
    assert silent.status_code == 502
    assert "does not respond (ReadTimeout)" in detail(silent)
    pacs.flaw = "error"
    failing = requests.get(studies)
    assert (failing.status_code, failing.text) == (500, "The database of the PACS is locked.")


def test_connection_closed_by_the_pacs_is_reopened(server, pacs):
    studies = f"{server.url}/proxy/dicom/qido/studies"
    pacs.flaw = "hangs up"
    assert [requests.get(studies).status_code for _ in range(6)] == [200] * 6
