"""Readings of LIDC-IDRI: XML with the outlines that up to four radiologists drew (Armato et al. 2011)."""

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

AGREEING_READERS = 2
_NAMESPACE = "{http://www.nih.gov}"
_CODE = "SCT:27925004"  # Nodule
_NEAR_MM = 0.2


def read_regions(path: Path, grid: VoxelGrid, slice_of: Mapping[str, int] | None = None) -> list[Region]:
    """One region: the voxels that at least two readers have within a nodule; none where fewer than two drew any.

    An outline is of the first pixels outside, so they are not in. Nodules under 3 mm, which are marked by one point,
    and what is marked as no nodule are left out.

    Args:
        path: The XML file.
        grid: Where the voxels of the image lie; axial slices.
        slice_of: Slice index of each SOPInstanceUID; where it is not given, outlines go by their z position.

    Raises:
        UserError: It is no such file, or damaged. That it does not fit the image is said when the mask is asked for.
    """
    try:
        root = ElementTree.parse(path).getroot()
        if root.tag != f"{_NAMESPACE}LidcReadMessage":
            raise UserError(f"It is {root.tag!r}, not a LidcReadMessage of a CT.")
        readers = [_outlines(session) for session in root.iter(f"{_NAMESPACE}readingSession")]
    except (ElementTree.ParseError, OSError, TypeError, ValueError) as error:
        raise UserError(f"The XML of LIDC-IDRI is damaged ({error}).") from error
    if sum(map(bool, readers)) < AGREEING_READERS:
        return []
    name = f"nodules of {AGREEING_READERS} or more of {len(readers)} readers"
    return [Region(name, (_CODE,), lambda: _agreed(readers, grid, slice_of or {}))]


# Of one outline: SOPInstanceUID, z (mm), whether it encloses a part of the nodule or of what is not; corners (n, 2).
_Outline = tuple[str, float, bool, np.ndarray]


def _outlines(session: ElementTree.Element) -> list[list[_Outline]]:
    """The outlines of each nodule of a reader."""
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


def _agreed(readers: list[list[list[_Outline]]], grid: VoxelGrid, slice_of: Mapping[str, int]) -> sitk.Image:
    if abs(grid.normal[2]) < 0.99:
        raise UserError("Readings of LIDC-IDRI are of axial slices; the series has others.")
    votes = np.zeros(grid.shape, np.uint8)
    for reader in readers:
        marked = np.zeros(grid.shape, bool)
        for nodule in reader:
            marked |= _nodule(nodule, grid, slice_of)
        votes += marked
    return grid.mask(votes >= AGREEING_READERS)


def _nodule(outlines: list[_Outline], grid: VoxelGrid, slice_of: Mapping[str, int]) -> np.ndarray:
    inside, outside = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    for sop_uid, z, included, edge in outlines:
        place = slice_of.get(sop_uid)
        if place is None:
            distances = np.abs(grid.slice_positions[:, 2] - z)
            place = int(distances.argmin())
            if distances[place] > _NEAR_MM:
                raise UserError(f"An outline at z = {z:g} mm lies on no slice of the series.")
        if edge.min() < 0 or (edge.max(0) >= grid.shape[:0:-1]).any():
            raise UserError(f"An outline at z = {z:g} mm reaches beyond the images of the series.")
        interior = fill([edge.astype(float)], grid.shape[1:])
        interior[edge[:, 1], edge[:, 0]] = False
        (inside if included else outside)[place] |= interior
    return inside & ~outside
