"""Small set of phantom patients for trying the app without real studies."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .acquisition import Acquisition
from .chest import PhantomLesion, chest_volume
from .dicom_series import study_instance_uid, write_dicom_series

THIN = Acquisition()
THICK = Acquisition(shape=(30, 256, 256), spacing=(5.0, 1.4, 1.4))
WIDE_FIELD = Acquisition(shape=(48, 256, 256), spacing=(3.0, 1.5, 1.5))


@dataclass(frozen=True)
class DemoSeries:
    """A series on disk and its contents.

    Attributes:
        patient_id: PatientID.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID, the image id of the app.
        directory: folder of its files.
        acquisition: its grid.
        lesions: its lesions, LPS in mm.
        truth: mask as NIfTI on the grid of the series, if requested.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    directory: Path
    acquisition: Acquisition
    lesions: tuple[PhantomLesion, ...]
    truth: Path | None


# Patient, lesions, and the series of its study: description with grid.
PATIENTS: tuple[tuple[str, tuple[PhantomLesion, ...], dict[str, Acquisition]], ...] = (
    ("LUNG-001", (PhantomLesion((-78, 28, 22), 22),), {"Chest 2.5 mm": THIN}),
    ("LUNG-002", (PhantomLesion((92, 38, -20), 12),), {"Chest 2.5 mm": THIN}),
    ("LUNG-003", (PhantomLesion((-84, 58, -22), 35), PhantomLesion((66, -38, 36), 8)), {"Chest 2.5 mm": THIN}),
    ("LUNG-004", (), {"Chest 3 mm": WIDE_FIELD}),
    ("LUNG-005", (PhantomLesion((62, 50, 34), 17),), {"Chest 2.5 mm": THIN, "Chest 5 mm": THICK}),
    ("LUNG-006", (PhantomLesion((-52, -34, 30), 6), PhantomLesion((84, 44, -18), 27)), {"Chest 3 mm": WIDE_FIELD}),
)


def write_demo_studies(directory: Path, *, truth: Path | None = None) -> list[DemoSeries]:
    """Write six patients with lesions of 6 to 35 mm, one of them without lesions and one with two series.

    Args:
        directory: folder for ``<PatientID>/<series number>/*.dcm``, about 50 MB.
        truth: folder for the masks ``<SeriesInstanceUID>.nii.gz``, outside ``directory``.

    Returns:
        The series, in the order written.
    """
    written = []
    for seed, (patient_id, lesions, series) in enumerate(PATIENTS, start=1):
        for number, (description, acquisition) in enumerate(series.items(), start=1):
            hu, mask, affine = chest_volume(seed, lesions=lesions, acquisition=acquisition)
            folder = directory / patient_id / str(number)
            series_uid = write_dicom_series(
                folder,
                hu,
                affine,
                patient_id=patient_id,
                series_number=number,
                series_description=description,
                study_date=f"202601{seed:02d}",
            )
            written.append(
                DemoSeries(
                    patient_id=patient_id,
                    study_uid=study_instance_uid(patient_id),
                    series_uid=series_uid,
                    directory=folder,
                    acquisition=acquisition,
                    lesions=lesions,
                    truth=write_volume(truth / f"{series_uid}.nii.gz", mask, affine) if truth else None,
                )
            )
    return written


def write_volume(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    """Write HU or a mask (slices, rows, columns) on the grid of ``affine``, which must not be sheared."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    return path
