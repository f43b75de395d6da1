"""Acquisition geometry of a phantom scan: matrix, spacing, plane and tilt."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Plane = Literal["head_first_supine", "head_first_prone", "feet_first_supine", "sagittal", "coronal"]

# Directions of increasing column index and increasing row index, in LPS, as in ImageOrientationPatient
# (DICOM PS3.3 C.7.6.2.1.1); slices follow their cross product.
DIRECTIONS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "head_first_supine": ((1, 0, 0), (0, 1, 0)),
    "head_first_prone": ((-1, 0, 0), (0, -1, 0)),
    "feet_first_supine": ((-1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
}


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """The grid of one scan, in patient coordinates (LPS, mm).

    Attributes:
        shape: slices, rows, columns.
        spacing: between slices, rows and columns, in mm.
        plane: patient position and image plane.
        center: of the volume, LPS in mm.
        oblique_degrees: rotates the whole stack about the left-right axis.
        gantry_tilt_degrees: shears the stack along its columns with parallel slices, as a tilted gantry stores it. The
            grid is then not rectangular.
    """

    shape: tuple[int, int, int] = (60, 256, 256)
    spacing: tuple[float, float, float] = (2.5, 1.4, 1.4)
    plane: Plane = "head_first_supine"
    center: tuple[float, float, float] = (0.0, 5.0, 5.0)
    oblique_degrees: float = 0.0
    gantry_tilt_degrees: float = 0.0

    @property
    def patient_position(self) -> str:
        """PatientPosition (DICOM PS3.3 C.7.3.1.1.2)."""
        return {"head_first_prone": "HFP", "feet_first_supine": "FFS"}.get(self.plane, "HFS")

    @property
    def affine(self) -> np.ndarray:
        """Affine matrix (4, 4) from (column, row, slice, 1) indices to LPS mm."""
        along_columns, along_rows = np.array(DIRECTIONS[self.plane], dtype=float)
        angle = np.deg2rad(self.oblique_degrees)
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]], dtype=float)
        along_columns, along_rows = turn @ along_columns, turn @ along_rows
        along_slices = np.cross(along_columns, along_rows)
        along_slices += np.tan(np.deg2rad(self.gantry_tilt_degrees)) * along_rows

        slice_mm, row_mm, column_mm = self.spacing
        affine = np.eye(4)
        affine[:3, 0] = along_columns * column_mm
        affine[:3, 1] = along_rows * row_mm
        affine[:3, 2] = along_slices * slice_mm
        middle = (np.array(self.shape[::-1]) - 1) / 2
        affine[:3, 3] = np.array(self.center) - affine[:3, :3] @ middle
        return affine
