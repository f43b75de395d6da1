"""Lung detection by density alone, accurate enough to place a field of view but not to measure."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

AIR_HU = -400.0
_GRID_MM = 2.5
_SMALLEST_LUNG_ML = 20.0
_SMALLEST_SHARE = 0.05  # of the largest component; smaller ones are bowel gas


@dataclass(frozen=True)
class LungBox:
    """Bounding box of the lungs, and the centre of the body around them, in voxels of the full grid.

    Attributes:
        mask: Air in the lungs, bool, on a grid of every ``steps``-th voxel.
        steps: Step of the mask grid in voxels of the full grid, for each axis.
        start: First voxel along each axis.
        stop: One past the last voxel along each axis.
        body_centre: Centre of the bounding box of the body in the slices with lung, first two axes. Unlike the centre
            of the lungs it does not shift when one lung is filled by fluid or a large tumour.
    """

    mask: np.ndarray
    steps: tuple[int, int, int]
    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    body_centre: tuple[float, float]


def find_lungs(hu: np.ndarray, spacing: tuple[float, float, float]) -> LungBox | None:
    """Find the lungs, as the air inside the body.

    Args:
        hu: CT in HU, shape (X, Y, Z) with axial slices along Z.
        spacing: Voxel size in mm.

    Returns:
        The lungs, or None if there is no inner air: no chest, or a field of view so small that the lungs touch its
        border.
    """
    steps = lung_steps(spacing)
    return lungs_of(hu[tuple(slice(None, None, step) for step in steps)] < AIR_HU, hu.shape, spacing)


def lung_steps(spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    """Return the sampling step of lung detection along each axis, in voxels."""
    x, y, z = (max(1, round(_GRID_MM / length)) for length in spacing)
    return x, y, z


def lungs_of(air: np.ndarray, shape: tuple[int, ...], spacing: tuple[float, float, float]) -> LungBox | None:
    """Find the lungs in a mask of the voxels below ``AIR_HU``.

    Args:
        air: Mask of every ``lung_steps``-th voxel of each axis.
        shape: Shape of the full grid.
        spacing: Voxel size of the full grid in mm.
    """
    steps = lung_steps(spacing)
    voxel_ml = float(np.prod([length * step for length, step in zip(spacing, steps, strict=True)]) / 1000)
    inner = inner_air(air, voxel_ml)
    if not inner.any():
        return None
    start, stop = _box(inner)
    # 6-connectivity: lib.geometry.connected_components is for findings, not for tissue and air.
    tissue, _ = ndimage.label(~air[:, :, start[2] : stop[2]])
    body_start, body_stop = _box(tissue == 1 + np.argmax(np.bincount(tissue.ravel())[1:]))
    return LungBox(
        mask=inner,
        steps=steps,
        start=(start[0] * steps[0], start[1] * steps[1], start[2] * steps[2]),
        stop=(min(stop[0] * steps[0], shape[0]), min(stop[1] * steps[1], shape[1]), min(stop[2] * steps[2], shape[2])),
        body_centre=(
            (body_start[0] + body_stop[0]) / 2 * steps[0],
            (body_start[1] + body_stop[1]) / 2 * steps[1],
        ),
    )


def inner_air(air: np.ndarray, voxel_ml: float) -> np.ndarray:
    """Return the components of air that do not touch the sides of the volume, without small ones.

    Components below 20 ml or a twentieth of the largest are removed.

    Args:
        air: Mask of voxels with the density of air or lung, shape (X, Y, Z).
        voxel_ml: Volume of a voxel.
    """
    # 6-connectivity, as for the tissue: air is not a finding.
    pockets, count = ndimage.label(air)
    size_ml = np.bincount(pockets.ravel(), minlength=count + 1) * voxel_ml
    size_ml[0] = 0
    for face in (pockets[0], pockets[-1], pockets[:, 0], pockets[:, -1]):
        size_ml[face] = 0
    inner = (size_ml >= _SMALLEST_LUNG_ML) & (size_ml >= _SMALLEST_SHARE * size_ml.max())
    return inner[pockets]


def _box(mask: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the first and one past the last index of a non-empty mask along each axis."""
    slices = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(s.start for s in slices), tuple(s.stop for s in slices)
