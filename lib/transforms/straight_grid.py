"""Slices that are tilted or unevenly spaced, brought onto a straight and even grid, and a mask brought back."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform

from lib.datastore.slice_geometry import SLICE_POSITIONS

_EVEN = 0.02  # of a gap, and of a pixel sideways from end to end: less is left as it is
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class StraightGridd(MapTransform, InvertibleTransform):
    """Interpolate linearly between the slices, at right angles to them, where they lie in the patient.

    Where a slice lies is taken from the image's metadata ``slice_positions`` (see
    :mod:`lib.datastore.slice_geometry`), else from its affine, which is sheared for a tilted gantry. The new grid
    keeps pixels and orientation; it has the first and the last slice, and between them the number of slices that
    makes their distance the typical one. For a tilted gantry it is widened. Slices that are straight and even
    already are left as they are.

    The first key is the image that decides; the others are masks on the same slices and get the nearest slice's
    values. ``inverse`` brings a map onto the real slices, one by one.

    Args:
        keys: Image first. Tensors of shape (C, X, Y, Z) with the slices along Z.
        air: What the image is widened with, in HU. Masks are widened with 0.
    """

    def __init__(self, keys: KeysCollection, *, air: float = -1000.0, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.air = air

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        grid = _Slices.of(d[self.keys[0]])
        for key in self.key_iterator(d):
            volume: MetaTensor = d[key]
            fill, order = (self.air, 1) if key == self.keys[0] else (0.0, 0)
            straight = volume if grid is None else _rebuilt(volume, grid.straighten(_array(volume), fill, order))
            if grid is not None:
                straight.affine = torch.as_tensor(_LPS @ grid.straight_affine(_LPS @ np.asarray(volume.affine)))
            info = {"grid": grid and asdict(grid), "original_affine": np.asarray(volume.affine).tolist()}
            self.push_transform(straight, orig_size=tuple(volume.shape[1:]), extra_info=info)
            d[key] = straight
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            operation = self.pop_transform(d[key])
            info = operation["extra_info"]
            if info["grid"] is None:
                continue
            grid = _Slices(**info["grid"])
            d[key] = _rebuilt(d[key], grid.restore(_array(d[key]), tuple(operation["orig_size"])))
            d[key].affine = torch.as_tensor(info["original_affine"], dtype=torch.float64)
        return d


@dataclass(frozen=True)
class _Slices:
    """Where the slices lie relative to the first.

    Attributes:
        distances: Of each along the normal, mm.
        shifts: Of each sideways, (columns, rows), in pixels.
    """

    distances: list[float]
    shifts: list[list[float]]

    @classmethod
    def of(cls, image: MetaTensor) -> _Slices | None:
        """Those of an image; None if they are straight and even."""
        affine = _LPS @ np.asarray(image.affine)
        noted = image.meta.get(SLICE_POSITIONS)
        indices = np.arange(image.shape[-1])[:, None]
        positions = np.array(json.loads(noted)) if noted else affine[:3, 3] + indices * affine[:3, 2]
        if len(positions) != image.shape[-1]:
            raise ValueError(f"the image has {image.shape[-1]} slices, but positions of {len(positions)}")
        along = positions - positions[0]
        distances = along @ _normal(affine)
        shifts = along @ (affine[:3, :2] / (affine[:3, :2] ** 2).sum(0))
        gaps = np.diff(distances)
        if np.ptp(shifts, axis=0).max() < _EVEN and (len(gaps) < 2 or np.ptp(gaps) < _EVEN * gaps.mean()):
            return None
        return cls(distances.tolist(), shifts.tolist())

    @property
    def step(self) -> float:
        """Distance of slices of the straight grid, mm."""
        gaps = np.diff(self.distances)
        typical = max(np.median(gaps), gaps.mean() / 2)
        return self.distances[-1] / round(self.distances[-1] / typical)

    @property
    def start(self) -> np.ndarray:
        """Column and row of the first slice where the straight grid begins; not above 0."""
        return np.floor(np.min(self.shifts, axis=0) + 1e-6)

    def straight_affine(self, affine: np.ndarray) -> np.ndarray:
        """Of the straight grid (LPS), from that of the slices."""
        straight = affine.copy()
        straight[:3, 2] = _normal(affine) * self.step
        straight[:3, 3] += affine[:3, :2] @ self.start
        return straight

    def straighten(self, slices: np.ndarray, fill: float, order: int) -> np.ndarray:
        """From (C, X, Y, slices) to the straight grid."""
        shifts = np.array(self.shifts) - self.start
        plane = np.array(slices.shape[1:3]) + np.ceil(shifts.max(axis=0) - 1e-6).astype(int)

        @lru_cache(maxsize=2)
        def placed(index: int) -> np.ndarray:
            return _shifted(slices[..., index], -shifts[index], plane, fill, order)

        count = round(self.distances[-1] / self.step) + 1
        straight = np.empty((len(slices), *plane, count), np.float32)
        for place, distance in enumerate(np.linspace(0, self.distances[-1], count)):
            below = int(np.clip(np.searchsorted(self.distances, distance, "right") - 1, 0, len(self.distances) - 2))
            gap = self.distances[below + 1] - self.distances[below]
            straight[..., place] = _between(placed, below, (distance - self.distances[below]) / gap, order)
        return straight

    def restore(self, straight: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """From the straight grid (C, X, Y, Z) back to slices of ``shape`` (X, Y, slices)."""
        slices = np.empty((len(straight), *shape), np.float32)
        for index, (distance, shift) in enumerate(zip(self.distances, self.shifts, strict=True)):
            below = min(int(distance / self.step), straight.shape[-1] - 2)
            plane = _between(lambda place: straight[..., place], below, distance / self.step - below, 1)
            slices[..., index] = _shifted(plane, shift - self.start, shape[:2], 0.0, 1)
        return slices


def _normal(affine: np.ndarray) -> np.ndarray:
    """Unit vector at right angles to the slices, from the first to the last."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return normal * np.sign(normal @ affine[:3, 2]) / np.linalg.norm(normal)


def _between(plane: Any, below: int, part: float, order: int) -> np.ndarray:
    """Between a plane and the next; with order 0 the nearer of the two."""
    if order == 0:
        return plane(below + (part >= 0.5))
    if part < 1e-4:
        return plane(below)
    if part > 1 - 1e-4:
        return plane(below + 1)
    return (1 - part) * plane(below) + part * plane(below + 1)


def _shifted(planes: np.ndarray, offset: np.ndarray, shape: Any, fill: float, order: int) -> np.ndarray:
    """The part of (C, X, Y) that begins at ``offset`` pixels, which may lie between pixels or outside."""
    for axis, (first, length) in enumerate(zip(offset, shape, strict=True), start=1):
        below = round(first) if order == 0 else int(np.floor(first + 1e-6))
        part = 0.0 if order == 0 else first - below
        planes = _between(lambda start, p=planes, a=axis, n=length: _part(p, a, start, n, fill), below, part, 1)
    return planes


def _part(planes: np.ndarray, axis: int, start: int, length: int, fill: float) -> np.ndarray:
    """``length`` pixels along an axis from ``start`` on, with ``fill`` beyond the ends."""
    end = planes.shape[axis]
    inside = planes.take(range(min(max(start, 0), end), min(max(start + length, 0), end)), axis)
    border = [(0, 0)] * planes.ndim
    border[axis] = (min(max(-start, 0), length), min(max(start + length - end, 0), length))
    return np.pad(inside, border, constant_values=fill)


def _array(volume: MetaTensor) -> np.ndarray:
    return volume.as_tensor().cpu().numpy()


def _rebuilt(volume: MetaTensor, voxels: np.ndarray) -> MetaTensor:
    """A volume with other voxels, on the same device."""
    tensor = torch.from_numpy(voxels).to(volume.device)
    return MetaTensor(tensor, meta=dict(volume.meta), applied_operations=list(volume.applied_operations))
