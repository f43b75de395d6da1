"""Rasterization of polygons.

Pillow rounds corners to whole pixels and includes the outline; scikit-image and Matplotlib, which implement the rule
used here, are not dependencies of this app.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_ROUNDING = 0.002  # pixels by which corners may be off the centres: mm with three decimals or more
_DIGITS = 6  # of pixels, of where an edge crosses a row


def fill(polygons: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Fill polygons by the even-odd rule, applied to the centres of the pixels.

    A polygon within another is therefore a hole, and the channel of a keyhole (PS3.3 C.8.8.6.3) encloses nothing.
    Of the centres on an edge, those at the low columns and rows are inside and those at the high ones outside: for
    polygons drawn through pixel centres, the number of pixels inside equals the area of the polygon. If all corners
    are almost at centres, they count as there, so that rounding does not decide on whole rows of pixels.

    Args:
        polygons: Corners (points, 2) as column and row index; integers are centres of pixels.
        shape: Rows and columns.

    Returns:
        Boolean mask (row, column). Polygons are clipped to ``shape``.
    """
    odd = np.zeros((shape[0], shape[1] + 1), bool)
    for polygon in polygons:
        _toggle(odd, _at_centres(polygon))
    return np.logical_xor.accumulate(odd, axis=1)[:, :-1]


def _at_centres(polygon: np.ndarray) -> np.ndarray:
    """Return a polygon with its corners at pixel centres if all are almost there, else unchanged."""
    centres = np.rint(polygon)
    return centres if np.abs(polygon - centres).max(initial=0) < _ROUNDING else polygon


def _toggle(odd: np.ndarray, polygon: np.ndarray) -> None:
    """Toggle the first pixel to the right of each edge of the polygon, in every row that the edge crosses."""
    rows, columns = odd.shape[0], odd.shape[1] - 1
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        crossed = np.arange(max(int(np.ceil(y0)), 0), min(int(np.ceil(y1)), rows))
        if crossed.size:
            places = np.ceil(np.round(x0 + (crossed - y0) * (x1 - x0) / (y1 - y0), _DIGITS))
            odd[crossed, np.clip(places, 0, columns).astype(int)] ^= True
