"""Outlines of the regions of a mask slice as polygons."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import contourpy
import numpy as np


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Return the polygons around the regions of a slice, halfway between the pixels inside and outside.

    Exactly the pixels of the mask have their centres inside. A hole is joined to the outline around it by a channel of
    zero width (keyhole, PS3.3 C.8.8.6.3), so that readers that fill every polygon preserve it.

    Args:
        mask: (row, column).

    Returns:
        Corners (points, 2) of each region as column and row index; the first corner is not repeated at the end.
    """
    padded = np.pad(mask.astype(np.float32), 1)  # regions at the border are closed
    generator = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
    regions, starts = cast("tuple[list[np.ndarray], list[np.ndarray]]", generator.filled(0.5, np.inf))
    polygons = []
    for points, offsets in zip(regions, starts, strict=True):
        rings = [points[low : high - 1] for low, high in pairwise(offsets)]
        outline = rings[0]
        for hole in rings[1:]:
            outline = _join_hole(outline, hole)
        polygons.append(outline - 1)
    return polygons


def _join_hole(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Insert a hole into an outline at the pair of nearest corners, as a keyhole."""
    apart = np.linalg.norm(outline[:, None] - hole[None], axis=2)
    here, there = np.unravel_index(apart.argmin(), apart.shape)
    around = np.roll(hole, -there, axis=0)
    return np.concatenate([outline[: here + 1], around, around[:1], outline[here:]])
