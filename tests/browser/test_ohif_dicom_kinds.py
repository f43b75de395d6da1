"""OHIF on series that are no plain stack: a label lies on the same slices in the viewer as on the server."""

from pathlib import Path

import numpy as np
import pytest
import requests

from lib.phantoms import Acquisition, Lesion, chest_volume, write_dicom_series
from tests.browser.ohif import Ohif
from tests.support.dicom_variants import sorted_slices

pytestmark = pytest.mark.browser

GRID = Acquisition(shape=(24, 64, 72), spacing=(5, 5.6, 5))
TILTED = Acquisition(shape=(24, 64, 72), spacing=(5, 5.6, 5), gantry_tilt_degrees=12)
LESION = Lesion((-78, 28, 12), 35)
MISSING = 9


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("kinds")
    folders = {}
    for kind, grid in {"GAP": GRID, "TILTED": TILTED}.items():
        hu, _, affine = chest_volume(5, lesions=(LESION,), acquisition=grid)
        folders[kind] = root / "studies" / kind
        write_dicom_series(folders[kind], hu, affine, patient_id=kind, descending_instances=True)
    sorted_slices(folders["GAP"])[MISSING].unlink()
    return folders


@pytest.mark.parametrize("kind", ["GAP", "TILTED"])
def test_a_label_lies_on_the_same_slices(kind, studies, start_module_server, page, page_problems, tmp_path):
    server = start_module_server(studies[kind])
    objects = requests.get(f"{server.url}/datastore/", params={"output": "all"}).json()["objects"]
    ((uid, entry),) = objects.items()
    label = np.zeros(GRID.shape, np.uint8)
    label[6:9, 10:20, 30:50] = 1
    label[14, 40:50, 5:9] = 1
    label = np.delete(label, MISSING, axis=0) if kind == "GAP" else label
    label.tofile(tmp_path / "label.bin")
    with (tmp_path / "label.bin").open("rb") as file:
        answer = requests.put(f"{server.url}/datastore/label", params={"image": uid}, files={"label": file})
    assert answer.status_code == 200, answer.text

    ohif = Ohif(page, server.url)
    ohif.open_study_list()
    ohif.open_monai_label(entry["image"]["info"]["StudyInstanceUID"])
    ohif.wait_until_connected()
    ohif.load_label()
    shown = ohif.labelmap()
    assert np.array_equal(shown.values, label)
    first = GRID.affine if kind != "TILTED" else TILTED.affine
    np.testing.assert_allclose(shown.affine[:3, 3], first[:3, 3], atol=1e-3)
    assert not page_problems.of(server.url)
