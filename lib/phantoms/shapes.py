"""Signed distances in mm to simple bodies: negative inside, zero on the surface.

Points are three arrays ``x, y, z`` (LPS, mm) that broadcast against each other, so an axial grid needs three vectors
instead of three volumes. Distances to ellipsoids and columns are exact on the surface and accurate near it, which is
where they are used.
"""

from collections.abc import Sequence

import numpy as np

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
Triple = Sequence[float] | np.ndarray


def grid_points(shape: Triple, affine: np.ndarray) -> Points:
    """Return the LPS coordinates in mm of all voxels, broadcastable to ``shape`` (slices, rows, columns).

    Axes along which a coordinate is constant have length 1 in it.
    """
    slices, rows, columns = (int(n) for n in shape)
    indices = (
        np.arange(columns, dtype=np.float32).reshape(1, 1, -1),
        np.arange(rows, dtype=np.float32).reshape(1, -1, 1),
        np.arange(slices, dtype=np.float32).reshape(-1, 1, 1),
    )
    coordinates: list[np.ndarray] = []
    for axis in range(3):
        coordinate = np.full((1, 1, 1), affine[axis, 3], dtype=np.float32)
        for step, index in zip(affine[axis, :3], indices, strict=True):
            if abs(step) > 1e-9:
                coordinate = coordinate + np.float32(step) * index
        coordinates.append(coordinate)
    return coordinates[0], coordinates[1], coordinates[2]


def ellipsoid(points: Points, center: Triple, semi_axes: Triple) -> np.ndarray:
    """Return the distance in mm to an ellipsoid with axes along LPS."""
    radius = sum(np.square((p - c) / s, dtype=np.float32) for p, c, s in zip(points, center, semi_axes, strict=True))
    return (np.sqrt(radius) - 1) * np.float32(np.prod(semi_axes) ** (1 / 3))


def column(points: Points, center: Sequence[float], semi_axes: Sequence[float], power: float = 2.0) -> np.ndarray:
    """Return the distance in mm to an upright (super)elliptic column; ``center`` and ``semi_axes`` in x and y."""
    x, y, _ = points
    radius = np.abs((x - center[0]) / semi_axes[0]) ** power + np.abs((y - center[1]) / semi_axes[1]) ** power
    return (radius ** np.float32(1 / power) - 1) * np.float32(np.sqrt(semi_axes[0] * semi_axes[1]))


def capsule(points: Points, start: Triple, end: Triple, start_radius: float, end_radius: float) -> np.ndarray:
    """Return the distance in mm to a tapering tube with round ends."""
    axis = np.subtract(end, start).astype(np.float32)
    length = max(float(axis @ axis), 1e-6)
    offsets = [p - np.float32(s) for p, s in zip(points, start, strict=True)]
    along = np.clip(sum(o * a for o, a in zip(offsets, axis, strict=True)) / np.float32(length), 0, 1)
    across = sum(np.square(o - along * a) for o, a in zip(offsets, axis, strict=True))
    return np.sqrt(across) - (np.float32(start_radius) + np.float32(end_radius - start_radius) * along)


def coverage(distance: np.ndarray, edge: float) -> np.ndarray:
    """Return the fraction of a voxel that is inside, falling from 1 to 0 over ``edge`` mm across the surface."""
    return np.clip(0.5 - distance / np.float32(edge), 0, 1)
