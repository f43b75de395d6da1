"""Whether the slices of a series form one regular grid, and which (PS3.3 C.7.6.2, C.8.2.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.dicomweb.matching import tag_of, values_of

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MIN_SLICES = 3
_GAP_TOLERANCE_MM = 0.05
_GAP_TOLERANCE = 0.02
_TILT_TOLERANCE_DEGREES = 0.5
_DicomJson = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class SliceGrid:
    """The grid of a stack of slices, in DICOM's patient coordinates (LPS, mm).

    Attributes:
        order: Positions of the slices in the list given, along the stack.
        origin: Centre of the first voxel, mm.
        spacing: Voxel size along column index, row index and slice index, mm.
        direction: 3×3; its columns are the directions of column index, row index and slice index.
    """

    order: list[int]
    origin: tuple[float, float, float]
    spacing: tuple[float, float, float]
    direction: np.ndarray


def series_problem(modality: str, instances: Sequence[_DicomJson]) -> str | None:
    """Say why a series cannot be segmented, or None if it can.

    Args:
        modality: Modality of the series.
        instances: DICOM JSON of its instances. Where a PACS did not send positions, they are taken on trust
            here and checked when the volume is loaded.
    """
    if modality != "CT":
        return f"modality {modality or 'missing'}; only CT is segmented"
    classes = {value for instance in instances for value in _get(instance, "SOPClassUID")}
    if classes - {CT_IMAGE_STORAGE}:
        return "not plain CT images (secondary capture, enhanced multi-frame or a report)"
    if any("LOCALIZER" in _get(instance, "ImageType") for instance in instances):
        return "a localizer (scout), not a scan"
    if len(instances) < MIN_SLICES:
        return f"{len(instances)} slice(s); at least {MIN_SLICES} are needed for a volume"
    for keyword, what in (
        ("Rows", "image heights"),
        ("Columns", "image widths"),
        ("PixelSpacing", "pixel sizes"),
    ):
        kinds = Counter(tuple(_get(instance, keyword)) for instance in instances)
        if len(kinds) > 1:
            return f"slices of different {what}: {', '.join('×'.join(kind) or 'none' for kind in kinds)}"
    if not all(_get(instance, "ImagePositionPatient") for instance in instances):
        if any(_get(instance, "ImagePositionPatient") for instance in instances):
            return "some slices have no Image Position (Patient)"
        return None
    try:
        slice_grid(instances)
    except ValueError as error:
        return str(error)
    return None


def slice_grid(instances: Sequence[_DicomJson]) -> SliceGrid:
    """Work out the grid of a stack of slices.

    Slices are ordered along the normal of their plane (row direction × column direction), whatever their
    instance numbers or file names say.

    Raises:
        ValueError: They are no regular grid; the message says why, with the numbers.
    """
    orientations = _numbers(instances, "ImageOrientationPatient", 6)
    positions = _numbers(instances, "ImagePositionPatient", 3)
    pixel_spacing = _numbers(instances[:1], "PixelSpacing", 2)[0]
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise ValueError("slices of different orientation in one series")
    row, column = orientations[0, :3], orientations[0, 3:]
    normal = np.cross(row, column)
    if abs(np.linalg.norm(normal) - 1) > 1e-3:
        raise ValueError(f"Image Orientation (Patient) {orientations[0].tolist()} is no pair of directions")
    distances = positions @ normal
    order = np.argsort(distances, kind="stable")
    gaps = np.diff(distances[order])
    typical = float(np.median(gaps))
    if gaps.min() < _GAP_TOLERANCE_MM:
        raise ValueError("several slices at one position")
    if np.abs(gaps - typical).max() > max(_GAP_TOLERANCE_MM, _GAP_TOLERANCE * typical):
        raise ValueError(
            f"slices are not evenly spaced: gaps from {gaps.min():.2f} to {gaps.max():.2f} mm "
            f"where most are {typical:.2f} mm"
        )
    along = positions[order[-1]] - positions[order[0]]
    tilt = np.degrees(np.arccos(np.clip(along @ normal / np.linalg.norm(along), -1, 1)))
    if tilt > _TILT_TOLERANCE_DEGREES:
        raise ValueError(f"gantry tilt of {tilt:.1f}°: the slices are sheared against each other")
    return SliceGrid(
        order=order.tolist(),
        origin=tuple(positions[order[0]].tolist()),
        spacing=(pixel_spacing[1], pixel_spacing[0], float(gaps.mean())),
        direction=np.column_stack([row, column, normal]),
    )


def _get(instance: _DicomJson, keyword: str) -> list[str]:
    return values_of(instance, tag_of(keyword) or "")


def _numbers(instances: Sequence[_DicomJson], keyword: str, length: int) -> np.ndarray:
    rows = [_get(instance, keyword) for instance in instances]
    if any(len(row) != length for row in rows):
        raise ValueError(f"{keyword} is missing or incomplete")
    return np.array(rows, dtype=float)
