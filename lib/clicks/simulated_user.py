"""Clicks as people set them, for training and evaluation.

The next click is set in the largest region that is wrong, as in the iterative training of Mahadevan et al. 2018 and
Sofiiuk et al. 2021 (RITM, arXiv:2102.06583), but not exactly at its centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lib.geometry.connected_components import connected_components

_CENTRAL = 0.5  # distance from the border over the largest one, from which a voxel is central
_SHARE_CENTRAL, _SHARE_ANYWHERE = 0.6, 0.3  # of the first clicks; the others are on the rim
_SHARE_CENTRAL_CORRECTION = 0.7
_SHARE_REAL = 0.5  # of the first clicks on a lesion that users have clicked
_FAR = 1e3  # distance between planes: only the border within a plane counts


class Click(NamedTuple):
    """A click.

    Attributes:
        place: Voxel index, shape (3,), in the axis order of the mask.
        positive: Whether it adds the lesion, rather than taking away.
    """

    place: np.ndarray
    positive: bool


def first_click(
    truth: np.ndarray, rng: np.random.Generator, spacing: Sequence[float] = (1, 1, 1), axis: int | None = None
) -> Click:
    """Return a click on a lesion: mostly near its middle, sometimes anywhere in it, sometimes on its rim.

    Args:
        truth: Mask of the lesion, not empty.
        rng: Random numbers.
        spacing: Voxel size along each axis.
        axis: Axis across the plane in which the user sees the lesion; None if they see it from all sides.
    """
    seen = truth if axis is None else _plane(truth, axis, rng)
    depth = _depth(seen, spacing, axis)
    kind = rng.random()
    if kind < _SHARE_CENTRAL:
        return Click(_one_of(depth >= _CENTRAL * depth.max(), rng), True)
    if kind < _SHARE_CENTRAL + _SHARE_ANYWHERE:
        return Click(_one_of(seen, rng), True)
    return Click(_one_of(seen & ~ndimage.binary_erosion(truth), rng, otherwise=seen), True)


def real_click(truth: np.ndarray, clicks: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return where a user first clicked on a lesion, in half of the draws; None in the others, or if nobody did.

    Args:
        truth: Mask of the lesion.
        clicks: First clicks of users, voxel indices, shape (n, 3); those that are not on the lesion are ignored.
        rng: Random numbers.
    """
    inside = clicks[((clicks >= 0) & (clicks < truth.shape)).all(1)]
    on_lesion = inside[truth[tuple(inside.T)]]
    if not len(on_lesion) or rng.random() >= _SHARE_REAL:
        return None
    return on_lesion[rng.integers(len(on_lesion))]


def next_click(
    found: np.ndarray,
    truth: np.ndarray,
    rng: np.random.Generator,
    spacing: Sequence[float] = (1, 1, 1),
    axis: int | None = None,
) -> Click | None:
    """Return a click in the largest region in which a mask is wrong, or None if it is right everywhere.

    Args:
        found: Mask to correct.
        truth: Mask of the lesion, same shape.
        rng: Random numbers.
        spacing: Voxel size along each axis.
        axis: See `first_click`.
    """
    regions, count = connected_components(found != truth)
    if not count:
        return None
    number = int(np.bincount(regions.ravel())[1:].argmax())
    window = ndimage.find_objects(regions)[number]
    region = regions[window] == number + 1
    if axis is not None:
        region = _plane(region, axis, rng)
    depth = _depth(region, spacing, axis)
    central = rng.random() < _SHARE_CENTRAL_CORRECTION
    place = _one_of(depth >= _CENTRAL * depth.max() if central else region, rng)
    place = place + np.array([side.start for side in window])
    return Click(place, bool(truth[tuple(place)]))


def scribble(truth: np.ndarray, rng: np.random.Generator, most: int = 12) -> np.ndarray:
    """Return points along a straight stroke through a lesion in one plane, voxel indices (n, 3), all on the lesion.

    Args:
        truth: Mask of the lesion, not empty.
        rng: Random numbers.
        most: Largest number of points.
    """
    plane = _plane(truth, int(rng.integers(3)), rng)
    points = np.rint(np.linspace(_one_of(plane, rng), _one_of(plane, rng), most)).astype(int)
    return np.unique(points[truth[tuple(points.T)]], axis=0)


def _plane(mask: np.ndarray, axis: int, rng: np.random.Generator) -> np.ndarray:
    """Return the part of a mask in one plane across an axis, more often a plane with much of it."""
    plane = np.zeros_like(mask)
    index = tuple(_one_of(mask, rng)[axis] if other == axis else slice(None) for other in range(3))
    plane[index] = mask[index]
    return plane


def _depth(mask: np.ndarray, spacing: Sequence[float], axis: int | None = None) -> np.ndarray:
    """Return the distance of each voxel of a mask from its border, also where that is the border of the array."""
    sampling = [_FAR if other == axis else length for other, length in enumerate(spacing)]
    return ndimage.distance_transform_edt(np.pad(mask, 1), sampling=sampling)[1:-1, 1:-1, 1:-1]


def _one_of(mask: np.ndarray, rng: np.random.Generator, otherwise: np.ndarray | None = None) -> np.ndarray:
    """Return a random voxel of a mask; of another mask if it is empty."""
    places = np.flatnonzero(mask)
    if not len(places) and otherwise is not None:
        return _one_of(otherwise, rng)
    return np.array(np.unravel_index(places[rng.integers(len(places))], mask.shape))
