"""Slices that are tilted or unevenly spaced, brought onto a straight and even grid, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from lib.geometry.voxel_grid import LPS_TO_RAS, VoxelGrid, slice_normal

_EVEN = 0.02  # of a gap, and of a pixel sideways from end to end: smaller deviations are left as they are


@dataclass(frozen=True)
class StraightGrid:
    """A straight and even grid through slices that are neither, and where those lie relative to the first.

    Values are interpolated linearly between the slices, at right angles to them, where they lie in the patient. The
    grid keeps pixels and orientation; it has the first and the last slice, and between them the number of slices that
    makes their distance the typical one. For a tilted gantry it is wider than the slices.

    Attributes:
        distances: Distance of each slice from the first along the normal, mm.
        shifts: Sideways offset of each slice, (columns, rows), in pixels.
    """

    distances: list[float]
    shifts: list[list[float]]

    @classmethod
    def through(cls, grid: VoxelGrid) -> StraightGrid | None:
        """Return the straight grid through the slices of a grid, or None if they are straight and even already."""
        along = grid.slice_positions - grid.slice_positions[0]
        distances = along @ grid.normal
        in_plane = grid.affine[:3, :2]
        shifts = along @ (in_plane / (in_plane**2).sum(0))
        gaps = np.diff(distances)
        if np.ptp(shifts, axis=0).max() < _EVEN and (len(gaps) < 2 or np.ptp(gaps) < _EVEN * gaps.mean()):
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
        """Column and row of the first slice where the grid begins; never above 0."""
        return np.floor(np.min(self.shifts, axis=0) + 1e-6)

    @property
    def depth(self) -> int:
        """Number of its slices."""
        return round(self.distances[-1] / self.step) + 1

    def plane(self, shape: Sequence[int]) -> np.ndarray:
        """Return columns and rows of its slices, for stored slices of ``shape``."""
        highest = np.max(np.array(self.shifts) - self.start, axis=0)
        return np.array(shape) + np.ceil(highest - 1e-6).astype(int)

    def affine(self, affine: np.ndarray) -> np.ndarray:
        """Return the affine of the grid (RAS, mm), from that of the stored slices."""
        affine = LPS_TO_RAS @ affine
        straight = affine.copy()
        straight[:3, 2] = slice_normal(affine) * self.step
        straight[:3, 3] += affine[:3, :2] @ self.start
        return LPS_TO_RAS @ straight

    def straighten(self, slices: np.ndarray, fill: float, order: int, start: int, stop: int) -> np.ndarray:
        """Interpolate some slices of the grid.

        Args:
            slices: All stored slices, shape (C, X, Y, slices).
            fill: Value beside them.
            order: 1 interpolates linearly, 0 takes the nearest slice.
            start: First slice of the grid that is wanted.
            stop: One past the last.

        Returns:
            Shape (C, *plane, stop - start), float32.
        """
        shifts = np.array(self.shifts) - self.start
        plane = self.plane(slices.shape[1:3])

        @lru_cache(maxsize=2)
        def shifted_slice(index: int) -> np.ndarray:
            return _shifted(slices[..., index].astype(np.float32), -shifts[index], plane, fill, order)

        straight = np.empty((len(slices), *plane, stop - start), np.float32)
        for place, distance in enumerate(np.linspace(0, self.distances[-1], self.depth)[start:stop]):
            below = int(np.clip(np.searchsorted(self.distances, distance, "right") - 1, 0, len(self.distances) - 2))
            gap = self.distances[below + 1] - self.distances[below]
            straight[..., place] = _interpolated(shifted_slice, below, (distance - self.distances[below]) / gap, order)
        return straight

    def needed(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first slice of the grid, and one past the last, that ``restore`` needs for stored slices."""
        return self._below(self.distances[start]), self._below(self.distances[stop - 1]) + 2

    def restore(self, straight: np.ndarray, start: int, stop: int, shape: tuple[int, int]) -> np.ndarray:
        """Bring values back onto the stored slices.

        Args:
            straight: The ``needed`` slices of the grid, shape (C, *plane, n).
            start: First stored slice that is wanted.
            stop: One past the last.
            shape: Columns and rows of the stored slices.

        Returns:
            Shape (C, *shape, stop - start), float32.
        """
        first, _ = self.needed(start, stop)
        slices = np.empty((len(straight), *shape, stop - start), np.float32)
        for index in range(start, stop):
            below = self._below(self.distances[index])
            part = self.distances[index] / self.step - below
            plane = _interpolated(lambda place: straight[..., place - first], below, part, 1)
            slices[..., index - start] = _shifted(plane, np.array(self.shifts[index]) - self.start, shape, 0.0, 1)
        return slices

    def _below(self, distance: float) -> int:
        """Return the slice of the grid below a distance; never the last one."""
        return min(int(distance / self.step), self.depth - 2)


def _interpolated(plane: Callable[[int], np.ndarray], below: int, part: float, order: int) -> np.ndarray:
    """Interpolate between a plane and the next; with order 0 return the nearer of the two."""
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
    """Return the part of (C, X, Y) that begins at ``offset`` pixels, which may lie between pixels or outside."""
    for axis, (first, length) in enumerate(zip(offset, shape, strict=True), start=1):
        below = round(first) if order == 0 else int(np.floor(first + 1e-6))
        part = 0.0 if order == 0 else first - below
        planes = _interpolated(partial(_part, planes, axis, length, fill), below, part, 1)
    return planes


def _part(planes: np.ndarray, axis: int, length: int, fill: float, start: int) -> np.ndarray:
    """Return ``length`` pixels along an axis from ``start`` on, with ``fill`` beyond the ends."""
    end = planes.shape[axis]
    inside = planes.take(range(min(max(start, 0), end), min(max(start + length, 0), end)), axis)
    border = [(0, 0)] * planes.ndim
    border[axis] = (min(max(-start, 0), length), min(max(start + length - end, 0), length))
    return np.pad(inside, border, constant_values=fill)
