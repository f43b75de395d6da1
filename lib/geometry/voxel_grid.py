"""Voxel grid of a volume in patient coordinates, including uneven gaps and a tilted gantry.

Each volume has one grid, that of the acquired slices in order along their normal. OHIF stacks them in this order,
labels are stored on them, and the volume that 3D Slicer loads consists of them. An affine describes evenly spaced
slices; for a tilted gantry it is sheared, which NRRD supports. For unevenly spaced slices the affine is an
approximation with even spacing, as viewers draw them, and the metadata of the volume has the true positions. Only the
network needs a regular grid; ``lib.geometry.regular_grid`` computes it from the true positions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor

from lib.dicomweb.image_header import read_image_header

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM and ITK use LPS, NIfTI and MONAI use RAS; its own inverse
SLICE_POSITIONS = "slice_positions"  # metadata key for unevenly spaced slices: JSON of (slices, 3), LPS mm
_VOXEL_MM = (0.1, 20.0)
_SHEAR = 1e-4
_FARTHEST_MM = 1e5  # largest distance from the origin; beyond, 32-bit floats cannot distinguish voxels
_NEAR = 0.2  # fraction of the slice distance within which a point is on a slice; contours are only off by rounding
_NEAR_MM = 0.1  # lower bound of the above


def voxel_mm3(affine: Any) -> float:
    """Return the volume of a voxel, mm³; for sheared axes, that is less than the product of the spacings.

    Args:
        affine: From voxel index to mm, 4×4, or its first three rows and columns.
    """
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3])))


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """Voxel grid in DICOM patient coordinates (LPS, mm).

    Voxel indices are (column, row, slice), as in SimpleITK; arrays of voxels are (slice, row, column). Spacing and
    direction are stored in addition to the affine, so that an image made on the grid has exactly the same header as
    the image that the grid was read from.

    Attributes:
        size: Number of columns, rows and slices.
        affine: 4×4, from voxel index to mm. For unevenly spaced slices an approximation with even spacing.
        spacing: Voxel size along column, row and slice index, mm.
        direction: 3×3; its columns are the unit vectors of increasing column, row and slice index.
        true_positions: Centre of the first voxel of each slice, mm, shape (slices, 3). None if the affine is exact.
    """

    size: tuple[int, int, int]
    affine: np.ndarray
    spacing: tuple[float, float, float]
    direction: np.ndarray
    true_positions: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Raise a ValueError if the number of positions is not that of the slices."""
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
        """Return the grid for an origin (mm), spacing (mm) and direction (3×3), as defined by ITK."""
        affine = np.eye(4)
        affine[:3, :3] = direction @ np.diag(spacing)
        affine[:3, 3] = origin
        return cls(_three(size), affine, _three(spacing), direction, true_positions)

    @classmethod
    def from_image(cls, image: sitk.Image | sitk.ImageFileReader) -> VoxelGrid:
        """Return the grid of a three-dimensional image or image header.

        Raises:
            ValueError: It is not three-dimensional, or has positions for another number of slices.
        """
        noted = image.GetMetaData(SLICE_POSITIONS) if image.HasMetaDataKey(SLICE_POSITIONS) else None
        direction = np.array(image.GetDirection()).reshape(3, 3)
        return cls.from_geometry(image.GetSize(), image.GetOrigin(), image.GetSpacing(), direction, _parsed(noted))

    @classmethod
    def from_file(cls, path: Path) -> VoxelGrid:
        """Return the grid of an image file, without reading its voxels.

        Raises:
            ValueError: See :meth:`from_image`.
            RuntimeError: The file cannot be read.
        """
        return cls.from_image(read_image_header(path))

    @classmethod
    def from_tensor(cls, image: MetaTensor) -> VoxelGrid:
        """Return the grid of an image (channel, column, row, slice) loaded by MONAI.

        Raises:
            ValueError: Its metadata has positions for another number of slices.
        """
        affine = LPS_TO_RAS @ np.asarray(image.affine)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        positions = _parsed(image.meta.get(SLICE_POSITIONS))
        return cls(_three(image.shape[1:]), affine, _three(spacing.tolist()), affine[:3, :3] / spacing, positions)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an array of its voxels (slices, rows, columns)."""
        columns, rows, slices = self.size
        return slices, rows, columns

    @property
    def row(self) -> np.ndarray:
        """Direction along a row: increasing column index."""
        return self.affine[:3, 0] / self.spacing[0]

    @property
    def column(self) -> np.ndarray:
        """Direction along a column: increasing row index."""
        return self.affine[:3, 1] / self.spacing[1]

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the slices, pointing from the first to the last."""
        return slice_normal(self.affine)

    @cached_property
    def slice_positions(self) -> np.ndarray:
        """True position of each slice: centre of its first voxel, mm, shape (slices, 3)."""
        if self.true_positions is not None:
            return self.true_positions
        return self.affine[:3, 3] + np.arange(self.size[2])[:, None] * self.affine[:3, 2]

    @property
    def is_sheared(self) -> bool:
        """Whether the axes are not orthogonal, as for a tilted gantry."""
        return bool(np.abs(self.direction.T @ self.direction - np.eye(3)).max() > _SHEAR)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, mm³, of unevenly spaced slices on average."""
        return voxel_mm3(self.affine)

    @cached_property
    def inverse(self) -> np.ndarray:
        """Inverse of the affine, 4×4, from mm to voxel index."""
        return np.linalg.inv(self.affine)

    def to_mm(self, index: np.ndarray) -> np.ndarray:
        """Return the positions of voxels in mm.

        Args:
            index: Column, row and slice, shape (…, 3). Integers are voxel centres; slices must be integers.
        """
        if self.true_positions is None:
            return index @ self.affine[:3, :3].T + self.affine[:3, 3]
        return self.true_positions[index[..., 2]] + index[..., :2] @ self.affine[:3, :2].T

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Return the voxel indices of points in mm, the inverse of `to_mm`.

        Args:
            points: Shape (…, 3). Beyond the first and the last slice, their distances continue.

        Returns:
            Column, row and slice, shape (…, 3), fractional; integers are voxel centres.
        """
        if self.true_positions is None or self.size[2] < 2:
            return points @ self.inverse[:3, :3].T + self.inverse[:3, 3]
        offset = points - self.slice_positions[0]
        distances = (self.slice_positions - self.slice_positions[0]) @ self.normal
        along = offset @ self.normal
        below = np.clip(np.searchsorted(distances, along, "right") - 1, 0, self.size[2] - 2)
        share = (along - distances[below]) / (distances[below + 1] - distances[below])
        steps = np.diff(self.slice_positions, axis=0)[below]
        in_slice = points - self.slice_positions[below] - share[..., None] * steps
        in_plane = np.stack([in_slice @ self.row, in_slice @ self.column], axis=-1) / self.spacing[:2]
        return np.concatenate([in_plane, (below + share)[..., None]], axis=-1)

    def slice_at(self, points: np.ndarray) -> int | None:
        """Return the index of the slice that contains all points (n, 3; mm), or None if there is none."""
        distances = (self.slice_positions @ self.normal)[:, None] - (points @ self.normal)[None]
        nearest = int(np.abs(distances).mean(1).argmin())
        return nearest if np.abs(distances[nearest]).max() <= self._tolerance else None

    def to_pixels(self, points: np.ndarray, slice_index: int) -> np.ndarray:
        """Return column and row index (n, 2) of points (n, 3; mm) on a slice; integers are pixel centres."""
        offset = points - self.slice_positions[slice_index]
        return np.stack([offset @ self.row, offset @ self.column], axis=1) / self.spacing[:2]

    def image(self, voxels: np.ndarray) -> sitk.Image:
        """Return voxels (slice, row, column) as an image with this geometry, without true positions."""
        image = sitk.GetImageFromArray(voxels)
        image.SetOrigin(self.affine[:3, 3].tolist())
        image.SetSpacing(self.spacing)
        image.SetDirection(self.direction.ravel().tolist())
        return image

    def mask(self, voxels: np.ndarray) -> sitk.Image:
        """Return voxels (slice, row, column) as a uint8 image with this geometry."""
        return self.image(voxels.astype(np.uint8))

    def volume(self, voxels: np.ndarray) -> sitk.Image:
        """Return the result of :meth:`image` with the true positions of unevenly spaced slices as metadata."""
        image = self.image(voxels)
        if self.true_positions is not None:
            image.SetMetaData(SLICE_POSITIONS, json.dumps(self.true_positions.tolist()))
        return image

    @property
    def _tolerance(self) -> float:
        """Largest distance of a point from a slice to count as on it, mm."""
        if self.size[2] < 2:
            return _NEAR_MM
        return max(_NEAR_MM, _NEAR * float(np.abs(np.diff(self.slice_positions @ self.normal)).min()))


def slice_normal(affine: np.ndarray) -> np.ndarray:
    """Return the unit normal of the slices of an affine (4×4), pointing from the first to the last."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return normal * np.sign(normal @ affine[:3, 2]) / np.linalg.norm(normal)


def check_voxel_size(spacing: Sequence[float]) -> None:
    """Check that a voxel size is plausible for a chest CT; otherwise the field would have no or too many pixels.

    Args:
        spacing: Voxel size along each axis, mm.

    Raises:
        ValueError: A size is not from 0.1 to 20 mm.
    """
    low, high = _VOXEL_MM
    if not all(low <= length <= high for length in spacing):
        sizes = " × ".join(f"{length:.4g}" for length in spacing)
        raise ValueError(f"voxels of {sizes} mm; for a chest CT they must be from {low:g} to {high:g} mm")


def check_grid(grid: VoxelGrid) -> None:
    """Check that a grid read from an untrusted header can be used in computations.

    Raises:
        ValueError: The voxel size is implausible, the axes do not span a volume, or the origin is too far away.
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
