"""Corrections of a probability map so that the outline does what each click says."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.special import logit

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
    where it agrees with a point, they stay as they are. A positive point only raises logits, and a negative one only
    lowers them. A voxel that is both on and beside the lesion stays as the network has it. If there are more than 500
    points, of those close together on one side only one counts.

    Args:
        probability: Probability of lesion, shape (a, b, c).
        threshold: Lowest probability of a lesion voxel.
        positive: Voxel indices on the lesion, shape (n, 3); those outside the map are ignored.
        negative: Voxel indices beside the lesion, likewise.
        spacing: Voxel size in mm along each axis.
    """
    logits = logit(probability.clip(_LEAST, 1 - _LEAST)) - logit(threshold)
    points, sides = _thinned(*_within(logits.shape, positive, negative))
    wrong = np.maximum(_MARGIN - sides * logits[tuple(points.T)], 0)
    if not wrong.any():
        return logits
    wanted = np.stack([wrong * (sides > 0), -wrong * (sides < 0)], axis=1)
    shift = RBFInterpolator(
        points * spacing,
        wanted,
        kernel="gaussian",
        epsilon=1 / (np.sqrt(2) * _SIGMA_MM),
        smoothing=_SMOOTHING,
        degree=-1,
    )
    near = _near(logits.shape, points[wrong > 0], spacing)
    # The sum of Gaussians overshoots beyond points that are close together, where it would do the opposite.
    lowest, highest = wanted.min(0).clip(max=0), wanted.max(0).clip(min=0)
    logits[near] += shift(np.argwhere(near) * spacing).clip(lowest, highest).sum(1)
    return logits


def _within(shape: tuple[int, ...], positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points inside an array, shape (n, 3), and for each 1 on the lesion and -1 beside it."""
    points = np.concatenate([positive, negative]).reshape(-1, 3)
    sides = np.repeat([1.0, -1.0], [len(positive), len(negative)])
    inside = ((points >= 0) & (points < shape)).all(1)
    return points[inside], sides[inside]


def _thinned(points: np.ndarray, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one point of each side in each block of voxels; blocks are as small as the number of points allows."""
    width, kept = 1, np.arange(len(points))
    while len(kept) > _MOST_POINTS:
        blocks = np.column_stack([points // width, sides])
        kept = np.unique(blocks, axis=0, return_index=True)[1]
        width *= 2
    return points[kept], sides[kept]


def _near(shape: tuple[int, ...], points: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the voxels of an array that corrections at points reach, bool."""
    reach = (_REACH_MM / spacing).astype(int)
    offsets = np.argwhere(np.ones(2 * reach + 1)) - reach
    ball = offsets[np.linalg.norm(offsets * spacing, axis=1) <= _REACH_MM]
    places = (points[:, None] + ball).reshape(-1, 3)
    near = np.zeros(shape, bool)
    near[tuple(places[((places >= 0) & (places < shape)).all(1)].T)] = True
    return near
