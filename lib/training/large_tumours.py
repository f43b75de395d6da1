"""Large tumours set into whole scans, many of them at the chest wall or the mediastinum: enlarged shapes of nodules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.evaluation.composed_scans import APART_MM, Volume, grown, keep_apart
from lib.evaluation.metrics import sphere_diameter

DIAMETERS_MM = (16.0, 60.0)
LEAST_TO_ENLARGE_MM = 8.0
"""Diameter of the smallest nodule whose shape is used; of smaller ones, few voxels show the shape."""
_SHARE_AT_WALL = 0.6
_SHARE_CAVITY = 0.15
_TISSUE_HU = (-10.0, 90.0)  # mean of a tumour, with and without contrast medium
_TEXTURE_HU = (5.0, 30.0)  # standard deviation of its texture
_TEXTURE_MM = 1.5
_CAVITY_HU = (-950.0, -800.0)
_LEAST_WALL_MM = 4.0  # of a cavity
_EDGE_MM = 1.5  # width of the soft edge
_RIM_MM = 2.0  # between air of the lung and its wall, filled too so that no dark line is left
_LEAST_SHARE_IN_LUNG = 0.35  # of the whole shape; the wall takes the place of the rest
_TRIES = 50


@dataclass(frozen=True)
class Shape:
    """Shape of a nodule.

    Attributes:
        depth_mm: Distance to the surface, positive inside, (X, Y, Z).
        spacing: Voxel spacing in mm.
        diameter_mm: Diameter of the ball with its volume.
    """

    depth_mm: np.ndarray
    spacing: tuple[float, float, float]
    diameter_mm: float

    @classmethod
    def of(cls, nodule: Volume) -> Shape:
        """Return the shape of a crop's nodule."""
        mask = np.pad(nodule.mask, 2)
        inside = ndimage.distance_transform_edt(mask, sampling=nodule.spacing)
        outside = ndimage.distance_transform_edt(~mask, sampling=nodule.spacing)
        return cls(inside - outside, nodule.spacing, sphere_diameter(mask.sum() * float(np.prod(nodule.spacing))))

    def enlarged(self, diameter_mm: float, spacing: Sequence[float]) -> np.ndarray:
        """Return the depth in mm of the shape with another diameter, on another grid."""
        zoom = diameter_mm / self.diameter_mm
        factors = [zoom * own / other for own, other in zip(self.spacing, spacing, strict=True)]
        return zoom * ndimage.zoom(self.depth_mm.astype(np.float32), factors, order=1, mode="nearest")


def insert_large_tumours(
    scan: Volume, lung: np.ndarray, shapes: Sequence[Shape], rng: np.random.Generator
) -> tuple[Volume, int]:
    """Set tumours of soft tissue into the lungs of a scan, apart from each other and from the scan's own lesions.

    Where a tumour reaches beyond the lung, the chest wall or the mediastinum stays, as with tumours that have a broad
    base there. Some have a cavity, which belongs to the lesion.

    Args:
        scan: Scan; not modified.
        lung: Lung mask of the scan with its vessels, bool, (X, Y, Z).
        shapes: One for each tumour.
        rng: Generator of sizes, densities and positions.

    Returns:
        The new volume, and the number of tumours for which there was a position.
    """
    hu, mask = scan.hu.copy(), scan.mask.copy()
    depth_in_lung = ndimage.distance_transform_edt(lung, sampling=scan.spacing)
    open_to = ndimage.distance_transform_edt(~lung, sampling=scan.spacing) <= _RIM_MM
    free = ~grown(mask, scan.spacing, APART_MM)
    placed = 0
    for shape in shapes:
        depth = shape.enlarged(rng.uniform(*DIAMETERS_MM), scan.spacing)
        radius = float(depth.max())
        at_wall = rng.random() < _SHARE_AT_WALL
        centres = np.argwhere(lung & (depth_in_lung <= radius * 0.67 if at_wall else depth_in_lung > radius))
        cuts = _position(depth, centres, open_to, free, rng)
        tissue = _tissue(depth, scan.spacing, rng)
        if cuts is None:
            continue
        window, inner = cuts
        weight = (depth[inner] / _EDGE_MM + 0.5).clip(0, 1) * open_to[window]
        solid = np.where(lung[window], tissue[inner], np.maximum(tissue[inner], hu[window]))
        hu[window] += weight * (solid - hu[window])
        mask[window] |= weight >= 0.5
        keep_apart(free, mask, window, scan.spacing)
        placed += 1
    return Volume(scan.name, hu, mask, scan.affine, scan.spacing), placed


def _position(
    depth: np.ndarray,
    centres: np.ndarray,
    open_to: np.ndarray,
    free: np.ndarray,
    rng: np.random.Generator,
) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Return the window of the scan and the part of the shape that is in it, or None without a free position."""
    inside = depth > 0  # nowhere if all thick slices lie beside the middle
    middle = np.array(depth.shape) // 2
    for _ in range(_TRIES if len(centres) and inside.any() else 0):
        start = centres[rng.integers(len(centres))] - middle
        window = tuple(
            slice(max(low, 0), min(low + length, size))
            for low, length, size in zip(start, depth.shape, free.shape, strict=True)
        )
        inner = tuple(slice(cut.start - low, cut.stop - low) for cut, low in zip(window, start, strict=True))
        share = (open_to[window] & inside[inner]).sum() / inside.sum()
        if share >= _LEAST_SHARE_IN_LUNG and free[window][inside[inner]].all():
            return window, inner
    return None


def _tissue(depth: np.ndarray, spacing: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Return the HU of a tumour, some with a cavity."""
    texture = ndimage.gaussian_filter(rng.normal(size=depth.shape), [_TEXTURE_MM / length for length in spacing])
    tissue = rng.uniform(*_TISSUE_HU) + rng.uniform(*_TEXTURE_HU) / max(texture.std(), 1e-6) * texture
    if rng.random() < _SHARE_CAVITY:
        wall = _LEAST_WALL_MM + rng.uniform(0, 0.5) * float(depth.max())
        share = ((depth - wall) / _EDGE_MM).clip(0, 1)
        tissue += share * (rng.uniform(*_CAVITY_HU) - tissue)
    return tissue.astype(np.float32)
