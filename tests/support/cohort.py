"""Tiny cohorts, and the comparison of what two runs made of one."""

from pathlib import Path

import numpy as np
from pydicom import dcmread

from lib.phantoms import Acquisition, write_dicom_series

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))


def tiny_series(folder: Path, count: int) -> None:
    """Write series of patients P0, P1 and so on."""
    for number in range(count):
        hu = np.full(GRID.shape, -900 + number, np.int16)
        write_dicom_series(folder / f"P{number}", hu, GRID.affine, patient_id=f"P{number}")


def same_files(alone: Path, workers: Path, count: int) -> None:
    """Compare two folders byte for byte, but for the UIDs and times of DICOM objects."""
    mine, theirs = (sorted(folder.iterdir()) for folder in (alone, workers))
    assert [path.name for path in mine] == [path.name for path in theirs]
    assert len(mine) == count
    for one, other in zip(mine, theirs, strict=True):
        if one.suffix == ".dcm":
            assert _pixels(one) == _pixels(other)
        elif one.name.endswith(".nii.gz"):
            assert one.read_bytes()[10:] == other.read_bytes()[10:], "the header of gzip has a time"
        else:
            assert one.read_bytes() == other.read_bytes(), one.name


def _pixels(path: Path) -> bytes:
    return dcmread(path).PixelData
