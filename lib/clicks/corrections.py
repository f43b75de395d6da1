"""Corrections of a probability map so that the outline does what each click says."""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.special import logit

from lib.geometry.boxes import widened

_SIGMA_MM = 1.2  # chosen on training crops, see docs/method.md
_REACH_MM = 4 * _SIGMA_MM
_MARGIN = 0.5  # logits by which a clicked voxel is on its side of the threshold
_SMOOTHING = 1e-3  # keeps the system solvable where a voxel is both on and beside the lesion
_MOST_POINTS = 500
_LEAST = 1e-4


def follow_points(
    probability: np.ndarray, threshold: float, positive: np.ndarray, negative: np.ndarray, spacing: np.ndarray
) -> np.ndarray:
    """Return logits that are 0 at the threshold, above it at positive points and below it at negative ones.

    Where the network contradicts a point, its logits are shifted there and, fading as a Gaussian, in the 5 mm around;
    where it agrees with a point, they stay as they are.

    Args:
        probability: Probability of lesion, shape (a, b, c).
        threshold: Lowest probability of a lesion voxel.
        positive: Voxel indices on the lesion, shape (n, 3); those outside the map are ignored.
        negative: Voxel indices beside the lesion, likewise.
        spacing: Voxel size in mm along each axis.
    """
    logits = logit(probability.clip(_LEAST, 1 - _LEAST)) - logit(threshold)
    points, sides = _within(logits.shape, positive, negative)
    wrong = np.maximum(_MARGIN - sides * logits[tuple(points.T)], 0)
    if not wrong.any():
        return logits
    used = slice(None, None, math.ceil(len(points) / _MOST_POINTS))  # of a long scribble: its points are close together
    shift = RBFInterpolator(
        points[used] * spacing,
        (wrong * sides)[used],
        kernel="gaussian",
        epsilon=1 / (np.sqrt(2) * _SIGMA_MM),
        smoothing=_SMOOTHING,
        degree=-1,
    )
    reach = np.ceil(_REACH_MM / spacing).astype(int)
    contradicted = points[wrong > 0]
    ends = zip(contradicted.min(0), contradicted.max(0) + 1, strict=True)
    window = widened([slice(first, end) for first, end in ends], reach, logits.shape)
    places = np.stack(np.meshgrid(*(np.arange(side.start, side.stop) for side in window), indexing="ij"), -1)
    logits[window] += shift(places.reshape(-1, 3) * spacing).reshape(places.shape[:3])
    return logits


def _within(shape: tuple[int, ...], positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points inside an array, shape (n, 3), and for each 1 on the lesion and -1 beside it."""
    points = np.concatenate([positive, negative]).reshape(-1, 3)
    sides = np.repeat([1.0, -1.0], [len(positive), len(negative)])
    inside = ((points >= 0) & (points < shape)).all(1)
    return points[inside], sides[inside]
