"""Polygons to pixels.

Pillow draws them on whole pixels and adds their outline; scikit-image and Matplotlib, which know the rule used here,
are not among the packages of this app.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def fill(polygons: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies in an odd number of the polygons.

    So a polygon within another is a hole, and the channel of a keyhole (PS3.3 C.8.8.6.3) encloses nothing. Of centres
    on an edge, those at its low columns and rows are inside and those at its high ones are not: where a program draws
    through the centres of pixels, as many pixels are inside as the polygon has area.

    Args:
        polygons: Corners (points, 2) as column and row index; whole numbers are centres of pixels.
        shape: Rows and columns.

    Returns:
        (row, column) of truth. What lies beyond ``shape`` is cut off.
    """
    odd = np.zeros((shape[0], shape[1] + 1), bool)
    for polygon in polygons:
        _toggle(odd, polygon)
    return np.logical_xor.accumulate(odd, axis=1)[:, :-1]


def _toggle(odd: np.ndarray, polygon: np.ndarray) -> None:
    """Turn over, in each row, the pixels from which on one more edge of the polygon has been crossed."""
    rows, columns = odd.shape[0], odd.shape[1] - 1
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        crossed = np.arange(max(int(np.ceil(y0)), 0), min(int(np.ceil(y1)), rows))
        if crossed.size:
            places = np.ceil(x0 + (crossed - y0) * (x1 - x0) / (y1 - y0))
            odd[crossed, np.clip(places, 0, columns).astype(int)] ^= True
