"""Boxes of a volume, as three slices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def widened(
    box: Sequence[slice], margin: Sequence[int] | np.ndarray, shape: Sequence[int]
) -> tuple[slice, slice, slice]:
    """Return a box that is larger on all sides, clipped to the volume.

    Args:
        box: Its three slices.
        margin: Voxels to add at both ends, along each axis.
        shape: Shape of the volume.
    """
    first, second, third = (
        slice(max(side.start - width, 0), min(side.stop + width, length))
        for side, width, length in zip(box, margin, shape, strict=True)
    )
    return first, second, third
