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


class Click(NamedTuple):
    """A click.

    Attributes:
        place: Voxel index, shape (3,), in the axis order of the mask.
        positive: Whether it adds the lesion, rather than taking away.
    """

    place: np.ndarray
    positive: bool


def first_click(truth: np.ndarray, rng: np.random.Generator, spacing: Sequence[float] = (1, 1, 1)) -> Click:
    """Return a click on a lesion: mostly near its middle, sometimes anywhere in it, sometimes on its rim.

    Args:
        truth: Mask of the lesion, not empty.
        rng: Random numbers.
        spacing: Voxel size along each axis.
    """
    depth = _depth(truth, spacing)
    kind = rng.random()
    if kind < _SHARE_CENTRAL:
        return Click(_one_of(depth >= _CENTRAL * depth.max(), rng), True)
    if kind < _SHARE_CENTRAL + _SHARE_ANYWHERE:
        return Click(_one_of(truth, rng), True)
    return Click(_one_of(truth & ~ndimage.binary_erosion(truth), rng), True)


def next_click(
    found: np.ndarray, truth: np.ndarray, rng: np.random.Generator, spacing: Sequence[float] = (1, 1, 1)
) -> Click | None:
    """Return a click in the largest region in which a mask is wrong, or None if it is right everywhere.

    Args:
        found: Mask to correct.
        truth: Mask of the lesion, same shape.
        rng: Random numbers.
        spacing: Voxel size along each axis.
    """
    regions, count = connected_components(found != truth)
    if not count:
        return None
    sizes = np.bincount(regions.ravel())[1:]
    number = int(sizes.argmax())
    window = ndimage.find_objects(regions)[number]
    region = regions[window] == number + 1
    depth = _depth(region, spacing)
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
    start = _one_of(truth, rng)
    plane = np.zeros_like(truth)
    axis = int(rng.integers(3))
    index = tuple(start[axis] if other == axis else slice(None) for other in range(3))
    plane[index] = truth[index]
    end = _one_of(plane, rng)
    points = np.rint(np.linspace(start, end, most)).astype(int)
    return np.unique(points[truth[tuple(points.T)]], axis=0)


def _depth(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return the distance of each voxel of a mask from its border, also where that is the border of the array."""
    return ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]


def _one_of(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    places = np.flatnonzero(mask)
    return np.array(np.unravel_index(places[rng.integers(len(places))], mask.shape))
