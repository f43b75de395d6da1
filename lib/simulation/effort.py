"""What a user has to do to turn a model's mask into the true one."""

import numpy as np
from scipy import ndimage

_STROKE_MM = 2.5
_IN_PLANE = np.zeros((3, 3, 3), bool)
_IN_PLANE[:, :, 1] = True


def strokes(found: np.ndarray, truth: np.ndarray, pixel_mm: float) -> int:
    """Return the number of strokes of a brush or an eraser that turn one mask into another.

    One stroke corrects one connected region of an axial slice. What is narrower than 2.5 mm is left as it is: readers
    differ by as much. The user may also clear the mask, which counts as one stroke, and draw everything.

    Args:
        found: Mask of the model, shape (X, Y, Z).
        truth: Mask wanted, same shape.
        pixel_mm: Side of the square pixels in the slices.
    """
    drawn = _regions(truth, pixel_mm)
    if not found.any():
        return drawn
    corrected = _regions(truth & ~found, pixel_mm) + _regions(found & ~truth, pixel_mm)
    return min(corrected, 1 + drawn)


def _regions(wrong: np.ndarray, pixel_mm: float) -> int:
    """Return the number of regions of axial slices that are at least as wide as a stroke."""
    width = max(round(_STROKE_MM / pixel_mm), 1)
    wide = ndimage.binary_opening(wrong, np.ones((width, width, 1), bool))
    return int(ndimage.label(wide, _IN_PLANE)[1])
