"""The component of a probability map or mask that a user points at."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from lib.geometry.connected_components import connected_components

_THRESHOLD = 0.5


def threshold_at(probability: np.ndarray, seeds: np.ndarray, reach: float) -> float:
    """Return 0.5, or half the highest probability at the points if that is lower: something is outlined in any case."""
    near = _near(probability.shape, seeds, np.full(3, reach))
    highest = float(probability[near].max(initial=0.0))
    return _THRESHOLD if highest >= _THRESHOLD else max(highest / 2, 1e-3)


def touching(mask: np.ndarray, seeds: np.ndarray, reach: float | np.ndarray) -> np.ndarray:
    """Return the components of a mask on the points, or if there are none, those within a distance in voxels."""
    components, _ = connected_components(mask)
    for distance in (np.zeros(3), np.broadcast_to(reach, 3)):
        touched = np.unique(components[_near(mask.shape, seeds, distance)])
        touched = touched[touched > 0]
        if len(touched):
            return np.isin(components, touched)
    return np.zeros_like(mask)


def _near(shape: tuple[int, ...], points: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Return the voxels within a distance of points, given in voxels along each axis."""
    marked = np.zeros(shape, bool)
    whole = np.rint(points).astype(int)
    marked[tuple(whole[((whole >= 0) & (whole < shape)).all(1)].T)] = True
    if not reach.any() or not marked.any():
        return marked
    return ndimage.distance_transform_edt(~marked, sampling=1 / np.maximum(reach, 1e-6)) <= 1
