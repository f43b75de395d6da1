"""Connected components of a mask: what counts as one finding, for the whole app.

Voxels that share a face, an edge or a corner are connected (26-connectivity), so that a lesion drawn slice by slice
stays one. ``lib/viewer/panel/findings.js`` applies the same rule in the browser; both are tested against the fixture
``tests/fixtures/connected_components.json``.
"""

import numpy as np
from scipy import ndimage

_26_CONNECTED = np.ones((3, 3, 3), bool)


def connected_components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the 26-connected components of a mask, numbered from 1.

    Args:
        mask: Three axes in any order; nonzero voxels are marked.

    Returns:
        int32 array of the shape of ``mask``, 0 outside the components; and their count.
    """
    return ndimage.label(mask, structure=_26_CONNECTED)


def cropped_components(mask: np.ndarray) -> tuple[tuple[slice, ...], np.ndarray, int]:
    """Return the connected components of a mask (X, Y, Z) within its bounding box, which saves time in a large scan.

    Returns:
        The bounding box (one voxel if the mask is empty), the components within it as
        :func:`connected_components` returns them, and their count.
    """
    window = tuple(
        slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 1)
        for filled in (np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    )
    return (window, *connected_components(mask[window]))
