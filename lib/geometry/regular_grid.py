"""Resampling of tilted or unevenly spaced slices to a regular grid, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from lib.geometry.voxel_grid import LPS_TO_RAS, VoxelGrid, slice_normal

_TOLERANCE = 0.02  # fraction of a gap, and of a pixel sideways over the stack; smaller deviations are ignored


@dataclass(frozen=True)
class RegularGrid:
    """Regular grid (orthogonal axes, evenly spaced slices) through slices that are tilted or unevenly spaced.

    Values are interpolated linearly along the normal of the slices, at their true positions in the patient. The grid
    keeps pixel spacing and orientation; it includes the first and the last slice, and has as many slices between them
    as give the typical distance. For a tilted gantry it is wider than the slices.

    Attributes:
        distances: Distance of each slice from the first along the normal, mm.
        shifts: In-plane offset of each slice (columns, rows), pixels.
    """

    distances: list[float]
    shifts: list[list[float]]

    @classmethod
    def through(cls, grid: VoxelGrid) -> RegularGrid | None:
        """Return the regular grid through the slices of a grid, or None if that is regular already."""
        along = grid.slice_positions - grid.slice_positions[0]
        distances = along @ grid.normal
        in_plane = grid.affine[:3, :2]
        shifts = along @ (in_plane / (in_plane**2).sum(0))
        gaps = np.diff(distances)
        if np.ptp(shifts, axis=0).max() < _TOLERANCE and (len(gaps) < 2 or np.ptp(gaps) < _TOLERANCE * gaps.mean()):
            return None
        return cls(distances.tolist(), shifts.tolist())

    @property
    def step(self) -> float:
        """Distance between its slices, mm."""
        gaps = np.diff(self.distances)
        typical = max(np.median(gaps), gaps.mean() / 2)
        return self.distances[-1] / round(self.distances[-1] / typical)

    @property
    def start(self) -> np.ndarray:
        """First column and row of the grid in pixels of the first slice; never above 0."""
        return np.floor(np.min(self.shifts, axis=0) + 1e-6)

    @property
    def depth(self) -> int:
        """Number of its slices."""
        return round(self.distances[-1] / self.step) + 1

    def plane(self, shape: Sequence[int]) -> np.ndarray:
        """Return columns and rows of its slices for stored slices of ``shape``."""
        highest = np.max(np.array(self.shifts) - self.start, axis=0)
        return np.array(shape) + np.ceil(highest - 1e-6).astype(int)

    def affine(self, affine: np.ndarray) -> np.ndarray:
        """Return the affine of the grid (RAS, mm) from that of the stored slices."""
        affine = LPS_TO_RAS @ affine
        regular = affine.copy()
        regular[:3, 2] = slice_normal(affine) * self.step
        regular[:3, 3] += affine[:3, :2] @ self.start
        return LPS_TO_RAS @ regular

    def resample(self, slices: np.ndarray, fill: float, order: int, start: int, stop: int) -> np.ndarray:
        """Resample stored slices to a range of slices of the grid.

        Args:
            slices: All stored slices, shape (C, X, Y, slices).
            fill: Value outside of them.
            order: 1 for linear interpolation, 0 for the nearest slice.
            start: First slice of the range.
            stop: One past the last slice.

        Returns:
            Shape (C, *plane, stop - start), float32.
        """
        shifts = np.array(self.shifts) - self.start
        plane = self.plane(slices.shape[1:3])

        @lru_cache(maxsize=2)
        def shifted_slice(index: int) -> np.ndarray:
            return _shifted(slices[..., index].astype(np.float32), -shifts[index], plane, fill, order)

        regular = np.empty((len(slices), *plane, stop - start), np.float32)
        for place, distance in enumerate(np.linspace(0, self.distances[-1], self.depth)[start:stop]):
            below = int(np.clip(np.searchsorted(self.distances, distance, "right") - 1, 0, len(self.distances) - 2))
            gap = self.distances[below + 1] - self.distances[below]
            regular[..., place] = _interpolated(shifted_slice, below, (distance - self.distances[below]) / gap, order)
        return regular

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of slices of the grid that `restore` needs for a range of stored slices."""
        return self._below(self.distances[start]), self._below(self.distances[stop - 1]) + 2

    def restore(self, regular: np.ndarray, start: int, stop: int, shape: tuple[int, int]) -> np.ndarray:
        """Resample values on the grid to a range of stored slices.

        Args:
            regular: Values on the `needed` slices of the grid, shape (C, *plane, n).
            start: First stored slice of the range.
            stop: One past the last slice.
            shape: Columns and rows of the stored slices.

        Returns:
            Shape (C, *shape, stop - start), float32.
        """
        first, _ = self.needed(start, stop)
        slices = np.empty((len(regular), *shape, stop - start), np.float32)
        for index in range(start, stop):
            below = self._below(self.distances[index])
            part = self.distances[index] / self.step - below
            plane = _interpolated(lambda place: regular[..., place - first], below, part, 1)
            slices[..., index - start] = _shifted(plane, np.array(self.shifts[index]) - self.start, shape, 0.0, 1)
        return slices

    def stored_indices(self, indices: np.ndarray) -> np.ndarray:
        """Return the index of places on the grid (n, 3) in the stored slices: column and row, and the nearest slice."""
        distances = np.array(self.distances)
        nearest = np.searchsorted((distances[1:] + distances[:-1]) / 2, indices[:, 2] * self.step)
        return np.column_stack([indices[:, :2] + self.start - np.array(self.shifts)[nearest], nearest])

    def _below(self, distance: float) -> int:
        """Return the index of the last slice of the grid at or below a distance; never that of the last slice."""
        return min(int(distance / self.step), self.depth - 2)


def _interpolated(plane: Callable[[int], np.ndarray], below: int, part: float, order: int) -> np.ndarray:
    """Interpolate between a plane and the next; with order 0, return the nearer one."""
    if order == 0:
        return plane(below + (part >= 0.5))
    if part < 1e-4:
        return plane(below)
    if part > 1 - 1e-4:
        return plane(below + 1)
    return (1 - part) * plane(below) + part * plane(below + 1)


def _shifted(
    planes: np.ndarray, offset: np.ndarray, shape: Sequence[int] | np.ndarray, fill: float, order: int
) -> np.ndarray:
    """Return the part of (C, X, Y) that begins at ``offset`` pixels, which may be fractional or outside."""
    for axis, (first, length) in enumerate(zip(offset, shape, strict=True), start=1):
        below = round(first) if order == 0 else int(np.floor(first + 1e-6))
        part = 0.0 if order == 0 else first - below
        planes = _interpolated(partial(_part, planes, axis, length, fill), below, part, 1)
    return planes


def _part(planes: np.ndarray, axis: int, length: int, fill: float, start: int) -> np.ndarray:
    """Return ``length`` pixels along an axis from ``start``, padded with ``fill``."""
    end = planes.shape[axis]
    inside = planes.take(range(min(max(start, 0), end), min(max(start + length, 0), end)), axis)
    border = [(0, 0)] * planes.ndim
    border[axis] = (min(max(-start, 0), length), min(max(start + length - end, 0), length))
    return np.pad(inside, border, constant_values=fill)
