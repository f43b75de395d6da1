"""The outlines of a mask's slice as polygons."""

from __future__ import annotations

from itertools import pairwise

import contourpy
import numpy as np


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Polygons around the pixels of a slice, halfway to the pixels outside.

    So exactly the pixels of the mask have their centres inside. A hole is joined to the outline around it by a
    channel of no width, as the standard asks (PS3.3 C.8.8.6.3): readers that fill every polygon keep it too.

    Args:
        mask: (row, column).

    Returns:
        For each region its corners (points, 2) as column and row index; the last is not the first again.
    """
    padded = np.pad(mask.astype(np.float32), 1)  # regions at the border are closed
    generator = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
    regions, starts = generator.filled(0.5, np.inf)
    polygons = []
    for points, offsets in zip(regions, starts, strict=True):
        rings = [points[low : high - 1] for low, high in pairwise(offsets)]
        outline = rings[0]
        for hole in rings[1:]:
            outline = _join(outline, hole)
        polygons.append(outline - 1)
    return polygons


def _join(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Walk along the outline to where the hole is nearest, across, around the hole, back across, and on."""
    apart = np.linalg.norm(outline[:, None] - hole[None], axis=2)
    here, there = np.unravel_index(apart.argmin(), apart.shape)
    around = np.roll(hole, -there, axis=0)
    return np.concatenate([outline[: here + 1], around, around[:1], outline[here:]])
