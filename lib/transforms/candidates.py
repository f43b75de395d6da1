"""Candidate lesions: the connected components of what a model holds for tumour."""

import numpy as np
from scipy import ndimage

_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


def label_candidates(mask: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray, int]:
    """Number the connected components (26 neighbours) of a mask, (X, Y, Z), from 1.

    Returns:
        The smallest window that holds the mask (one voxel where it is empty), the components within it (int32,
        0 outside of them), and their count. All the rest of a scan is nothing to look at.
    """
    window = tuple(
        slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 1)
        for filled in (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    )
    components, count = ndimage.label(mask[window], structure=_EVERY_NEIGHBOUR)
    return window, components, count
