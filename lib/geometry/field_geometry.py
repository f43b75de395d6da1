"""Geometry of the network's square field of view in a stored volume, and resampling in both directions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import Resize
from monai.transforms.utils import create_translate, scale_affine

from lib.geometry.axial_slices import AxialSlices
from lib.geometry.regular_grid import RegularGrid


@dataclass(frozen=True)
class FieldGeometry:
    """Square field of view in axial slices, the same for all slices of a volume.

    Attributes:
        slices: The axial slices.
        starts: First column and row of the field; may be outside of the slices.
        stops: One past the last column and row.
        size: Size of the resampled field in pixels.
    """

    slices: AxialSlices
    starts: tuple[int, int]
    stops: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FieldGeometry:
        """Return the geometry from the result of :meth:`as_dict`."""
        slices = dict(values["slices"])
        grid = RegularGrid(**slices.pop("grid")) if slices["grid"] else slices.pop("grid")
        slices["stored_shape"] = tuple(int(length) for length in slices["stored_shape"])
        starts, stops, size = ((int(x), int(y)) for x, y in (values[name] for name in ("starts", "stops", "size")))
        return cls(AxialSlices(**slices, grid=grid), starts, stops, size)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that MONAI can serialise in the applied operations of a MetaTensor."""
        return asdict(self)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of each input channel of the network."""
        return (*self.size, self.slices.shape[2])

    @property
    def affine(self) -> np.ndarray:
        """Affine of the network's input; RAS, mm."""
        field = self.slices.affine @ create_translate(3, (*self.starts, 0))
        return field @ scale_affine((*self._sides, 1), (*self.size, 1))

    @property
    def filled(self) -> tuple[slice, slice]:
        """Window of the resampled field that contains the image; the rest is padding."""
        scales = [size / side for size, side in zip(self.size, self._sides, strict=True)]
        columns, rows = (
            slice(round(before * scale), size - round(after * scale))
            for size, scale, (before, after) in zip(self.size, scales, self._border, strict=True)
        )
        return columns, rows

    def cut(self, slices: np.ndarray, fill: float) -> torch.Tensor:
        """Crop and pad axial slices (1, columns, rows, n) to the field, without resampling.

        Returns:
            float32, (n, rows, columns), so that slices are contiguous as in most files.
        """
        width, height = self._sides
        field = np.full((slices.shape[3], height, width), fill, np.float32)
        in_field, in_slices = self._windows
        field.T[in_field] = slices[(0, *in_slices)]
        return torch.from_numpy(field)

    def resample(self, field: torch.Tensor, mode: str) -> torch.Tensor:
        """Resample a cropped field (n, rows, columns) to the network's input, (1, columns, rows, n)."""
        width, height = self.size
        return torch.as_tensor(Resize((height, width), mode=mode)(field)).permute(2, 1, 0)[None]

    def restore(self, seen: torch.Tensor, length: int) -> Iterator[tuple[tuple[slice, slice, slice], np.ndarray]]:
        """Resample values on the network's grid linearly to the voxels of the file, block by block.

        Args:
            seen: Values, shape (1, *self.shape).
            length: Slices per block.

        Yields:
            A window of the stored volume and its values, shape (1, X, Y, slices); 0 outside the field.
        """
        in_field, in_slices = self._windows

        def axial(start: int, stop: int) -> np.ndarray:
            block = seen[0, ..., start:stop].permute(2, 1, 0).contiguous()
            width, height = self._sides
            field = torch.as_tensor(Resize((height, width), mode="bilinear")(block)).numpy()
            columns, rows = self.slices.shape[:2]
            slices = np.zeros((stop - start, rows, columns), np.float32)
            slices.T[in_slices] = field.T[in_field]
            return slices.T[None]

        return self.slices.stored_blocks(axial, length)

    def stored_indices(self, indices: np.ndarray) -> np.ndarray:
        """Return the voxel of the file nearest to each index (x, y, slice) of the network's grid, (n, 3).

        It is outside the volume for padding.
        """
        scales = np.array([side / size for side, size in zip(self._sides, self.size, strict=True)])
        in_plane = self.starts + (indices[:, :2] + 0.5) * scales - 0.5
        return self.slices.stored_indices(np.column_stack([in_plane, indices[:, 2]]))

    def covered_indices(self, indices: np.ndarray) -> np.ndarray:
        """Return the voxels of the file that voxels (n, 3) of the network's grid cover, in any order and repeatedly.

        Between neighbours on the network's grid, none is left out.
        """
        along = zip(self._sides, self.size, strict=True)
        lengths = [*(side / size for side, size in along), 1.0]  # of a voxel in axial pixels and slices
        counts = [max(3, math.ceil(a * b)) for a, b in zip(lengths, self.slices.densities, strict=True)]
        offsets = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
        places = indices[:, None] + np.array(list(itertools.product(*offsets)))
        return self.stored_indices(places.reshape(-1, 3))

    @property
    def _sides(self) -> tuple[int, int]:
        width, height = (stop - start for start, stop in zip(self.starts, self.stops, strict=True))
        return width, height

    @property
    def _border(self) -> list[tuple[int, int]]:
        """Padding before and after the slices in pixels, for both axes."""
        return [
            (max(-start, 0), max(stop - length, 0))
            for start, stop, length in zip(self.starts, self.stops, self.slices.shape, strict=False)
        ]

    @property
    def _windows(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Overlap of field and slices, as a window of each."""
        inside = [
            (max(start, 0), min(stop, length))
            for start, stop, length in zip(self.starts, self.stops, self.slices.shape, strict=False)
        ]
        in_field = [slice(low - start, high - start) for (low, high), start in zip(inside, self.starts, strict=True)]
        in_slices = [slice(low, high) for low, high in inside]
        return (in_field[0], in_field[1]), (in_slices[0], in_slices[1])
