"""OHIF on series that are no plain stack: values and labels are at the same positions as on the server."""

from pathlib import Path

import numpy as np
import pytest
import requests
from pydicom import Dataset

from lib.phantoms import Acquisition, PhantomLesion, chest_volume, write_dicom_series
from tests.browser.ohif import Ohif
from tests.support.client import wait_until_indexed
from tests.support.dicom_variants import change, sorted_slices, write_multi_frame

pytestmark = pytest.mark.browser

SHAPE = (24, 64, 72)
GRID = Acquisition(shape=SHAPE, spacing=(5, 5.6, 5))
GRIDS = {
    "GAP": GRID,
    "TILTED": Acquisition(shape=SHAPE, spacing=(5, 5.6, 5), gantry_tilt_degrees=12),
    "NO-UIDS": GRID,
    "MULTI-FRAME": GRID,
    "MULTI-FRAME-FEET-FIRST": Acquisition(shape=SHAPE, spacing=(5, 5.6, 5), plane="feet_first_supine"),
}
LESION = PhantomLesion((-78, 28, 12), 35)
MISSING = 9


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    """Return a DICOM folder with a patient of each kind, and the HU of all slices of each."""
    root = tmp_path_factory.mktemp("kinds")
    made = {}
    for kind, grid in GRIDS.items():
        hu, _, affine = chest_volume(5, lesions=(LESION,), acquisition=grid)
        folder = root / "studies" / kind
        plain = root / kind if "MULTI-FRAME" in kind else folder
        write_dicom_series(
            plain,
            hu,
            affine,
            patient_id=kind,
            patient_position=grid.patient_position,
            descending_instances=True,
            shuffle_files=True,
        )
        if plain != folder:
            write_multi_frame(plain, folder)
        made[kind] = hu
    sorted_slices(root / "studies" / "GAP")[MISSING].unlink()
    change(list((root / "studies" / "NO-UIDS").iterdir()), _without_uids)
    return root / "studies", made


def _without_uids(dataset: Dataset) -> None:
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID"):
        setattr(dataset, keyword, "")


@pytest.fixture(scope="module")
def server(start_module_server, studies):
    server = start_module_server(studies[0])
    wait_until_indexed(server)
    return server


@pytest.mark.parametrize("kind", GRIDS)
def test_label_is_on_the_same_slices(kind, studies, server, page, page_problems, tmp_path):
    hu, patient_id = studies[1][kind], "" if kind == "NO-UIDS" else kind
    objects = requests.get(f"{server.url}/datastore/", params={"output": "all"}).json()["objects"]
    images = {uid: one["image"]["info"] for uid, one in objects.items()}
    ((uid, image),) = [(uid, one) for uid, one in images.items() if (one.get("PatientID") or "") == patient_id]
    label = np.zeros(SHAPE, np.uint8)
    label[0, 30:40, 20:30] = 1  # frame 1 of the multi-frame image is somewhere in the middle
    label[6:9, 10:20, 30:50] = 1
    label[14, 40:50, 5:9] = 1
    label = np.delete(label, MISSING, axis=0) if kind == "GAP" else label
    label.tofile(tmp_path / "label.bin")
    with (tmp_path / "label.bin").open("rb") as file:
        answer = requests.put(f"{server.url}/datastore/label", params={"image": uid}, files={"label": file})
    assert answer.status_code == 200, answer.text

    ohif = Ohif(page, server.url)
    ohif.open_study_list()
    ohif.open_monai_label(image["StudyInstanceUID"])
    ohif.wait_until_connected()
    ohif.load_label()
    shown = ohif.labelmap()
    assert np.array_equal(shown.values, label)
    affine = GRIDS[kind].affine
    np.testing.assert_allclose(shown.affine[:3, 3], affine[:3, 3], atol=1e-3)
    if kind.startswith("MULTI-FRAME"):
        np.testing.assert_allclose(shown.affine, affine, atol=1e-3)
        voxels = np.array([[slice_, 10 + slice_, 50 - slice_] for slice_ in range(len(hu))])
        points = voxels[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
        np.testing.assert_array_equal(ohif.hu_at(points), hu[tuple(voxels.T)])
    assert not page_problems.of(server.url)
