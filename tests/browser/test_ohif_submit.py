"""Correct a mask in OHIF and submit it; no model is needed for that."""

from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk

from lib.phantoms import Acquisition, Lesion, chest_volume, study_instance_uid, write_dicom_series
from tests.browser.ohif import MPR_VIEWPORTS, Labelmap, Ohif

pytestmark = pytest.mark.browser

# Small, so that the scans cost little. Center and lesion leave no mirror image alike.
GRID = {"shape": (36, 128, 128), "spacing": (4, 2.8, 2.8)}
STORED = {
    "HEAD-FIRST": (Acquisition(**GRID), False),
    "FEET-FIRST": (Acquisition(**GRID, plane="feet_first_supine"), False),
    "REVERSED": (Acquisition(**GRID), True),
}
LESION = Lesion((-78, 28, 22), 26)
# A stroke of the mouse in each plane, LPS in mm, and none through the middle of the volume.
STROKES = {
    "mpr-axial": ((-78, 28, 22), (-58, 36, 22)),
    "mpr-sagittal": ((-40, 60, -30), (-40, 40, -18)),
    "mpr-coronal": ((70, -20, 40), (52, -20, 30)),
}
BRUSH_MM = 12


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    """The same chest, stored in three ways."""
    folder = tmp_path_factory.mktemp("studies") / "dicom"
    for patient_id, (acquisition, descending) in STORED.items():
        hu, _, affine = chest_volume(31, lesions=(LESION,), acquisition=acquisition)
        write_dicom_series(
            folder / patient_id,
            hu,
            affine,
            patient_id=patient_id,
            patient_position=acquisition.patient_position,
            descending_instances=descending,
            shuffle_files=True,
        )
    return folder


@pytest.fixture(scope="module")
def server(start_module_server, studies):
    return start_module_server(studies)


@pytest.fixture
def ohif(page, server) -> Ohif:
    return Ohif(page, server.url)


def open_patient(ohif: Ohif, patient_id: str) -> None:
    ohif.open_study_list()
    ohif.open_monai_label(study_instance_uid(patient_id))
    ohif.wait_until_connected()


def series_of(server_url: str, patient_id: str) -> str:
    objects = requests.get(f"{server_url}/datastore/", params={"output": "all"}).json()["objects"]
    return next(uid for uid, found in objects.items() if found["image"]["info"]["PatientID"] == patient_id)


def stored_label(server_url: str, series_uid: str, tmp_path: Path) -> sitk.Image:
    """The latest label, as any client of MONAI Label gets it."""
    answer = requests.get(f"{server_url}/datastore/label", params={"label": series_uid, "tag": "final"})
    assert answer.status_code == 200, answer.text
    path = tmp_path / "label.nii.gz"
    path.write_bytes(answer.content)
    return sitk.ReadImage(str(path))


def stored_info(server_url: str, series_uid: str) -> dict:
    answer = requests.get(f"{server_url}/datastore/label/info", params={"label": series_uid, "tag": "final"})
    return answer.json()


def points_of(label: sitk.Image) -> np.ndarray:
    """(n, 3) LPS mm of all labelled voxels, by the file's own geometry."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(label))[:, ::-1]
    return np.array([label.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels])


def distance_to_stroke(points: np.ndarray, start, end) -> np.ndarray:
    """Distance in mm of each point from the line between two points."""
    start, end = np.array(start, float), np.array(end, float)
    along = np.clip((points - start) @ (end - start) / np.sum((end - start) ** 2), 0, 1)
    return np.linalg.norm(points - (start + along[:, None] * (end - start)), axis=1)


def paint(ohif: Ohif, viewport: str) -> None:
    start, end = STROKES[viewport]
    ohif.show(start)
    ohif.stroke(viewport, start, end)


def same(labelmap: Labelmap, values: np.ndarray) -> bool:
    return np.array_equal(labelmap.values, values)


@pytest.mark.parametrize("patient_id", STORED)
def test_what_is_painted_is_stored_where_it_was_painted(patient_id, ohif, tmp_path, page_problems, screenshot):
    open_patient(ohif, patient_id)
    ohif.choose_tool("brush", diameter=BRUSH_MM)
    for viewport in MPR_VIEWPORTS:
        paint(ohif, viewport)
    assert ohif.submit("Dr. Ä. Reader", note="three strokes") == "Label 1 is stored."
    screenshot(ohif.page, f"submitted-{patient_id.lower()}")

    series_uid = series_of(ohif.server_url, patient_id)
    label = stored_label(ohif.server_url, series_uid, tmp_path)
    painted = ohif.labelmap()
    assert same(painted, sitk.GetArrayFromImage(label))
    points = points_of(label)
    distances = np.array([distance_to_stroke(points, *stroke) for stroke in STROKES.values()])
    half_voxel = np.linalg.norm(label.GetSpacing()) / 2
    assert distances.min(axis=0).max() < BRUSH_MM / 2 + half_voxel, "something was painted beside the strokes"
    for start, end in STROKES.values():
        for share in (0, 0.5, 1):
            wanted = np.array(start) + share * (np.array(end) - start)
            assert np.linalg.norm(points - wanted, axis=1).min() <= half_voxel, f"nothing at {wanted}"
    info = stored_info(ohif.server_url, series_uid)
    assert (info["annotator"], info["note"], info["viewer"]) == ("Dr. Ä. Reader", "three strokes", "ohif")
    assert info["model_version"] is None

    ohif.page.reload()
    ohif.wait_until_connected()
    assert not ohif.labelmap().values.any()
    assert ohif.load_label() == "Label 1 is loaded."
    assert same(ohif.labelmap(), painted.values)
    assert ohif.page.locator('[data-part="annotator"]').input_value() == "Dr. Ä. Reader"
    assert not page_problems.of(ohif.server_url)
