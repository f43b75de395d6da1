"""The cube around a lesion that the network sees, and its resampling from and to the grid of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from lib.geometry.voxel_grid import VoxelGrid

Window = tuple[slice, slice, slice]

_FILL = 0.6  # largest extent of a lesion over the side of its cube
_HALF_VOXEL = 0.5


@dataclass(frozen=True)
class Cube:
    """Cube of voxels with axes L, P, S, whatever the orientation of the image.

    Attributes:
        centre: Position in the patient (LPS, mm), shape (3,).
        voxel_mm: Side of a voxel.
        side: Voxels along each axis.
    """

    centre: np.ndarray = field(repr=False)
    voxel_mm: float
    side: int

    @classmethod
    def around(cls, points: np.ndarray, smallest_voxel_mm: float, side: int) -> Cube:
        """Return the cube in which points take up six tenths of the side, or less if its voxels are the smallest.

        Args:
            points: Positions in mm, shape (n, 3).
            smallest_voxel_mm: Smallest side of a voxel.
            side: Voxels along each axis.
        """
        low, high = points.min(0), points.max(0)
        voxel_mm = max(smallest_voxel_mm, float((high - low).max()) / (_FILL * side))
        return cls((low + high) / 2, voxel_mm, side)

    @property
    def half_mm(self) -> float:
        """Half of its side."""
        return self.side * self.voxel_mm / 2

    def to_mm(self, index: np.ndarray) -> np.ndarray:
        """Return the positions in mm of voxel indices (…, 3); integers are voxel centres."""
        return self.centre + (index - (self.side - 1) / 2) * self.voxel_mm

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Return the fractional voxel indices of positions in mm (…, 3)."""
        return (points - self.centre) / self.voxel_mm + (self.side - 1) / 2

    def points(self) -> np.ndarray:
        """Return the positions in mm of all voxels, shape (side, side, side, 3)."""
        return self.to_mm(np.moveaxis(np.indices((self.side,) * 3), 0, -1))

    def window(self, grid: VoxelGrid, low: np.ndarray | None = None, high: np.ndarray | None = None) -> Window:
        """Return the part of an image (slice, row, column) that a part of the cube covers; it may be empty.

        Args:
            grid: Grid of the image.
            low: First voxel of the part of the cube along each axis (default: the whole cube).
            high: Last voxel.
        """
        ends = np.stack(
            [
                np.full(3, -_HALF_VOXEL) if low is None else low - _HALF_VOXEL,
                np.full(3, self.side - _HALF_VOXEL) if high is None else high + _HALF_VOXEL,
            ]
        )
        corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, 3)
        index = grid.to_index(self.to_mm(corners))
        first = np.clip(np.ceil(index.min(0)), 0, grid.size).astype(int)
        last = np.clip(np.floor(index.max(0)) + 1, first, grid.size).astype(int)
        column, row, slice_ = (slice(int(start), int(stop)) for start, stop in zip(first, last, strict=True))
        return slice_, row, column


def sample(
    voxels: np.ndarray, grid: VoxelGrid, cube: Cube, outside: float, start: Sequence[int] = (0, 0, 0)
) -> np.ndarray:
    """Resample an image to a cube by linear interpolation, after averaging voxels much smaller than those of the cube.

    Args:
        voxels: Shape (slice, row, column); may be a memory map, of which only the cube is read.
        grid: Grid of the image.
        cube: The cube.
        outside: Value beyond the voxels, half a voxel from the centres of the first and last.
        start: First slice, row and column of ``voxels``, where they are a part of the image.

    Returns:
        Float32, shape (side, side, side), axes L, P, S.
    """
    index = grid.to_index(cube.points())[..., ::-1] - start  # slice, row, column
    length = np.array(voxels.shape)
    beyond = ((index < -_HALF_VOXEL) | (index > length - _HALF_VOXEL)).any(-1)
    if beyond.all():
        return np.full(beyond.shape, outside, np.float32)
    steps = np.maximum((cube.voxel_mm / np.array(grid.spacing[::-1])).astype(int), 1)
    inside = index[~beyond]
    first = np.clip(np.floor(inside.min(0)).astype(int) - steps, 0, length - 1)
    last = np.clip(np.ceil(inside.max(0)).astype(int) + steps, first, length - 1)
    part = voxels[tuple(slice(start, stop + 1) for start, stop in zip(first, last, strict=True))]
    places = (index - first - (steps - 1) / 2) / steps
    found = ndimage.map_coordinates(_averaged(part, steps), np.moveaxis(places, -1, 0), order=1, mode="nearest")
    found[beyond] = outside
    return found


def restore(values: np.ndarray, cube: Cube, grid: VoxelGrid, window: Window) -> np.ndarray:
    """Resample values of a cube to a part of an image by linear interpolation; 0 beyond the cube.

    Args:
        values: Shape (side, side, side), axes L, P, S.
        cube: The cube.
        grid: Grid of the image.
        window: Part of the image, (slice, row, column).

    Returns:
        Float32, the shape of the window.
    """
    lengths = [range(side.start, side.stop) for side in window]
    index = np.stack(np.meshgrid(*lengths, indexing="ij"), axis=-1)[..., ::-1]
    places = np.moveaxis(cube.to_index(grid.to_mm(index)), -1, 0)
    return ndimage.map_coordinates(values.astype(np.float32, copy=False), places, order=1, mode="grid-constant")


def _averaged(part: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return the means of blocks of voxels as float32; the last ones are repeated to fill a block."""
    part = np.asarray(part, np.float32)
    for axis, step in enumerate(steps.tolist()):
        if step > 1:
            border = [(0, 0)] * 3
            border[axis] = (0, -part.shape[axis] % step)
            part = np.pad(part, border, mode="edge")
            shape = (*part.shape[:axis], part.shape[axis] // step, step, *part.shape[axis + 1 :])
            part = part.reshape(shape).mean(axis + 1)
    return part
