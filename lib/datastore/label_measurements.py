"""What a reader has measured with a ruler, which the viewer sends with a label.

As JSON it is a list of ``{"kind": "bidirectional", "plane": "axial", "points": [[x, y, z], …]}``: ``length`` with the
two ends of a line, or ``bidirectional`` (RECIST) with those of the long axis and then those of the short one at right
angles to it, in patient coordinates (LPS, mm); and the plane that it was drawn in. Lengths are computed from the
points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid

_POINTS = {"length": 2, "bidirectional": 4}
_PLANES = ("axial", "sagittal", "coronal")
_FIELDS = {"kind", "plane", "points"}
_MOST_MEASUREMENTS = 200
_FARTHEST_MM = 1e5
_OUTSIDE_VOXELS = 1.0  # from the centre of the last voxel: its edge, and as much for the rounding of the viewer
_SAMPLES = 21


@dataclass(frozen=True)
class Measurement:
    """A measurement of a reader.

    Attributes:
        kind: ``length`` or ``bidirectional``.
        plane: ``axial``, ``sagittal`` or ``coronal``.
        lines: The ends of each line, LPS in mm, shape (lines, 2, 3); the longest line first.
    """

    kind: str
    plane: str
    lines: np.ndarray

    @property
    def lengths(self) -> list[float]:
        """Length of each line in mm, the longest first."""
        return _lengths(self.lines).tolist()

    def samples(self) -> np.ndarray:
        """Return points along the longest line, LPS in mm, shape (n, 3)."""
        start, end = self.lines[0]
        return start + np.linspace(0, 1, _SAMPLES)[:, None] * (end - start)


def are_measurements(value: object) -> bool:
    """Return whether a value of a request is a list of at most 200 measurements."""
    return isinstance(value, list) and len(value) <= _MOST_MEASUREMENTS and all(map(_is_measurement, value))


def measurements_of(value: Any) -> list[Measurement]:
    """Return the measurements in the ``measurements`` of a label record; none if they are missing or malformed."""
    found: Sequence[dict[str, Any]] = value if are_measurements(value) else ()
    return [_measurement(**one) for one in found]


def check_inside(measurements: Sequence[Measurement], grid: VoxelGrid) -> None:
    """Check that measurements are inside of the image.

    Raises:
        UserError: One is not; the message says which.
    """
    for number, one in enumerate(measurements, 1):
        index = grid.to_index(one.lines.reshape(-1, 3))
        if (index < -_OUTSIDE_VOXELS).any() or (index > np.array(grid.size) - 1 + _OUTSIDE_VOXELS).any():
            raise UserError(
                f"Measurement {number} of {len(measurements)} ({one.kind}, {one.lengths[0]:.1f} mm) is not inside of "
                "the image. Remove it, or draw it inside, and submit again."
            )


def _measurement(kind: str, plane: str, points: list[list[float]]) -> Measurement:
    lines = np.array(points, float).reshape(-1, 2, 3)
    return Measurement(kind, plane, lines[np.argsort(-_lengths(lines), kind="stable")])


def _lengths(lines: np.ndarray) -> np.ndarray:
    return np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1)


def _is_measurement(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != _FIELDS or value["plane"] not in _PLANES:
        return False
    kind, points = value["kind"], value["points"]
    if not isinstance(kind, str) or not isinstance(points, list) or len(points) != _POINTS.get(kind):
        return False
    return all(map(_is_point, points)) and points[0] != points[1]


def _is_point(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_coordinate, value))


def _is_coordinate(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= _FARTHEST_MM  # type: ignore[arg-type]  # not if NaN
