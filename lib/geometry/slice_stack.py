"""Where the slices of a series lie in the patient (PS3.3 C.7.6.2, C.8.2.1), evenly stacked or not.

Which grid is used where. There is one: the real slices, in order along their normal. OHIF stacks them so, labels
are stored on them, a mask is answered on them, and the volume that Slicer loads has them as its slices. One affine
says where they lie if they are evenly spaced; for a tilted gantry it is a sheared one, which NRRD can hold. Slices
with small gaps between them have no affine: their volume gets the one that spreads them evenly, as viewers draw
them, and carries their true positions beside it. Only the network needs a straight and even grid.
``lib.geometry.straight_grid`` makes it from the true positions, and brings the mask back onto the real slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_description

from lib.dicomweb.lenient_numbers import number
from lib.dicomweb.matching import tag_of, values_of

LARGEST_GAP_MM = 10.0
SLICE_POSITIONS = "slice_positions"  # metadata of a volume: JSON of SliceStack.positions
_SAME_PLACE_MM = 0.05
_GAP_TOLERANCE = 0.02
_VOXEL_MM = (0.1, 20.0)
_DRIFT_MM = 0.5  # sideways from slice to slice, less than a pixel: positions are often rounded
_DicomJson = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class SliceStack:
    """Parallel slices of one size, in DICOM's patient coordinates (LPS, mm).

    Attributes:
        order: Places of the slices in the list given, along the stack.
        positions: (slices, 3); centre of the first pixel of each, mm, in this order.
        row, column: Directions of increasing column index and of increasing row index.
        pixel_spacing: Between columns, between rows, mm.
    """

    order: list[int]
    positions: np.ndarray
    row: np.ndarray
    column: np.ndarray
    pixel_spacing: tuple[float, float]

    @property
    def normal(self) -> np.ndarray:
        """Direction in which the slices follow each other, at right angles to them."""
        return np.cross(self.row, self.column)

    @property
    def distances(self) -> np.ndarray:
        """(slices,); of each from the first along the normal, mm."""
        return (self.positions - self.positions[0]) @ self.normal

    @property
    def typical_gap(self) -> float:
        """Distance of most slices from the next, mm."""
        return float(np.median(np.diff(self.distances)))

    @property
    def uneven_gaps(self) -> np.ndarray:
        """Places of the slices after which the gap is not the typical one."""
        difference = np.abs(np.diff(self.distances) - self.typical_gap)
        return np.flatnonzero(difference > max(_SAME_PLACE_MM, _GAP_TOLERANCE * self.typical_gap))

    @property
    def tilt_degrees(self) -> float:
        """Angle between the normal and the line from slice to slice: that of the gantry; 0 where it is none."""
        along = self.positions[-1] - self.positions[0]
        sideways = np.linalg.norm(along - along @ self.normal * self.normal)
        if sideways < _DRIFT_MM:
            return 0.0
        return float(np.degrees(np.arctan2(sideways, along @ self.normal)))

    @property
    def is_regular(self) -> bool:
        """Whether they are evenly spaced and straight above each other."""
        return not self.uneven_gaps.size and not self.tilt_degrees

    @property
    def step(self) -> np.ndarray:
        """From one slice to the next where they are spread evenly, mm; sideways too for a tilted gantry."""
        along = self.positions[-1] - self.positions[0]
        return (along if self.tilt_degrees else along @ self.normal * self.normal) / (len(self.positions) - 1)

    @property
    def displacement_mm(self) -> float:
        """How far from its place a slice is where they are spread evenly, at most."""
        even = self.positions[0] + np.arange(len(self.positions))[:, None] * self.step
        return float(np.linalg.norm(self.positions - even, axis=1).max())

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along column index, row index and slice index, mm, where they are spread evenly."""
        return (*self.pixel_spacing, float(np.linalg.norm(self.step)))

    @property
    def direction(self) -> np.ndarray:
        """3×3; its columns are the directions of column index, row index and slice index."""
        return np.column_stack([self.row, self.column, self.step / np.linalg.norm(self.step)])


def slice_stack(slices: Sequence[_DicomJson]) -> SliceStack:
    """Order slices along the normal of their plane, whatever their instance numbers or file names say.

    Args:
        slices: DICOM JSON of each slice.

    Raises:
        ValueError: They cannot be shown and segmented as one stack; the message says why, with the numbers. That is
            so if they lie in different planes or several at one place, if a gap between two that are not evenly
            spaced is over ``LARGEST_GAP_MM``, if one would be so far from its place when all are spread evenly, or if
            ``check_voxel_size`` refuses their voxels.
    """
    orientations = _numbers(slices, "ImageOrientationPatient", 6)
    positions = _numbers(slices, "ImagePositionPatient", 3)
    spacing = _numbers(slices[:1], "PixelSpacing", 2)[0]
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise ValueError("slices of different orientation in one series")
    row, column = orientations[0, :3], orientations[0, 3:]
    if abs(np.linalg.norm(np.cross(row, column)) - 1) > 1e-3:
        raise ValueError(f"Image Orientation (Patient) {orientations[0].tolist()} is no pair of directions")
    order = np.argsort(positions @ np.cross(row, column), kind="stable")
    stack = SliceStack(order.tolist(), positions[order], row, column, (float(spacing[1]), float(spacing[0])))
    _refuse(stack)
    check_voxel_size(stack.spacing if len(slices) > 1 else stack.pixel_spacing)
    return stack


def check_voxel_size(spacing: Sequence[float]) -> None:
    """Refuse voxels of a size that no scan of a chest has: the field of a network would be of none or of too many.

    Args:
        spacing: Along each axis, mm.

    Raises:
        ValueError: It is not from 0.1 to 20 mm.
    """
    low, high = _VOXEL_MM
    if not all(low <= length <= high for length in spacing):
        sizes = " × ".join(f"{length:.4g}" for length in spacing)
        raise ValueError(f"voxels of {sizes} mm; those of a chest CT are from {low:g} to {high:g} mm")


def _refuse(stack: SliceStack) -> None:
    """Raise a ValueError for a stack that cannot be bridged."""
    gaps = np.diff(stack.distances)
    if not gaps.size:
        return
    if gaps.min() < _SAME_PLACE_MM:
        count = int((gaps < _SAME_PLACE_MM).sum())
        raise ValueError(f"several slices at one position, {count} of {len(gaps) + 1}, that differ")
    if not stack.uneven_gaps.size:
        return
    where = max(stack.uneven_gaps, key=lambda place: gaps[place])
    uneven = (
        f"slices are not evenly spaced: gaps from {gaps.min():.2f} to {gaps.max():.2f} mm where most are "
        f"{stack.typical_gap:.2f} mm, the largest {between(stack, where)}"
    )
    if gaps[where] > LARGEST_GAP_MM:
        raise ValueError(f"{uneven}; up to {LARGEST_GAP_MM:g} mm are bridged")
    if stack.displacement_mm > LARGEST_GAP_MM:
        raise ValueError(f"{uneven}; viewers would show slices up to {stack.displacement_mm:.1f} mm off their place")


def between(stack: SliceStack, place: int) -> str:
    """Say where the gap after a slice is."""
    first, second = (", ".join(f"{value:.5g}" for value in stack.positions[place + end]) for end in (0, 1))
    return f"between the slices at ({first}) and ({second}) mm"


def _numbers(slices: Sequence[_DicomJson], keyword: str, length: int) -> np.ndarray:
    rows = [values_of(one, tag_of(keyword) or "") for one in slices]
    if any(len(row) != length for row in rows):
        raise ValueError(f"{dictionary_description(keyword)} is missing or incomplete")
    numbers = np.array([[_number(text, keyword) for text in row] for row in rows])
    if not np.isfinite(numbers).all():
        raise ValueError(f"{dictionary_description(keyword)} is no number")
    return numbers


def _number(text: str, keyword: str) -> float:
    try:
        return number(text)
    except ValueError:
        raise ValueError(f"{dictionary_description(keyword)} is no number: {text[:40]!r}") from None
