"""A part of a mask with its place in the image, as sent between server and viewer.

As JSON it is ``{"offset": [i, j, k], "size": [i, j, k], "runs": [n, n, ...]}``: first voxel and number of voxels
(column, row, slice), and the lengths of runs of equal voxels, column fastest, alternately outside and inside the mask
beginning with outside. A lesion of 30 mm takes about 10 kB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.clicks.cube import Window
from lib.errors import UserError

_FORM = '{"offset": [i, j, k], "size": [i, j, k], "runs": [n, ...]}'


@dataclass(frozen=True)
class Region:
    """A box of the image with the mask in it.

    Attributes:
        offset: First voxel: column, row, slice.
        mask: Bool, shape (slice, row, column); all of the mask is in the box.
    """

    offset: tuple[int, int, int]
    mask: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, start: Sequence[int], former: Region | None = None) -> Region:
        """Return the smallest region that contains a mask, and all voxels of a former one, which it replaces.

        Args:
            mask: Bool, shape (slice, row, column).
            start: Its first slice, row and column in the image.
            former: Mask that is replaced.
        """
        places = [np.argwhere(mask) + start]
        if former is not None:
            places.append(np.argwhere(former.mask) + former.offset[::-1])
        both = np.concatenate(places)
        low, high = (both.min(0), both.max(0) + 1) if len(both) else (np.array(start), np.array(start))
        boxed = np.zeros(high - low, bool)
        boxed[tuple((places[0] - low).T)] = True
        first, second, third = low[::-1].tolist()
        return cls((first, second, third), boxed)

    def with_kept(self, former: Region, windows: Sequence[Window]) -> Region:
        """Return the region with the voxels of a former mask, which it contains, that are outside some windows."""
        places = np.argwhere(former.mask) + former.offset[::-1]
        for window in windows:
            low, high = ([getattr(side, end) for side in window] for end in ("start", "stop"))
            places = places[((places < low) | (places >= high)).any(1)]
        mask = self.mask.copy()
        mask[tuple((places - self.offset[::-1]).T)] = True
        return Region(self.offset, mask)

    @property
    def window(self) -> Window:
        """The box as an index of the image (slice, row, column)."""
        first, second, third = (
            slice(start, start + length) for start, length in zip(self.offset[::-1], self.mask.shape, strict=True)
        )
        return first, second, third

    def to_json(self) -> dict[str, Any]:
        """Return the region as JSON."""
        flat = self.mask.ravel()
        ends = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *([0] if flat.size and flat[0] else []), *ends.tolist(), flat.size])
        return {"offset": list(self.offset), "size": list(self.mask.shape[::-1]), "runs": runs.tolist()}

    @classmethod
    def from_json(cls, value: object, size: Sequence[int], name: str) -> Region:
        """Parse a region of a request.

        Args:
            value: JSON value.
            size: Columns, rows and slices of the image.
            name: Name of the parameter, for messages.

        Raises:
            UserError: It is not a region of the image.
        """
        if not isinstance(value, dict) or not {"offset", "size", "runs"} <= value.keys():
            raise UserError(f"{name} must be {_FORM}.")
        offset, sides, runs = (_counts(value[key], f"{name}.{key}") for key in ("offset", "size", "runs"))
        if len(offset) != 3 or len(sides) != 3:
            raise UserError(f"{name}.offset and {name}.size must be three numbers each: column, row, slice.")
        if any(start + side > length for start, side, length in zip(offset, sides, size, strict=True)):
            raise UserError(
                f"{name} is not within the image: offset {offset}, size {sides}, but the image has "
                f"{' x '.join(map(str, size))} voxels."
            )
        voxels = sides[0] * sides[1] * sides[2]
        if sum(runs) != voxels:
            raise UserError(f"{name}.runs must add up to the {voxels} voxels of {name}.size, not to {sum(runs)}.")
        inside = np.arange(len(runs)) % 2 == 1
        return cls((offset[0], offset[1], offset[2]), np.repeat(inside, runs).reshape(sides[::-1]))


def _counts(value: object, name: str) -> list[int]:
    if not isinstance(value, list) or any(type(one) is not int or one < 0 for one in value):
        raise UserError(f"{name} must be a list of whole numbers of 0 and more.")
    return value
