"""Distances between the surfaces of two outlines, as MONAI measures them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

_PERCENTILE = 95


@dataclass(frozen=True)
class SurfaceDistance:
    """Distances in mm between the surfaces of two masks.

    Attributes:
        mean_mm: Mean distance from the surface voxels of each mask to the surface of the other.
        hausdorff_95_mm: 95th percentile of these distances, the larger of the two directions.
    """

    mean_mm: float
    hausdorff_95_mm: float


def surface_distance(one: np.ndarray, other: np.ndarray, spacing: Sequence[float]) -> SurfaceDistance:
    """Measure the distances between the surfaces of two masks.

    Args:
        one: Mask, shape (X, Y, Z), with at least one voxel.
        other: Mask of the same shape, with at least one voxel.
        spacing: Voxel spacing along each axis in mm.

    Raises:
        ValueError: A mask is empty.
    """
    if not (one.any() and other.any()):
        raise ValueError("Surface distances need two masks with voxels; one is empty.")
    first, second = (torch.from_numpy(np.pad(mask > 0, 1))[None, None] for mask in (one, other))
    millimetres = [float(mm) for mm in spacing]
    mean = compute_average_surface_distance(first, second, include_background=True, symmetric=True, spacing=millimetres)
    hausdorff = compute_hausdorff_distance(
        first, second, include_background=True, percentile=_PERCENTILE, spacing=millimetres
    )
    return SurfaceDistance(float(mean), float(hausdorff))
