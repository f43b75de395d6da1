"""What a user shows of a lesion: points on it and beside it, a box, and the mask there is already."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lib.clicks.region import Region
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid

PARAMETERS = ("foreground", "background", "scribble", "box", "former", "region")
_MOST_POINTS = 10_000


def _no_points() -> np.ndarray:
    return np.empty((0, 3), int)


@dataclass(frozen=True)
class Prompts:
    """The prompts of a request, validated. Voxel indices are column, row, slice.

    Attributes:
        positive: Points on the lesion, shape (n, 3).
        negative: Points that are not on it, shape (n, 3).
        box: First and last voxel of a box that contains the lesion, shape (2, 3).
        former: Mask to refine, for example of the former click, or painted by hand.
    """

    positive: np.ndarray = field(default_factory=_no_points)
    negative: np.ndarray = field(default_factory=_no_points)
    box: np.ndarray | None = None
    former: Region | None = None

    @classmethod
    def from_request(cls, request: Mapping[str, Any], grid: VoxelGrid) -> Prompts:
        """Parse ``foreground``, ``background``, ``scribble``, ``box`` and ``former`` of a request.

        Args:
            request: Parameters of the request.
            grid: Grid of the image.

        Raises:
            UserError: A parameter is invalid or outside the image, or nothing says where the lesion is.
        """
        points = {name: _points(request.get(name), name, grid) for name in ("foreground", "background", "scribble")}
        former = request.get("former")
        box = request.get("box")
        prompts = cls(
            positive=np.concatenate([points["foreground"], points["scribble"]]),
            negative=points["background"],
            box=None if box is None else _box(box, grid),
            former=None if former is None else Region.from_json(former, grid.size, "former"),
        )
        if not len(prompts.extent()):
            raise UserError(
                "Nothing says where the lesion is: give at least one point on it in foreground, "
                "[[column, row, slice]], or a scribble, a box or a former mask."
            )
        return prompts

    def points(self) -> np.ndarray:
        """Return the positive points and the corners of the box, shape (n, 3)."""
        return self.positive if self.box is None else np.concatenate([self.positive, self.box])

    def corrects(self) -> bool:
        """Return whether the user corrects an outline, rather than showing a lesion for the first time."""
        return len(self.negative) > 0 or (self.former is not None and bool(self.former.mask.any()))

    def followed(self) -> np.ndarray:
        """Return the positive points that must be in the outline, shape (n, 3).

        They are all, but none before the user corrects something: the first click may be beside the lesion.
        """
        return self.positive if self.corrects() else _no_points()

    def extent(self) -> np.ndarray:
        """Return the voxels that show where the lesion is and how large, shape (n, 3): what its cube must contain."""
        parts = [self.points()]
        if self.former is not None and self.former.mask.any():
            places = np.argwhere(self.former.mask)[:, ::-1] + self.former.offset
            parts.append(np.stack([places.min(0), places.max(0)]))
        return np.concatenate(parts)

    def seeds(self) -> np.ndarray:
        """Return the voxels that the outlined lesion must touch, shape (n, 3).

        These are the positive points; without any, the voxels of the former mask; without one, the middle of the box.
        """
        if len(self.positive):
            return self.positive
        if self.former is not None and self.former.mask.any():
            return np.argwhere(self.former.mask)[:, ::-1] + self.former.offset
        assert self.box is not None, "checked in from_request"
        return self.box.mean(0, keepdims=True).round().astype(int)


def _box(value: object, grid: VoxelGrid) -> np.ndarray:
    corners = _points(value, "box", grid)
    if len(corners) != 2:
        raise UserError(f"box must have two opposite corners, [[column, row, slice], [...]], not {len(corners)}.")
    return np.sort(corners, axis=0)


def _points(value: object, name: str, grid: VoxelGrid) -> np.ndarray:
    """Return a list of voxels of a request, shape (n, 3), whole numbers.

    Raises:
        UserError: It is not a list of three finite numbers each, or a point is outside the image.
    """
    if value is None or value == []:
        return _no_points()
    if not isinstance(value, list) or not all(_is_point(point) for point in value):
        raise UserError(
            f"{name} must be a list of voxels of three finite numbers each, [[column, row, slice], ...], not "
            f"{str(value)[:100]}."
        )
    if len(value) > _MOST_POINTS:
        raise UserError(f"{name} has {len(value)} points; at most {_MOST_POINTS} are accepted.")
    points = np.rint(np.clip(np.array(value, float), -1, 2**31)).astype(int)
    outside = ((points < 0) | (points >= grid.size)).any(1)
    if outside.any():
        last = ", ".join(str(length - 1) for length in grid.size)
        raise UserError(
            f"{name} has a point outside the image: {value[int(outside.argmax())]}. Columns, rows and slices are "
            f"counted from 0; the last voxel is [{last}]."
        )
    return points


def _is_point(point: object) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 3
        and all(type(number) in (int, float) and abs(number) <= sys.float_info.max for number in point)
    )
