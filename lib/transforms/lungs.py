"""Where the lungs are, by their density alone: good enough to place a field of view, not to measure."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

AIR_HU = -400.0
_GRID_MM = 2.5
_SMALLEST_LUNG_ML = 20.0
_SMALLEST_SHARE = 0.05  # of the largest pocket; less is gas in the bowel


@dataclass(frozen=True)
class LungBox:
    """Box of the lungs, and the middle of the body around them, in voxels of the full grid.

    Attributes:
        mask: The air in the lungs, bool, on a grid of every ``steps``-th voxel.
        steps: Voxels of the full grid from one of the mask to the next, for each axis.
        start: First voxel of each axis.
        stop: One past the last voxel of each axis.
        body_centre: Middle of the body's box in the slices with lung, first two axes. Unlike the lungs' own
            middle it stays in place when one lung is filled by fluid or a large tumour.
    """

    mask: np.ndarray
    steps: tuple[int, int, int]
    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    body_centre: tuple[float, float]


def find_lungs(hu: np.ndarray, spacing: tuple[float, float, float]) -> LungBox | None:
    """Find the air inside the body.

    Args:
        hu: CT in HU, shape (X, Y, Z) with axial slices along Z.
        spacing: Voxel size in mm.

    Returns:
        What ``inner_air`` finds, or None where there is none: no chest, or a field of view so tight that the lungs
        are open to its border.
    """
    steps = lung_steps(spacing)
    return lungs_of(hu[tuple(slice(None, None, step) for step in steps)] < AIR_HU, hu.shape, spacing)


def lung_steps(spacing: tuple[float, float, float]) -> tuple[int, int, int]:
    """Every how many voxels of each axis the lungs are looked for."""
    return tuple(max(1, round(_GRID_MM / length)) for length in spacing)


def lungs_of(air: np.ndarray, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> LungBox | None:
    """Find the lungs as above, in what is less dense than ``AIR_HU``.

    Args:
        air: Of every ``lung_steps``-th voxel of each axis.
        shape: Of the full grid.
        spacing: Of its voxels in mm.
    """
    steps = lung_steps(spacing)
    voxel_ml = np.prod([length * step for length, step in zip(spacing, steps, strict=True)]) / 1000
    inner = inner_air(air, voxel_ml)
    if not inner.any():
        return None
    start, stop = _box(inner)
    # 6-connectivity: tissue and air are no findings, for which lib.geometry.connected_components is.
    tissue, _ = ndimage.label(~air[:, :, start[2] : stop[2]])
    body_start, body_stop = _box(tissue == 1 + np.argmax(np.bincount(tissue.ravel())[1:]))
    return LungBox(
        mask=inner,
        steps=steps,
        start=tuple(low * step for low, step in zip(start, steps, strict=True)),
        stop=tuple(min(high * step, length) for high, step, length in zip(stop, steps, shape, strict=True)),
        body_centre=tuple(
            (low + high) / 2 * step for low, high, step in zip(body_start, body_stop, steps[:2], strict=False)
        ),
    )


def inner_air(air: np.ndarray, voxel_ml: float) -> np.ndarray:
    """Air that is not open to the sides of the volume, in pockets of at least 20 ml and a twentieth of the largest.

    Args:
        air: Mask of what has the density of air or lung, shape (X, Y, Z).
        voxel_ml: Volume of a voxel.
    """
    # 6-connectivity, as of the tissue: air is no finding.
    pockets, count = ndimage.label(air)
    size_ml = np.bincount(pockets.ravel(), minlength=count + 1) * voxel_ml
    size_ml[0] = 0
    for face in (pockets[0], pockets[-1], pockets[:, 0], pockets[:, -1]):
        size_ml[face] = 0
    inner = (size_ml >= _SMALLEST_LUNG_ML) & (size_ml >= _SMALLEST_SHARE * size_ml.max())
    return inner[pockets]


def _box(mask: np.ndarray) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First and one past last index of a non-empty mask along each axis."""
    slices = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(s.start for s in slices), tuple(s.stop for s in slices)
