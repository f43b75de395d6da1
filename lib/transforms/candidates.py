"""Findings: the connected components of a mask. What a finding is, is decided here for the whole app.

Voxels that share a face, an edge or a corner belong together (26 neighbours), so that a lesion drawn slice by slice
stays one. ``lib/viewer/panel/findings.js`` is the same rule in the browser; a test compares them.
"""

import numpy as np
from scipy import ndimage

_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


def label_findings(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the findings of a mask from 1.

    Args:
        mask: Three axes in any order; what is not zero is marked.

    Returns:
        int32 voxels like ``mask``, 0 outside of findings; and their count.
    """
    return ndimage.label(mask, structure=_EVERY_NEIGHBOUR)


def label_candidates(mask: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray, int]:
    """Number the findings of a mask, (X, Y, Z), from 1, within the part of it that is marked.

    Returns:
        The smallest window that holds the mask (one voxel where it is empty), the findings within it (int32,
        0 outside of them), and their count. All the rest of a scan is nothing to look at.
    """
    window = tuple(
        slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 1)
        for filled in (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    )
    return (window, *label_findings(mask[window]))
