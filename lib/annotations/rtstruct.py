"""Regions of interest of RT Structure Sets (PS3.3 A.19), whoever made them."""

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

# PS3.3 C.8.8.6.3. OsiriX calls its closed contours INTERPOLATED_PLANAR where it interpolated them between slices.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR")
_SAME_POINT_MM = 0.01


def read_regions(path: Path, grid: VoxelGrid) -> list[Region]:
    """Read the regions that have a closed contour; where none has, all of them, which are not drawn.

    A voxel is in a region if its centre is within an odd number of the contours of its slice, so that a contour
    within another is a hole. An OPEN_PLANAR contour is filled where it ends at its first point; another encloses
    nothing, as a POINT does: programs write so what is one or two pixels wide, or a line. It is left out with a
    warning.

    Args:
        path: The DICOM file.
        grid: Where the voxels of the image lie.

    Raises:
        UserError: It is no structure set, or damaged. That contours lie off the slices is said when the mask is
            asked for.
    """
    try:
        dataset = dcmread(path)
        if dataset.SOPClassUID != RTStructureSetStorage:
            raise UserError(f"It is {dataset.SOPClassUID.name or dataset.SOPClassUID}, not an RT Structure Set.")
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
    closed: list[np.ndarray] = []
    left_out: Counter[str] = Counter()
    for contour in contours:
        kind = str(contour.ContourGeometricType)
        if kind in (*_CLOSED, "OPEN_PLANAR") and _encloses(kind, points := _points(contour)):
            closed.append(points)
        else:
            left_out[kind] += 1
    warnings = tuple(
        f"{count} contour(s) of type {kind} of {name!r} enclose nothing and are left out"
        for kind, count in left_out.items()
    )
    codes = tuple(dict.fromkeys(code for item in _observations(dataset, roi) for code in _codes(item)))
    return Region(name, codes, partial(_mask, closed, grid), warnings, drawn=bool(closed))


def _encloses(kind: str, points: np.ndarray) -> bool:
    """Tell whether a planar contour (n, 3) has an inside."""
    return len(points) > 2 and (kind in _CLOSED or np.abs(points[0] - points[-1]).max() <= _SAME_POINT_MM)


def _observations(dataset: Dataset, roi: Dataset) -> list[Dataset]:
    every = dataset.get("RTROIObservationsSequence") or []
    return [item for item in every if item.ReferencedROINumber == roi.ROINumber]


def _codes(observation: Dataset) -> list[str]:
    """Codes of an observation; its RT ROI Interpreted Type, such as GTV, as one too."""
    items = observation.get("RTROIIdentificationCodeSequence") or []
    codes = [code_of(Code(item.CodeValue, item.CodingSchemeDesignator, "")) for item in items]
    kind = observation.get("RTROIInterpretedType")
    return codes + ([f"RTROIInterpretedType:{kind}"] if kind else [])


def _points(contour: Dataset) -> np.ndarray:
    data = np.array(contour.ContourData or [], float)
    if not data.size or data.size % 3 or not np.isfinite(data).all():
        raise ValueError(f"a contour with {data.size} numbers, which are no points in space")
    return data.reshape(-1, 3)


def _mask(contours: list[np.ndarray], grid: VoxelGrid) -> sitk.Image:
    on_slices: dict[int, list[np.ndarray]] = {}
    off = []
    for points in contours:
        place = grid.slice_at(points)
        if place is None:
            off.append(points)
        else:
            on_slices.setdefault(place, []).append(grid.to_pixels(points, place))
    if off:
        middle = ", ".join(f"{value:.5g}" for value in off[0].mean(0))
        raise UserError(
            f"{len(off)} of {len(contours)} contours lie on no slice of the series, the first around ({middle}) mm: "
            "it was drawn on other slices than these, or on a longer series."
        )
    voxels = np.zeros(grid.shape, np.uint8)
    for place, polygons in on_slices.items():
        low, high = np.concatenate(polygons).min(0), np.concatenate(polygons).max(0)
        if low.min() < -1 or (high > np.array(grid.shape[:0:-1])).any():
            raise UserError("Its contours reach beyond the images of the series: it was drawn on another one.")
        voxels[place] = fill(_without_copies(polygons), grid.shape[1:])
    return grid.mask(voxels)


def _without_copies(polygons: list[np.ndarray]) -> list[np.ndarray]:
    """Some programs write a contour twice, which would turn it into a hole of itself."""
    return list({polygon.round(3).tobytes(): polygon for polygon in polygons}.values())
