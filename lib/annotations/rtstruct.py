"""Reader of RT Structure Sets (PS3.3 A.19) from any vendor."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from pydicom.uid import RTStructureSetStorage

from lib.annotations.polygons import fill
from lib.annotations.regions import Region, code_of
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid

# PS3.3 C.8.8.6.3. OsiriX writes INTERPOLATED_PLANAR for closed contours that it interpolated between slices.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR")
_SAME_POINT_MM = 0.01


def read_regions(path: Path, grid: VoxelGrid) -> list[Region]:
    """Read the regions that have a closed contour; if none has, return all of them, with ``drawn`` False.

    Contours of a slice are filled by the even-odd rule, so a contour within another is a hole. An OPEN_PLANAR contour
    is filled only if its last point equals its first. Other OPEN_PLANAR contours, which programs write for structures
    one or two pixels wide or for lines, enclose nothing, as do POINT contours and those without points: they are
    skipped with a warning.

    Args:
        path: The DICOM file.
        grid: Voxel grid of the image.

    Raises:
        UserError: The file is damaged or not a structure set. Damaged contours and those that match no slice raise only
            when the mask of their region is computed.
    """
    try:
        dataset = dcmread(path)
        if dataset.SOPClassUID != RTStructureSetStorage:
            raise UserError(f"The file is {dataset.SOPClassUID.name or dataset.SOPClassUID}, not an RT Structure Set.")
        found = [_roi(dataset, roi, grid) for roi in dataset.StructureSetROISequence]
    except UserError:
        raise
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise UserError(f"The RT Structure Set is damaged or breaks the standard ({error}).") from error
    return [region for region in found if region.drawn] or found


def _roi(dataset: Dataset, roi: Dataset, grid: VoxelGrid) -> Region:
    contours = [
        contour
        for item in dataset.get("ROIContourSequence") or []
        if item.ReferencedROINumber == roi.ROINumber
        for contour in item.get("ContourSequence") or []
    ]
    name = str(roi.get("ROIName", ""))
    codes = tuple(dict.fromkeys(code for item in _observations(dataset, roi) for code in _codes(item)))
    try:
        closed, skipped = _closed(contours)
    except Exception as error:  # pydicom raises many kinds; the other regions can be used
        problem = f"The contours of {name!r} are damaged or break the standard ({error})."
        return Region(name, codes, partial(_refuse, problem), problem=problem)
    warnings = tuple(
        f"{count} contour(s) of type {kind} of {name!r} enclose nothing and are skipped"
        for kind, count in skipped.items()
    )
    return Region(name, codes, partial(_mask, closed, grid), warnings, drawn=bool(closed))


def _closed(contours: list[Dataset]) -> tuple[list[np.ndarray], Counter[str]]:
    """Return the points (n, 3; mm) of each contour that encloses something, and how many of each type do not."""
    closed: list[np.ndarray] = []
    skipped: Counter[str] = Counter()
    for contour in contours:
        kind = str(contour.ContourGeometricType)
        if kind in (*_CLOSED, "OPEN_PLANAR") and _encloses(kind, points := _points(contour)):
            closed.append(points)
        else:
            skipped[kind] += 1
    return closed, skipped


def _refuse(problem: str) -> sitk.Image:
    raise UserError(problem)


def _encloses(kind: str, points: np.ndarray) -> bool:
    """Return whether a planar contour (n, 3) is closed and has an interior."""
    return len(points) > 2 and (kind in _CLOSED or np.abs(points[0] - points[-1]).max() <= _SAME_POINT_MM)


def _observations(dataset: Dataset, roi: Dataset) -> list[Dataset]:
    every = dataset.get("RTROIObservationsSequence") or []
    return [item for item in every if item.ReferencedROINumber == roi.ROINumber]


def _codes(observation: Dataset) -> list[str]:
    """Return the codes of an observation, including its RT ROI Interpreted Type, such as GTV."""
    items = observation.get("RTROIIdentificationCodeSequence") or []
    codes = [code_of(Code(item.CodeValue, item.CodingSchemeDesignator, "")) for item in items]
    kind = observation.get("RTROIInterpretedType")
    return codes + ([f"RTROIInterpretedType:{kind}"] if kind else [])


def _points(contour: Dataset) -> np.ndarray:
    data = np.array(contour.get("ContourData") or [], float)
    if data.size % 3 or not np.isfinite(data).all():
        raise ValueError(f"a contour has {data.size} coordinates, which is not a list of finite 3D points")
    return data.reshape(-1, 3)


def _mask(contours: list[np.ndarray], grid: VoxelGrid) -> sitk.Image:
    by_slice: dict[int, list[np.ndarray]] = {}
    unmatched = []
    for points in contours:
        index = grid.slice_at(points)
        if index is None:
            unmatched.append(points)
        else:
            by_slice.setdefault(index, []).append(grid.to_pixels(points, index))
    if unmatched:
        middle = ", ".join(f"{value:.5g}" for value in unmatched[0].mean(0))
        raise UserError(
            f"{len(unmatched)} of {len(contours)} contours match no slice of the series, the first around ({middle}) "
            "mm: they were drawn on different slices, or on a longer series."
        )
    voxels = np.zeros(grid.shape, np.uint8)
    for index, polygons in by_slice.items():
        low, high = np.concatenate(polygons).min(0), np.concatenate(polygons).max(0)
        if low.min() < -1 or (high > np.array(grid.shape[:0:-1])).any():
            raise UserError("The contours extend beyond the images of the series: they were drawn on another one.")
        voxels[index] = fill(_without_duplicates(polygons), grid.shape[1:])
    return grid.mask(voxels)


def _without_duplicates(polygons: list[np.ndarray]) -> list[np.ndarray]:
    """Remove repeated contours: some programs write one twice, which the even-odd rule would leave empty.

    The second one may begin at another corner, run in the other direction, or repeat its first point at the end.
    """
    return list({_edges(polygon): polygon for polygon in polygons}.values())


def _edges(polygon: np.ndarray) -> frozenset[frozenset[tuple[float, ...]]]:
    corners = [tuple(corner) for corner in (polygon.round(3) + 0.0).tolist()]  # + 0.0: no -0.0
    pairs = zip(corners, [*corners[1:], corners[0]], strict=True)
    return frozenset(frozenset(pair) for pair in pairs if pair[0] != pair[1])
