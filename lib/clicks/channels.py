"""The input of the network: the image in the cube, the positive and negative clicks, and the former mask."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import starmap
from typing import Any

import numpy as np

CHANNELS = 4
_REACH = 10  # voxels at which the map of a click falls to 0


def network_input(
    hu: np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    former: np.ndarray | None,
    preprocessing: Mapping[str, Any],
) -> np.ndarray:
    """Return the input of the network for one cube, float32, shape (4, side, side, side).

    Args:
        hu: Image in the cube, HU, shape (side, side, side).
        positive: Voxel indices of the clicks on the lesion, shape (n, 3); those outside the cube are ignored.
        negative: Voxel indices of the clicks beside it.
        former: Former mask in the cube, 0 to 1; None if there is none.
        preprocessing: Section ``preprocessing`` of info.yaml.
    """
    image = normalised(hu, preprocessing)
    clicks = [click_map(points, hu.shape[0]) for points in (positive, negative)]
    return np.stack([image, *clicks, np.zeros_like(image) if former is None else former.astype(np.float32)])


def normalised(hu: np.ndarray, preprocessing: Mapping[str, Any]) -> np.ndarray:
    """Return HU clipped and normalised as for the automatic model (eq. 1), with the values of the data set."""
    clipped = np.clip(hu, *preprocessing["hu_window"])
    return ((clipped - preprocessing["hu_mean"]) / preprocessing["hu_std"]).astype(np.float32)


def click_map(points: np.ndarray, side: int) -> np.ndarray:
    """Return the nearness to the nearest point: 1 on it, falling linearly to 0 at ten voxels.

    Args:
        points: Voxel indices, shape (n, 3), rounded to whole voxels; points outside the cube are ignored.
        side: Voxels along each axis of the cube.

    Returns:
        Float32, shape (side, side, side).
    """
    nearness = np.zeros((side,) * 3, np.float32)
    whole = np.rint(np.reshape(points, (-1, 3))).astype(int)
    for point in np.unique(whole[((whole >= 0) & (whole < side)).all(1)], axis=0):
        low, high = np.maximum(point - _REACH, 0), np.minimum(point + _REACH + 1, side)
        here = tuple(starmap(slice, zip(low, high, strict=True)))
        there = tuple(starmap(slice, zip(low - point + _REACH, high - point + _REACH, strict=True)))
        np.maximum(nearness[here], _ball()[there], out=nearness[here])
    return nearness


@cache
def _ball() -> np.ndarray:
    offsets = np.indices((2 * _REACH + 1,) * 3) - _REACH
    return np.clip(1 - np.sqrt((offsets**2).sum(0)) / _REACH, 0, 1).astype(np.float32)
