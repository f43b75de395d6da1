"""A chest stored in three ways, mouse strokes over it, and checks of the strokes on the server."""

from pathlib import Path

import numpy as np
import requests
import SimpleITK as sitk

from lib.phantoms import Acquisition, PhantomLesion, chest_volume, study_instance_uid, write_dicom_series
from tests.browser.ohif import Ohif, Point

# Small, for fast tests. Centre and lesion are not symmetric.
GRID = {"shape": (36, 128, 128), "spacing": (4, 2.8, 2.8)}
STORED = {
    "HEAD-FIRST": (Acquisition(**GRID), False),
    "FEET-FIRST": (Acquisition(**GRID, plane="feet_first_supine"), False),
    "REVERSED": (Acquisition(**GRID), True),
}
LESION = PhantomLesion((-78, 28, 22), 26)
# A mouse stroke in each plane, LPS in mm, none through the centre of the volume.
STROKES = {
    "mpr-axial": ((-78, 28, 22), (-58, 36, 22)),
    "mpr-sagittal": ((-40, 60, -30), (-40, 40, -18)),
    "mpr-coronal": ((70, -20, 40), (52, -20, 30)),
}
BRUSH_MM = 12


def write_patients(folder: Path, patients: dict[str, tuple[Acquisition, bool]]) -> None:
    """Write the same chest for each patient, with an acquisition and whether instance numbers descend."""
    for patient_id, (acquisition, descending) in patients.items():
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


def open_patient(ohif: Ohif, patient_id: str) -> None:
    """Open a patient from the study list and wait until the mask can be edited."""
    ohif.open_study_list()
    ohif.open_monai_label(study_instance_uid(patient_id))
    ohif.wait_until_connected()


def paint(ohif: Ohif, viewport: str) -> None:
    """Draw the stroke of a viewport with the current tool."""
    start, end = STROKES[viewport]
    ohif.show(start)
    ohif.stroke(viewport, start, end)


def series_of(server_url: str, patient_id: str, study_uid: str | None = None) -> str:
    """Return the SeriesInstanceUID of a patient, or of one study of the patient."""
    objects = requests.get(f"{server_url}/datastore/", params={"output": "all"}).json()["objects"]
    infos = {uid: found["image"]["info"] for uid, found in objects.items()}
    wanted = {"PatientID": patient_id} | ({"StudyInstanceUID": study_uid} if study_uid else {})
    return next(uid for uid, info in infos.items() if wanted.items() <= info.items())


def stored_label(server_url: str, series_uid: str, tmp_path: Path) -> sitk.Image:
    """Return the latest label, as any MONAI Label client downloads it."""
    answer = requests.get(f"{server_url}/datastore/label", params={"label": series_uid, "tag": "final"})
    assert answer.status_code == 200, answer.text
    path = tmp_path / "label.nii.gz"
    path.write_bytes(answer.content)
    return sitk.ReadImage(str(path))


def stored_info(server_url: str, series_uid: str) -> dict:
    """Return the stored metadata of the latest label."""
    answer = requests.get(f"{server_url}/datastore/label/info", params={"label": series_uid, "tag": "final"})
    return answer.json()


def points_of(label: sitk.Image) -> np.ndarray:
    """Return the positions of all labelled voxels, (n, 3), LPS in mm, by the geometry of the file."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(label))[:, ::-1]
    return np.array([label.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels])


def check_strokes(label: sitk.Image, viewports: tuple[str, ...], *, elsewhere: bool) -> None:
    """Assert that the label contains the strokes of these viewports, in mm.

    Args:
        label: As stored.
        viewports: Keys of `STROKES`.
        elsewhere: Whether more than the strokes may be labelled.
    """
    points = points_of(label)
    strokes = [STROKES[viewport] for viewport in viewports]
    half_voxel = np.linalg.norm(label.GetSpacing()) / 2
    for start, end in strokes:
        for share in (0, 0.5, 1):
            wanted = np.array(start) + share * (np.array(end) - start)
            assert np.linalg.norm(points - wanted, axis=1).min() <= half_voxel, f"nothing at {wanted}"
    if not elsewhere:
        distances = np.array([_distance_to_stroke(points, *stroke) for stroke in strokes])
        assert distances.min(axis=0).max() < BRUSH_MM / 2 + half_voxel, "something was painted beside the strokes"


def _distance_to_stroke(points: np.ndarray, start: Point, end: Point) -> np.ndarray:
    """Return the distance in mm of each point from the line segment between two points."""
    start, end = np.array(start, float), np.array(end, float)
    along = np.clip((points - start) @ (end - start) / np.sum((end - start) ** 2), 0, 1)
    return np.linalg.norm(points - (start + along[:, None] * (end - start)), axis=1)
