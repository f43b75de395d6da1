"""Reader of LIDC-IDRI annotations: XML with the outlines drawn by up to four radiologists (Armato et al. 2011)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import SimpleITK as sitk

from lib.annotations.polygons import fill
from lib.annotations.regions import Region
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid

MIN_READERS = 2
_NAMESPACE = "{http://www.nih.gov}"
_CODE = "SCT:27925004"  # Nodule
_SLICE_TOLERANCE_MM = 0.2


def read_regions(path: Path, grid: VoxelGrid, slice_of: Mapping[str, int] | None = None) -> list[Region]:
    """Read the consensus of the readers as one region: voxels inside a nodule for at least two of them.

    An outline runs through the first pixels outside the nodule, so its own pixels are excluded. Nodules below 3 mm,
    which are marked by a single point, and non-nodules are skipped.

    Args:
        path: The XML file.
        grid: Voxel grid of the image, with axial slices.
        slice_of: Slice index by SOPInstanceUID; outlines without an entry are placed by their z position.

    Returns:
        One region, or none if fewer than two readers outlined a nodule.

    Raises:
        UserError: The file is damaged or not a LidcReadMessage. Outlines that do not fit the image raise only when the
            mask is computed.
    """
    readers = _read(path)
    if sum(map(bool, readers)) < MIN_READERS:
        return []
    name = f"nodules of {MIN_READERS} or more of {len(readers)} readers"
    return [Region(name, (_CODE,), lambda: _consensus(readers, grid, slice_of or {}))]


def read_masks(path: Path, grid: VoxelGrid, slice_of: Mapping[str, int] | None = None) -> list[np.ndarray]:
    """Read what each reader outlined, by the same rules as `read_regions`.

    Args:
        path: The XML file.
        grid: Voxel grid of the image, with axial slices.
        slice_of: Slice index by SOPInstanceUID; outlines without an entry are placed by their z position.

    Returns:
        Mask of each reader in the order of the file, (slice, row, column), bool; empty if the reader outlined nothing.

    Raises:
        UserError: The file is damaged or not a LidcReadMessage, or its outlines do not fit the image.
    """
    return [_reader_mask(reader, grid, slice_of or {}) for reader in _read(path)]


def _read(path: Path) -> list[list[list[_Outline]]]:
    """Return the outlines of each nodule of each reader."""
    try:
        root = ElementTree.parse(path).getroot()
        if root.tag != f"{_NAMESPACE}LidcReadMessage":
            raise UserError(f"The root element is {root.tag!r}, not a LidcReadMessage of a CT.")
        return [_outlines(session) for session in root.iter(f"{_NAMESPACE}readingSession")]
    except (ElementTree.ParseError, LookupError, OSError, TypeError, ValueError) as error:
        raise UserError(f"The LIDC-IDRI XML file is damaged ({error}).") from error


# SOPInstanceUID, z (mm), whether the outline is included in the nodule or excluded from it, corners (n, 2: x, y).
_Outline = tuple[str, float, bool, np.ndarray]


def _outlines(session: ElementTree.Element) -> list[list[_Outline]]:
    """Return the outlines of each nodule of one reader."""
    nodules = []
    for nodule in session.iter(f"{_NAMESPACE}unblindedReadNodule"):
        outlines = [_outline(roi) for roi in nodule.iter(f"{_NAMESPACE}roi")]
        if outlines := [outline for outline in outlines if len(outline[3]) > 1]:
            nodules.append(outlines)
    return nodules


def _outline(roi: ElementTree.Element) -> _Outline:
    def text(name: str) -> str:
        return (roi.findtext(f"{_NAMESPACE}{name}") or "").strip()

    edge = [
        [int(point.findtext(f"{_NAMESPACE}{axis}") or "") for axis in ("xCoord", "yCoord")]
        for point in roi.iter(f"{_NAMESPACE}edgeMap")
    ]
    return text("imageSOP_UID"), float(text("imageZposition")), text("inclusion").upper() != "FALSE", np.array(edge)


def _consensus(readers: list[list[list[_Outline]]], grid: VoxelGrid, slice_of: Mapping[str, int]) -> sitk.Image:
    votes = np.zeros(grid.shape, np.uint8)
    for reader in readers:
        votes += _reader_mask(reader, grid, slice_of)
    return grid.mask(votes >= MIN_READERS)


def _reader_mask(nodules: list[list[_Outline]], grid: VoxelGrid, slice_of: Mapping[str, int]) -> np.ndarray:
    if abs(grid.normal[2]) < 0.99:
        raise UserError("LIDC-IDRI annotations need axial slices; those of the series are not axial.")
    marked = np.zeros(grid.shape, bool)
    for nodule in nodules:
        marked |= _nodule_mask(nodule, grid, slice_of)
    return marked


def _nodule_mask(outlines: list[_Outline], grid: VoxelGrid, slice_of: Mapping[str, int]) -> np.ndarray:
    inside, outside = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    for sop_uid, z, included, edge in outlines:
        index = slice_of.get(sop_uid)
        if index is None:
            distances = np.abs(grid.slice_positions[:, 2] - z)
            index = int(distances.argmin())
            if not distances[index] <= _SLICE_TOLERANCE_MM:  # or if z is not a number
                raise UserError(f"An outline at z = {z:g} mm matches no slice of the series.")
        if edge.min() < 0 or (edge.max(0) >= grid.shape[:0:-1]).any():
            raise UserError(f"An outline at z = {z:g} mm extends beyond the images of the series.")
        interior = fill([edge.astype(float)], grid.shape[1:])
        interior[edge[:, 1], edge[:, 0]] = False
        (inside if included else outside)[index] |= interior
    return inside & ~outside
