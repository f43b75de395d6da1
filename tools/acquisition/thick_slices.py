"""Thicker slices of a scan, as averages of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lib.evaluation.composed_scans import Volume


def thicken(volume: Volume, count: int) -> Volume:
    """Return a scan whose slices are each the mean of ``count`` adjacent ones; a rest at the end is dropped.

    Args:
        volume: Scan, (X, Y, Z); its mask is not averaged but left out, because lesions are compared on the old grid.
        count: Number of slices in a new one, from 1.
    """
    kept = volume.hu.shape[2] // count * count
    hu = volume.hu[..., :kept].reshape(*volume.hu.shape[:2], -1, count).mean(axis=3)
    step = volume.affine[:3, 2]
    affine = volume.affine.copy()
    affine[:3, 2] = count * step
    affine[:3, 3] += (count - 1) / 2 * step
    x, y, z = volume.spacing
    return replace(volume, hu=hu, mask=np.zeros(hu.shape, bool), affine=affine, spacing=(x, y, count * z))


def on_thin_slices(found: np.ndarray, count: int, slices: int) -> np.ndarray:
    """Return a mask of `thicken`'s slices on the former grid of ``slices`` slices."""
    thin = np.repeat(found, count, axis=2)
    return np.pad(thin, ((0, 0), (0, 0), (0, slices - thin.shape[2])))
