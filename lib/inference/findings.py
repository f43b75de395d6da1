"""Findings of a mask: where they are, and how confident the model is that they are lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.transforms.axial_field import field_of

_NEAR = 2  # voxels


@dataclass(frozen=True)
class Finding:
    """A finding in a mask.

    Attributes:
        voxel: Index (i, j, k) of a voxel of the finding on the image's own grid as loaded: column, row, slice.
        confidence: Calibrated probability that it is a lesion, 0 to 1; None if it was not judged, as in a crop.
    """

    voxel: tuple[int, int, int]
    confidence: float | None


def stored_findings(data: Mapping[str, Any], mask: np.ndarray) -> list[Finding]:
    """Return the findings on the grid of the loaded image; those that are no longer marked are left out.

    Args:
        data: Output of the transforms to a mask.
        mask: The mask, (X, Y, Z).
    """
    field = field_of(data["image"])
    places = ((_marked(mask, field.stored_index(index)), confidence) for index, confidence in data["findings"])
    return [Finding(voxel, confidence) for voxel, confidence in places if voxel is not None]


def _marked(mask: np.ndarray, voxel: Sequence[int]) -> tuple[int, int, int] | None:
    """Return the marked voxel nearest to a voxel, at most ``_NEAR`` away along each axis, or None."""
    low = np.maximum(np.array(voxel) - _NEAR, 0)
    window = tuple(slice(start, place + _NEAR + 1) for start, place in zip(low, voxel, strict=True))
    marked = np.argwhere(mask[window]) + low
    if not len(marked):
        return None
    i, j, k = marked[np.abs(marked - voxel).sum(1).argmin()].tolist()
    return i, j, k
