"""Two studies of one phantom patient, who lies differently in the second, and one of whose lesions has grown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .acquisition import Acquisition
from .chest import PhantomLesion, chest_volume
from .demo import write_volume
from .dicom_series import study_instance_uid, write_dicom_series

PATIENT_ID = "FOLLOW-UP"
GROWN, STABLE = (-78.0, 28.0, 22.0), (66.0, -38.0, 20.0)  # centres of the lesions, LPS mm of the anatomy
_FORMER = (PhantomLesion(GROWN, 14.0), PhantomLesion(STABLE, 10.0))
_CURRENT = (PhantomLesion(GROWN, 14.0 * 3 ** (1 / 3)), PhantomLesion(STABLE, 10.0))
GROWTH = 3.0  # factor of the volume of the lesion that has grown
DAYS = 90
_SMALL = Acquisition(shape=(56, 168, 168), spacing=(3.0, 2.2, 2.2))
_TURN, _SHIFT = (3.0, -2.0, 4.0), (9.0, -7.0, 14.0)  # degrees about x, y and z; mm


@dataclass(frozen=True)
class PhantomStudy:
    """One of the two studies.

    Attributes:
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        date: Study Date.
        truth: mask of the lesions.
        lesions: centre of each lesion, LPS mm of this scan, shape (n, 3).
    """

    study_uid: str
    series_uid: str
    date: str
    truth: Path
    lesions: np.ndarray


def write_follow_up(
    directory: Path, truth: Path, *, patient_id: str = PATIENT_ID, acquisition: Acquisition = _SMALL
) -> tuple[PhantomStudy, PhantomStudy]:
    """Write the earlier and the later study of a patient, 90 days apart.

    Args:
        directory: folder for ``<patient>-<study>/*.dcm``.
        truth: folder for the masks ``<SeriesInstanceUID>.nii.gz``, outside ``directory``.
        patient_id: PatientID.
        acquisition: grid of both scans.

    Returns:
        The earlier study and the later one.
    """
    former = _write(directory, truth, patient_id, "1", "20260105", _FORMER, np.eye(4), acquisition)
    return former, _write(directory, truth, patient_id, "2", "20260405", _CURRENT, moved_pose(), acquisition)


def moved_pose() -> np.ndarray:
    """Return the pose (4 × 4) of the patient in the later study: from LPS mm of the scan to LPS mm of the anatomy."""
    pose = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(_TURN)):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(4)
        turn[one, one] = turn[other, other] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        pose = turn @ pose
    pose[:3, 3] = _SHIFT
    return pose


def _write(
    directory: Path,
    truth: Path,
    patient_id: str,
    study: str,
    date: str,
    lesions: tuple[PhantomLesion, ...],
    pose: np.ndarray,
    acquisition: Acquisition,
) -> PhantomStudy:
    hu, mask, affine = chest_volume(7, lesions=lesions, acquisition=acquisition, pose=pose)
    folder = directory / f"{patient_id}-{study}"
    uid = write_dicom_series(folder, hu, affine, patient_id=patient_id, study=study, study_date=date)
    centres = np.array([[*lesion.center, 1] for lesion in lesions]) @ np.linalg.inv(pose).T
    path = write_volume(truth / f"{uid}.nii.gz", mask, affine)
    return PhantomStudy(study_instance_uid(patient_id, study), uid, date, path, centres[:, :3])
