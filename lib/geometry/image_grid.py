"""Where the pixels of an image lie in the patient, slice by slice, gaps and a tilted gantry included."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from lib.datastore.label_reader import on_grid
from lib.datastore.volume import affine_of
from lib.geometry.slice_stack import SLICE_POSITIONS

_NEAR = 0.2  # of the distance between slices: what is drawn on a slice lies on it but for rounding
_NEAR_MM = 0.1  # and never less than this


@dataclass(frozen=True)
class ImageGrid:
    """The slices of an image, in patient coordinates (LPS, mm).

    Attributes:
        image: Whose they are.
        positions: (slices, 3); centre of the first pixel of each, mm.
        row, column: Directions of increasing column index and of increasing row index.
        pixel_spacing: Between columns, between rows, mm.
    """

    image: sitk.Image
    positions: np.ndarray
    row: np.ndarray
    column: np.ndarray
    pixel_spacing: np.ndarray

    @classmethod
    def of(cls, image: sitk.Image) -> ImageGrid:
        """Of a volume as :func:`lib.datastore.volume.read_volume` makes it."""
        affine = affine_of(image)
        if image.HasMetaDataKey(SLICE_POSITIONS):
            positions = np.array(json.loads(image.GetMetaData(SLICE_POSITIONS)))
        else:
            positions = affine[:3, 3] + np.arange(image.GetSize()[2])[:, None] * affine[:3, 2]
        spacing = np.array(image.GetSpacing()[:2])
        return cls(image, positions, affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1], spacing)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return self.image.GetSize()[::-1]

    @property
    def normal(self) -> np.ndarray:
        """Direction at right angles to the slices."""
        return np.cross(self.row, self.column)

    def slice_at(self, points: np.ndarray) -> int | None:
        """Index of the slice on which all points (n, 3) lie, in mm; None where they lie on none."""
        distances = (self.positions @ self.normal)[:, None] - (points @ self.normal)[None]
        nearest = int(np.abs(distances).mean(1).argmin())
        return nearest if np.abs(distances[nearest]).max() <= self._tolerance else None

    def pixels(self, points: np.ndarray, place: int) -> np.ndarray:
        """Column and row index (n, 2) of points (n, 3) in mm on a slice; whole numbers are centres of pixels."""
        beside = points - self.positions[place]
        return np.stack([beside @ self.row, beside @ self.column], axis=1) / self.pixel_spacing

    def mask(self, voxels: np.ndarray) -> sitk.Image:
        """(slice, row, column) as an image of uint8."""
        return on_grid(voxels.astype(np.uint8), self.image)

    @property
    def _tolerance(self) -> float:
        """Distance from a slice within which something lies on it, mm."""
        if len(self.positions) < 2:
            return _NEAR_MM
        return max(_NEAR_MM, _NEAR * float(np.abs(np.diff(self.positions @ self.normal)).min()))
