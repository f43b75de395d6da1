"""Positions of the slices of a DICOM series in the patient (PS3.3 C.7.6.2, C.8.2.1), evenly spaced or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_description

from lib.dicomweb.lenient_numbers import number
from lib.dicomweb.matching import tag_of, values_of
from lib.geometry.voxel_grid import VoxelGrid, check_voxel_size

LARGEST_GAP_MM = 10.0
_SAME_PLACE_MM = 0.05
_GAP_TOLERANCE = 0.02
_DISPLACED = 0.1  # fraction of the typical gap by which small differences of the gaps may add up
_DRIFT_MM = 0.5  # tolerated shift from the first to the last slice, less than a pixel: positions are often rounded
_DicomJson = dict[str, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class SliceStack:
    """Parallel slices of equal size, read from DICOM headers, in patient coordinates (LPS, mm).

    Attributes:
        order: Indices into the list of headers, in the order of the stack.
        positions: Image Position (Patient) of each slice in this order, mm, shape (slices, 3).
        row, column: Directions of increasing column index and of increasing row index.
        pixel_spacing: Spacing between columns and between rows, mm.
    """

    order: list[int]
    positions: np.ndarray
    row: np.ndarray
    column: np.ndarray
    pixel_spacing: tuple[float, float]

    @classmethod
    def from_headers(cls, slices: Sequence[_DicomJson]) -> SliceStack:
        """Sort slices along the normal of their plane, regardless of instance numbers and file names.

        Args:
            slices: DICOM JSON of each slice; for multi-frame instances as returned by
                :func:`lib.dicomweb.frames.slice_headers`.

        Raises:
            ValueError: The slices do not form a usable stack: their orientations differ, several have the same
                position, a gap of unevenly spaced slices exceeds ``LARGEST_GAP_MM``, a slice would be displaced by
                more than that if all were evenly spaced, or :func:`lib.geometry.voxel_grid.check_voxel_size` rejects
                the voxels. The message has the numbers.
        """
        orientations = _numbers(slices, "ImageOrientationPatient", 6)
        positions = _numbers(slices, "ImagePositionPatient", 3)
        spacing = _numbers(slices[:1], "PixelSpacing", 2)[0]
        if np.abs(orientations - orientations[0]).max() > 1e-3:
            raise ValueError("slices of different orientation in one series")
        row, column = orientations[0, :3], orientations[0, 3:]
        if abs(np.linalg.norm(np.cross(row, column)) - 1) > 1e-3:
            raise ValueError(f"Image Orientation (Patient) {orientations[0].tolist()} is not a pair of unit vectors")
        order = np.argsort(positions @ np.cross(row, column), kind="stable")
        stack = cls(order.tolist(), positions[order], row, column, (float(spacing[1]), float(spacing[0])))
        _check_gaps(stack)
        check_voxel_size(stack.spacing if len(slices) > 1 else stack.pixel_spacing)
        return stack

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the slices, in the direction of the stack."""
        return np.cross(self.row, self.column)

    @property
    def distances(self) -> np.ndarray:
        """Distance of each slice from the first along the normal, mm, shape (slices,)."""
        return (self.positions - self.positions[0]) @ self.normal

    @property
    def typical_gap(self) -> float:
        """Median distance between adjacent slices, mm."""
        return float(np.median(np.diff(self.distances)))

    @property
    def uneven_gaps(self) -> np.ndarray:
        """Indices of the slices whose distance to the next one is not the typical gap."""
        difference = np.abs(np.diff(self.distances) - self.typical_gap)
        return np.flatnonzero(difference > max(_SAME_PLACE_MM, _GAP_TOLERANCE * self.typical_gap))

    @property
    def is_uneven(self) -> bool:
        """Whether gaps differ, or differ so often by a little that some slices would be at the place of others."""
        even = np.linspace(0, self.distances[-1], len(self.positions))
        displaced = np.abs(self.distances - even).max() > _DISPLACED * self.distances[-1] / max(len(even) - 1, 1)
        return bool(self.uneven_gaps.size or displaced)

    @property
    def tilt_degrees(self) -> float:
        """Gantry tilt: angle between the normal and the line from the first to the last slice, degrees; 0 if none."""
        along = self.positions[-1] - self.positions[0]
        sideways = np.linalg.norm(along - along @ self.normal * self.normal)
        if sideways < _DRIFT_MM:
            return 0.0
        return float(np.degrees(np.arctan2(sideways, along @ self.normal)))

    @property
    def is_regular(self) -> bool:
        """Whether the slices are evenly spaced and not shifted sideways."""
        return not self.is_uneven and not self.tilt_degrees

    @property
    def step(self) -> np.ndarray:
        """Vector between adjacent slices if evenly spaced, mm; not parallel to the normal for a tilted gantry."""
        along = self.positions[-1] - self.positions[0]
        return (along if self.tilt_degrees else along @ self.normal * self.normal) / (len(self.positions) - 1)

    @property
    def displacement_mm(self) -> float:
        """Largest displacement of a slice if all were evenly spaced."""
        even = self.positions[0] + np.arange(len(self.positions))[:, None] * self.step
        return float(np.linalg.norm(self.positions - even, axis=1).max())

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along column, row and slice index if the slices are evenly spaced, mm."""
        return (*self.pixel_spacing, float(np.linalg.norm(self.step)))

    @property
    def direction(self) -> np.ndarray:
        """Direction matrix, 3×3: its columns are the unit vectors of increasing column, row and slice index."""
        return np.column_stack([self.row, self.column, self.step / np.linalg.norm(self.step)])

    def grid(self, rows: int, columns: int, *, exact: bool = False) -> VoxelGrid:
        """Return the grid of a volume of these slices, each with ``rows`` × ``columns`` pixels.

        Args:
            rows: Of each slice.
            columns: Of each slice.
            exact: Also keep what differs from evenly spaced slices by less than a volume needs. Objects of other
                programs state the positions of their frames to a fraction of a pixel.
        """
        return VoxelGrid.from_geometry(
            size=(columns, rows, len(self.positions)),
            origin=self.positions[0],
            spacing=self.spacing,
            direction=self.direction,
            true_positions=None if self.is_regular and not exact else self.positions.round(6),
        )

    def describe_gap(self, index: int) -> str:
        """Return a description of the position of the gap after a slice."""
        first, second = (", ".join(f"{value:.5g}" for value in self.positions[index + end]) for end in (0, 1))
        return f"between the slices at ({first}) and ({second}) mm"


def _check_gaps(stack: SliceStack) -> None:
    """Raise a ValueError if a stack has gaps that are too large to be interpolated."""
    gaps = np.diff(stack.distances)
    if not gaps.size:
        return
    if gaps.min() < _SAME_PLACE_MM:
        count = int((gaps < _SAME_PLACE_MM).sum())
        raise ValueError(f"several different slices at the same position: {count} of {len(gaps) + 1}")
    if not stack.is_uneven:
        return
    largest = max(stack.uneven_gaps, key=lambda index: gaps[index], default=int(gaps.argmax()))
    uneven = (
        f"slices are not evenly spaced: gaps from {gaps.min():.2f} to {gaps.max():.2f} mm, most of them "
        f"{stack.typical_gap:.2f} mm, the largest {stack.describe_gap(largest)}"
    )
    if gaps[largest] > LARGEST_GAP_MM:
        raise ValueError(f"{uneven}; gaps of up to {LARGEST_GAP_MM:g} mm are interpolated")
    if stack.displacement_mm > LARGEST_GAP_MM:
        raise ValueError(f"{uneven}; viewers would show slices displaced by up to {stack.displacement_mm:.1f} mm")


def _numbers(slices: Sequence[_DicomJson], keyword: str, length: int) -> np.ndarray:
    """Return an attribute of each slice, shape (slices, length), or raise a ValueError."""
    rows = [values_of(one, tag_of(keyword) or "") for one in slices]
    if any(len(row) != length for row in rows):
        raise ValueError(f"{dictionary_description(keyword)} is missing or incomplete")
    numbers = np.array([[_number(text, keyword) for text in row] for row in rows])
    if not np.isfinite(numbers).all():
        raise ValueError(f"{dictionary_description(keyword)} is not a number")
    return numbers


def _number(text: str, keyword: str) -> float:
    try:
        return number(text)
    except ValueError:
        raise ValueError(f"{dictionary_description(keyword)} is not a number: {text[:40]!r}") from None
