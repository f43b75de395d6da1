"""Reader of LUNA16: nodules given by centre and diameter, drawn as spheres that show position, not outline."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.public_sets.case import Case, CaseLabel, PublicSet, digest
from lib.public_sets.text_tables import read_rows

KIND = "luna16"
TITLE = "LUNA16"
PUBLISHED_SCANS = 888
SPHERES = "spheres of the given diameters around the given centres: they show where nodules are, and are no outlines"
_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
_LARGEST_MM = 300  # a chest; programs that take the decimal point for a thousands separator write millions
_LUNG_MASKS = "seg-lungs"  # folder next to the subsets, whose files have the same names as the scans


class Nodule(NamedTuple):
    """Centre in patient coordinates (LPS, mm) and diameter (mm) of a nodule."""

    x: float
    y: float
    z: float
    diameter: float


def find_luna16(source: Path) -> PublicSet:
    """Read ``annotations.csv`` and find the scans ``<SeriesInstanceUID>.mhd``.

    Args:
        source: Absolute path of the folder with ``subset0`` … ``subset9`` and, at any depth, ``annotations.csv``.

    Raises:
        UserError: There is no ``annotations.csv``, or it is another table.
    """
    table = _table(source)
    nodules = read_nodules(table)
    scans: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(source.rglob("*.mhd")):
        if not _is_lung_mask(path.relative_to(source)):
            scans[path.stem].append(path)
    where = str(table.relative_to(source))
    found = [uid for uid in sorted(nodules) if uid in scans]
    cases = [_case(scans[uid][0], where, nodules[uid]) for uid in found if len(scans[uid]) == 1]
    failures = [
        (uid, f"it is there {len(paths)} times: {', '.join(str(path.relative_to(source)) for path in paths)}; keep one")
        for uid in found
        if len(paths := scans[uid]) > 1
    ]
    if not scans:
        raise UserError(f"There is no scan (.mhd) in {source} or below. Unpack a subset there.")
    absent, without = len(nodules) - len(found), len(scans) - len(found)
    remarks = [
        f"{where} has {sum(map(len, nodules.values()))} nodules in {len(nodules)} scans; {len(found)} of these scans "
        f"are here{f', {absent} are not (subsets not downloaded?)' if absent else ''}.",
        f"{len(scans)} of the {PUBLISHED_SCANS} published scans are here. {without} have no nodule in the table; they "
        "get no label, since the table omits nodules seen by fewer than three readers.",
        f"The labels are {SPHERES}.",
    ]
    return PublicSet(KIND, TITLE, cases, failures, remarks)


def read_nodules(table: Path) -> dict[str, list[Nodule]]:
    """Read the nodules of each scan, by SeriesInstanceUID.

    Raises:
        UserError: A column is missing or a line is damaged.
    """
    nodules: dict[str, list[Nodule]] = defaultdict(list)
    columns, rows = read_rows(table)
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise UserError(f"{table} has no column {', '.join(missing)}; it is not the annotations.csv of LUNA16.")
    for line, row in rows:
        try:
            nodule = Nodule(*(float(row[column]) for column in _COLUMNS[1:]))
        except (KeyError, ValueError):
            nodule = Nodule(*[np.nan] * 4)
        uid = row["seriesuid"].strip()
        if not (uid and np.isfinite(nodule).all() and 0 < nodule.diameter <= _LARGEST_MM):
            raise UserError(
                f"Line {line} of {table} is damaged: {', '.join(row.values())}. It must have a seriesuid, coordinates "
                f"and a diameter up to {_LARGEST_MM} mm."
            )
        nodules[uid].append(nodule)
    return dict(nodules)


def draw_spheres(volume: Path, nodules: list[Nodule]) -> sitk.Image:
    """Draw spheres on the grid of a volume: all voxels whose centres are inside, and always the one nearest the centre.

    Raises:
        UserError: A centre is outside the volume.
    """
    grid = VoxelGrid.from_file(volume)
    mask = np.zeros(grid.size, np.uint8)
    voxels_per_mm = np.linalg.norm(grid.inverse[:3, :3], axis=1)
    for nodule in nodules:
        center, radius = np.array(nodule[:3]), nodule.diameter / 2
        nearest = _nearest_voxel(grid, center)
        reach = np.ceil(radius * voxels_per_mm).astype(int) + 1
        low, high = np.maximum(nearest - reach, 0), np.minimum(nearest + reach + 1, grid.size)
        box = tuple(slice(*ends) for ends in zip(low, high, strict=True))
        index = np.stack(np.meshgrid(*(np.arange(*ends) for ends in zip(low, high, strict=True)), indexing="ij"), -1)
        distance = np.linalg.norm(grid.to_mm(index) - center, axis=-1)
        mask[box] |= distance <= radius
        mask[tuple(nearest)] = 1
    return grid.image(mask.transpose())


def _case(scan: Path, where: str, nodules: list[Nodule]) -> Case:
    def check() -> bool:
        grid = VoxelGrid.from_file(scan)
        for nodule in nodules:
            _nearest_voxel(grid, np.array(nodule[:3]))
        return True

    def make_label(volume: Path) -> CaseLabel:
        count = len(nodules)
        return CaseLabel(draw_spheres(volume, nodules), (f"{count} nodule{'s' if count > 1 else ''}",), SPHERES)

    return Case(scan.stem, scan, where, digest([], sorted(nodules)), check, make_label)


def _nearest_voxel(grid: VoxelGrid, center: np.ndarray) -> np.ndarray:
    """Return the index of the voxel nearest to a point (mm), or raise a UserError for a point outside."""
    nearest = np.rint(grid.inverse[:3, :3] @ center + grid.inverse[:3, 3]).astype(int)
    if (nearest < 0).any() or (nearest >= grid.size).any():
        place = ", ".join(f"{value:.1f}" for value in center)
        raise UserError(f"a nodule at ({place}) mm is outside the scan; does this annotations.csv belong to it?")
    return nearest


def _table(source: Path) -> Path:
    tables = sorted(source.rglob("annotations.csv"), key=lambda path: len(path.parts))
    if not tables:
        raise UserError(
            f"There is no annotations.csv in {source} or below. Put that of LUNA16 next to its subset folders."
        )
    return tables[0]


def _is_lung_mask(path: Path) -> bool:
    return path.name.startswith(".") or any(part.startswith(_LUNG_MASKS) for part in path.parts)
