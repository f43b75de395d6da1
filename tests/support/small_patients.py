"""Low-resolution chest phantoms for tests with a computing server."""

from pathlib import Path

from lib.phantoms import Acquisition, DemoSeries, chest_volume, draw_lesions, write_dicom_series, write_volume

_GRID = Acquisition(shape=(12, 64, 64), spacing=(6.0, 5.0, 5.2))


def write_small_patients(folder: Path, count: int) -> list[DemoSeries]:
    """Write a series per patient to ``folder/dicom`` and masks of their lesions beside it."""
    made = []
    for seed in range(count):
        patient = f"P{seed + 1}"
        hu, mask, affine = chest_volume(seed, lesions=draw_lesions(seed, 3, diameters=(20, 40)), acquisition=_GRID)
        uid = write_dicom_series(folder / "dicom" / patient, hu, affine, patient_id=patient)
        truth = write_volume(folder / f"{patient}.nii.gz", mask, affine)
        made.append(DemoSeries(patient, "", uid, folder / "dicom", _GRID, (), truth))
    return made
