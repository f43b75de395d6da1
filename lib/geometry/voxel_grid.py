"""Where the voxels of a volume lie in the patient, slice by slice, uneven gaps and a tilted gantry included.

Each volume has one grid: the real slices, in order along their normal. OHIF stacks them so, labels are stored on them,
and the volume that 3D Slicer loads has them as its slices. One affine describes evenly spaced slices; for a tilted
gantry it is sheared, which NRRD can hold. Slices with small gaps between them have no affine: theirs spreads them
evenly, as viewers draw them, and the volume carries their true positions in its metadata. Only the network needs a
straight and even grid; ``lib.geometry.straight_grid`` makes it from the true positions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor

from lib.dicomweb.image_header import read_image_header

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM and ITK use LPS, NIfTI and MONAI use RAS; its own inverse
SLICE_POSITIONS = "slice_positions"  # metadata of a volume whose slices are uneven: JSON of (slices, 3), LPS mm
_VOXEL_MM = (0.1, 20.0)
_SHEAR = 1e-4
_FARTHEST_MM = 1e5  # from the origin; farther off, 32-bit floats cannot tell voxels apart
_NEAR = 0.2  # of the distance between slices: contours drawn on a slice lie on it but for rounding
_NEAR_MM = 0.1  # lower bound of the above


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """A grid of voxels in DICOM's patient coordinates (LPS, mm).

    Voxel indices are (column, row, slice), as in SimpleITK; arrays of voxels are (slice, row, column). Spacing and
    direction are kept beside their product, the affine, so that an image made on the grid has the same header as the
    image that the grid was read from, to the last digit.

    Attributes:
        size: Number of columns, rows and slices.
        affine: 4×4, from voxel index to mm. It spreads slices evenly that are not.
        spacing: Size of a voxel along column, row and slice index, mm.
        direction: 3×3; its columns are the unit vectors of increasing column, row and slice index.
        true_positions: (slices, 3); centre of the first voxel of each slice, mm. None where the affine is exact.
    """

    size: tuple[int, int, int]
    affine: np.ndarray
    spacing: tuple[float, float, float]
    direction: np.ndarray
    true_positions: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Raise a ValueError for positions of another number of slices."""
        if self.true_positions is not None and self.true_positions.shape != (self.size[2], 3):
            raise ValueError(f"the image has {self.size[2]} slices, but positions of {len(self.true_positions)}")

    @classmethod
    def from_geometry(
        cls,
        size: Sequence[int],
        origin: Sequence[float],
        spacing: Sequence[float],
        direction: np.ndarray,
        true_positions: np.ndarray | None = None,
    ) -> VoxelGrid:
        """Return the grid of an origin (mm), a spacing (mm) and a direction (3×3), as ITK describes it."""
        affine = np.eye(4)
        affine[:3, :3] = direction @ np.diag(spacing)
        affine[:3, 3] = origin
        return cls(_three(size), affine, _three(spacing), direction, true_positions)

    @classmethod
    def from_image(cls, image: sitk.Image | sitk.ImageFileReader) -> VoxelGrid:
        """Return the grid of an image with three dimensions, or of its header.

        Raises:
            ValueError: It has other dimensions, or positions of another number of slices.
        """
        noted = image.GetMetaData(SLICE_POSITIONS) if image.HasMetaDataKey(SLICE_POSITIONS) else None
        direction = np.array(image.GetDirection()).reshape(3, 3)
        return cls.from_geometry(image.GetSize(), image.GetOrigin(), image.GetSpacing(), direction, _parsed(noted))

    @classmethod
    def from_file(cls, path: Path) -> VoxelGrid:
        """Return the grid of an image file, without reading its voxels.

        Raises:
            ValueError: As :meth:`from_image`.
            RuntimeError: It cannot be read.
        """
        return cls.from_image(read_image_header(path))

    @classmethod
    def from_tensor(cls, image: MetaTensor) -> VoxelGrid:
        """Return the grid of an image (channel, column, row, slice) that MONAI loaded.

        Raises:
            ValueError: Its metadata has positions of another number of slices.
        """
        affine = LPS_TO_RAS @ np.asarray(image.affine)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        positions = _parsed(image.meta.get(SLICE_POSITIONS))
        return cls(_three(image.shape[1:]), affine, _three(spacing.tolist()), affine[:3, :3] / spacing, positions)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an array of its voxels: slices, rows, columns."""
        columns, rows, slices = self.size
        return slices, rows, columns

    @property
    def row(self) -> np.ndarray:
        """Direction of increasing column index, along a row."""
        return self.affine[:3, 0] / self.spacing[0]

    @property
    def column(self) -> np.ndarray:
        """Direction of increasing row index, along a column."""
        return self.affine[:3, 1] / self.spacing[1]

    @property
    def normal(self) -> np.ndarray:
        """Unit vector at right angles to the slices, from the first to the last."""
        return slice_normal(self.affine)

    @cached_property
    def slice_positions(self) -> np.ndarray:
        """True position of each slice, (slices, 3): centre of its first voxel, mm."""
        if self.true_positions is not None:
            return self.true_positions
        return self.affine[:3, 3] + np.arange(self.size[2])[:, None] * self.affine[:3, 2]

    @property
    def is_sheared(self) -> bool:
        """Whether the axes are not at right angles, as those of a tilted gantry."""
        return bool(np.abs(self.direction.T @ self.direction - np.eye(3)).max() > _SHEAR)

    @cached_property
    def inverse(self) -> np.ndarray:
        """4×4, from mm to voxel index, where the slices are spread evenly."""
        return np.linalg.inv(self.affine)

    def to_mm(self, index: np.ndarray) -> np.ndarray:
        """Return where voxels are, in mm.

        Args:
            index: (…, 3); column, row and slice. Whole numbers are centres of voxels; slices are whole.
        """
        if self.true_positions is None:
            return index @ self.affine[:3, :3].T + self.affine[:3, 3]
        return self.true_positions[index[..., 2]] + index[..., :2] @ self.affine[:3, :2].T

    def slice_at(self, points: np.ndarray) -> int | None:
        """Return the index of the slice on which all points (n, 3; mm) lie, or None if there is no such slice."""
        distances = (self.slice_positions @ self.normal)[:, None] - (points @ self.normal)[None]
        nearest = int(np.abs(distances).mean(1).argmin())
        return nearest if np.abs(distances[nearest]).max() <= self._tolerance else None

    def to_pixels(self, points: np.ndarray, slice_index: int) -> np.ndarray:
        """Return column and row index (n, 2) of points (n, 3; mm) on a slice; whole numbers are centres of pixels."""
        offset = points - self.slice_positions[slice_index]
        return np.stack([offset @ self.row, offset @ self.column], axis=1) / self.spacing[:2]

    def image(self, voxels: np.ndarray) -> sitk.Image:
        """Return an image of voxels (slice, row, column) with this geometry, without true positions."""
        image = sitk.GetImageFromArray(voxels)
        image.SetOrigin(self.affine[:3, 3].tolist())
        image.SetSpacing(self.spacing)
        image.SetDirection(self.direction.ravel().tolist())
        return image

    def mask(self, voxels: np.ndarray) -> sitk.Image:
        """Return voxels (slice, row, column) as an image of uint8 with this geometry."""
        return self.image(voxels.astype(np.uint8))

    def volume(self, voxels: np.ndarray) -> sitk.Image:
        """Return what :meth:`image` does, with the true positions of uneven slices as metadata."""
        image = self.image(voxels)
        if self.true_positions is not None:
            image.SetMetaData(SLICE_POSITIONS, json.dumps(self.true_positions.tolist()))
        return image

    @property
    def _tolerance(self) -> float:
        """Distance from a slice within which a point counts as on it, mm."""
        if self.size[2] < 2:
            return _NEAR_MM
        return max(_NEAR_MM, _NEAR * float(np.abs(np.diff(self.slice_positions @ self.normal)).min()))


def slice_normal(affine: np.ndarray) -> np.ndarray:
    """Return the unit vector at right angles to the slices of an affine (4×4), from the first to the last."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return normal * np.sign(normal @ affine[:3, 2]) / np.linalg.norm(normal)


def check_voxel_size(spacing: Sequence[float]) -> None:
    """Refuse voxels of a size that no chest CT has: the network's field would have no pixels, or too many.

    Args:
        spacing: Along each axis, mm.

    Raises:
        ValueError: It is not from 0.1 to 20 mm.
    """
    low, high = _VOXEL_MM
    if not all(low <= length <= high for length in spacing):
        sizes = " × ".join(f"{length:.4g}" for length in spacing)
        raise ValueError(f"voxels of {sizes} mm; those of a chest CT are from {low:g} to {high:g} mm")


def check_grid(grid: VoxelGrid) -> None:
    """Refuse a grid on which nothing can be computed; headers may say anything.

    Raises:
        ValueError: The voxel size is none of a chest CT, the axes do not span a volume, or it is too far off.
    """
    check_voxel_size(grid.spacing)
    if not abs(np.linalg.det(grid.direction)) > _SHEAR:
        raise ValueError("its axes do not span a volume")
    origin = tuple(grid.affine[:3, 3].tolist())
    if not max(np.abs(origin)) < _FARTHEST_MM:
        raise ValueError(f"its first voxel is at {origin} mm")


def _parsed(noted: str | None) -> np.ndarray | None:
    return np.array(json.loads(noted)) if noted else None


def _three(values: Sequence) -> tuple:
    first, second, third = values
    return first, second, third
