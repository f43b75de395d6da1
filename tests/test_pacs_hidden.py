"""Objects in a PACS that are hidden from viewers: scouts among slices, and studies of several patients."""

from pathlib import Path

import numpy as np
import pytest
import requests
from pydicom import dcmread
from pydicom.uid import generate_uid

from lib.phantoms import Acquisition, write_dicom_series
from tests.support.client import detail, response_volume

GRID = Acquisition(shape=(12, 24, 24), spacing=(5.0, 4.0, 4.0))
pytestmark = pytest.mark.pacs


def write(folder: Path, patient: str, seed: int) -> str:
    hu = np.random.default_rng(seed).integers(-1000, 400, GRID.shape).astype(np.int16)
    return write_dicom_series(folder, hu, GRID.affine, patient_id=patient)


@pytest.fixture(scope="module")
def archive(orthanc, tmp_path_factory) -> tuple[str, dict[str, str], str]:
    """Return the URL, the series of each patient, and the study shared by two of them."""
    root = tmp_path_factory.mktemp("archive")
    series = {name: write(root / name, name, seed) for seed, name in enumerate(("GOOD", "SCOUT", "A", "B"))}
    scout = dcmread(next((root / "SCOUT").iterdir()))
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    scout.save_as(root / "SCOUT" / "scout.dcm")
    shared = generate_uid()
    for path in (*(root / "A").iterdir(), *(root / "B").iterdir()):
        dataset = dcmread(path)
        dataset.StudyInstanceUID = shared
        dataset.save_as(path)
    return orthanc(root).url, series, shared


def test_r7_r11_viewer_and_server_have_the_same_slices_and_patients(start_module_server, archive, tmp_path):
    """R7, R11: as for a folder."""
    url, series, shared = archive
    server = start_module_server(url)
    images = requests.get(f"{server.url}/datastore/", params={"output": "all"}).json()["objects"]
    assert set(images) == {series["GOOD"], series["SCOUT"]}

    volume = requests.get(f"{server.url}/datastore/image", params={"image": series["SCOUT"]})
    assert response_volume(volume, tmp_path / "volume.nrrd").GetSize() == GRID.shape[::-1]
    info = requests.get(f"{server.url}/datastore/image/info", params={"image": series["SCOUT"]}).json()
    assert any("localizer" in warning for warning in info["warnings"])

    qido, wado = f"{server.url}/proxy/dicom/qido", f"{server.url}/proxy/dicom/wado"
    study = f"studies/{info['StudyInstanceUID']}"
    for target in (f"{wado}/{study}/metadata", f"{qido}/{study}/series/{series['SCOUT']}/instances"):
        assert len(requests.get(target).json()) == GRID.shape[0]
    listed = {one["0020000D"]["Value"][0] for one in requests.get(f"{qido}/studies").json()}
    assert info["StudyInstanceUID"] in listed
    assert shared not in listed
    refused = requests.get(f"{wado}/studies/{shared}/metadata")
    assert refused.status_code == 404
    assert "'A'" in detail(refused)
    assert "'B'" in detail(refused)
