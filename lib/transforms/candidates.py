"""Findings: the connected components of a mask, defined here for the whole app.

Connectivity is 26 (voxels that share a face, an edge or a corner), so that a lesion drawn slice by slice stays one
component. ``lib/viewer/panel/findings.js`` implements the same rule in the browser; a test compares them.
"""

import numpy as np
from scipy import ndimage

_EVERY_NEIGHBOUR = np.ones((3, 3, 3), bool)


def label_findings(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the findings of a mask from 1.

    Args:
        mask: Three axes in any order; nonzero voxels are marked.

    Returns:
        int32 labels of the shape of ``mask``, 0 for background; and the number of findings.
    """
    return ndimage.label(mask, structure=_EVERY_NEIGHBOUR)


def label_candidates(mask: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray, int]:
    """Label the findings of a mask (X, Y, Z) from 1, within its bounding box.

    Returns:
        The bounding box of the mask (one voxel if it is empty), the labels within it (int32, 0 for background), and
        the number of findings.
    """
    window = tuple(
        slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 1)
        for filled in (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    )
    return (window, *label_findings(mask[window]))
