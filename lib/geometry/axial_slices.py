"""View of a stored volume as axial slices, without copying the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import nibabel
import numpy as np
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing

from lib.geometry.regular_grid import RegularGrid
from lib.geometry.voxel_grid import VoxelGrid

_AXES = nibabel.orientations.axcodes2ornt("LPS")  # closest canonical, not resampled


@dataclass(frozen=True)
class AxialSlices:
    """Mapping from the voxels of a file to axial slices on a regular grid, axes L, P, S.

    Attributes:
        stored_shape: Shape of the volume in the file, (X, Y, slices).
        stored_affine: Affine of the volume in the file; RAS, mm.
        grid: The regular grid; None if the slices are regular already.
    """

    stored_shape: tuple[int, int, int]
    stored_affine: list[list[float]]
    grid: RegularGrid | None

    @classmethod
    def of(cls, image: MetaTensor) -> AxialSlices:
        """Return the axial slices of a loaded volume, shape (1, X, Y, slices)."""
        regular = RegularGrid.through(VoxelGrid.from_tensor(image))
        columns, rows, slices = image.shape[1:]
        return cls((columns, rows, slices), np.asarray(image.affine, float).tolist(), regular)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the axial slices: columns, rows, slices."""
        columns, rows, slices = (self._regular_shape[axis] for axis in self._order)
        return columns, rows, slices

    @property
    def affine(self) -> np.ndarray:
        """Affine of the axial slices; RAS, mm."""
        return self._regular_affine @ nibabel.orientations.inv_ornt_aff(self._orientation, self._regular_shape)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size of the axial slices, mm."""
        across, down, along = (float(length) for length in affine_to_spacing(self.affine))
        return across, down, along

    @property
    def densities(self) -> tuple[float, float, float]:
        """Largest number of stored columns, rows and slices per voxel of the axial slices, along each axis of these."""
        dense = 1.0 if self.grid is None else self.grid.step / min(np.diff(self.grid.distances))
        across, down, along = (dense if axis == 2 else 1.0 for axis in self._order)
        return across, down, along

    def take(
        self, volume: np.ndarray, start: int, stop: int, *, fill: float = 0.0, nearest: bool = False
    ) -> np.ndarray:
        """Return a range of axial slices of the stored volume.

        Args:
            volume: Loaded volume, shape (1, X, Y, slices).
            start: First slice.
            stop: One past the last slice.
            fill: Value outside of the stored slices if those are not regular.
            nearest: Use the nearest slice instead of linear interpolation.

        Returns:
            Shape (1, columns, rows, stop - start). A view of the volume if its slices are regular.
        """
        if self.grid is None:
            return self._to_axial(volume)[..., start:stop]
        order = 0 if nearest else 1
        if not self._regular_is_axial:
            whole = self.grid.resample(volume, fill, order, 0, self.grid.depth)
            return self._to_axial(whole)[..., start:stop]
        return self._to_axial(self.grid.resample(volume, fill, order, *self._flip_range(start, stop)))

    def blocks(self, length: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of axial slices to process one by one; a single range if only all can be resampled at once."""
        depth = self.shape[2]
        if self.grid is not None and not self._regular_is_axial:
            length = depth
        for start in range(0, depth, length):
            yield start, min(start + length, depth)

    def stored_blocks(
        self, axial: Callable[[int, int], np.ndarray], length: int
    ) -> Iterator[tuple[tuple[slice, slice, slice], np.ndarray]]:
        """Resample values on the axial slices to the voxels of the file, block by block.

        Args:
            axial: Returns the values from slice start to stop, shape (C, columns, rows, stop - start), float32.
            length: Slices per block.

        Yields:
            A window of the stored volume and the values there, (C, X, Y, slices).
        """
        width, height, slices = self.stored_shape
        if self.grid is None:
            along = self._order[2]
            for start, stop in self.blocks(length):
                part = slice(*self._flip_range(start, stop))
                x, y, z = (part if axis == along else slice(None) for axis in range(3))
                yield (x, y, z), self._from_axial(axial(start, stop))
            return
        length = length if self._regular_is_axial else slices
        for start in range(0, slices, length):
            stop = min(start + length, slices)
            wanted = self.grid.needed(start, stop)
            if self._regular_is_axial:
                regular = self._from_axial(axial(*self._flip_range(*wanted)))
            else:
                regular = self._from_axial(axial(0, self.shape[2]))[..., slice(*wanted)]
            restored = self.grid.restore(regular, start, stop, (width, height))
            yield (slice(None), slice(None), slice(start, stop)), restored

    def stored_indices(self, indices: np.ndarray) -> np.ndarray:
        """Return the stored voxel nearest to each index (column, row, slice) of the axial slices, (n, 3).

        It is outside the volume where the slices are wider.
        """
        regular = indices[:, self._orientation[:, 0].astype(int)]
        for axis in self._flipped:
            regular[:, axis] = self._regular_shape[axis] - 1 - regular[:, axis]
        stored = regular if self.grid is None else self.grid.stored_indices(regular)
        return np.rint(stored).astype(int)

    @property
    def _regular_shape(self) -> tuple[int, ...]:
        if self.grid is None:
            return self.stored_shape
        return (*(int(length) for length in self.grid.plane(self.stored_shape[:2])), self.grid.depth)

    @property
    def _regular_affine(self) -> np.ndarray:
        affine = np.array(self.stored_affine)
        return affine if self.grid is None else self.grid.affine(affine)

    @property
    def _orientation(self) -> np.ndarray:
        """Axial axis of each axis of the regular grid, and 1 or -1 if flipped: an orientation as defined by NiBabel."""
        return nibabel.orientations.ornt_transform(nibabel.io_orientation(self._regular_affine), _AXES)

    @property
    def _order(self) -> list[int]:
        """Axis of the regular grid for each axial axis."""
        return np.argsort(self._orientation[:, 0]).tolist()

    @property
    def _flipped(self) -> list[int]:
        """Axes of the regular grid that run in the opposite direction."""
        return np.flatnonzero(self._orientation[:, 1] < 0).tolist()

    @property
    def _regular_is_axial(self) -> bool:
        return self._order[2] == 2

    def _flip_range(self, start: int, stop: int) -> tuple[int, int]:
        """Convert a range of axial slices to one along the axis of the regular grid, or the reverse."""
        depth = self.shape[2]
        return (depth - stop, depth - start) if self._order[2] in self._flipped else (start, stop)

    def _to_axial(self, regular: np.ndarray) -> np.ndarray:
        """Return a view of values on the regular grid as (C, columns, rows, slices)."""
        flipped = np.flip(regular, [axis + 1 for axis in self._flipped])
        return flipped.transpose(0, *(axis + 1 for axis in self._order))

    def _from_axial(self, axial: np.ndarray) -> np.ndarray:
        """Reverse ``_to_axial``."""
        regular = axial.transpose(0, *(axis + 1 for axis in np.argsort(self._order)))
        return np.flip(regular, [axis + 1 for axis in self._flipped])
