"""The in-plane field that the network sees, at a physical scale."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Crop, InvertibleTransform, MapTransform, Pad

from lib.transforms.lungs import LungBox, find_lungs

_MARGIN_MM = 10.0  # around the lungs, in the plane and beyond their first and last slice


class AxialFieldd(MapTransform, InvertibleTransform):
    """Crop and pad every axial slice to one square field, the same for the whole volume.

    The field is ``field_mm`` wide. It grows where that is too small: in mode ``lungs`` to hold both lungs, in
    mode ``slice`` to hold the whole slice. It never shrinks, so an image smaller than a chest is padded and
    keeps its scale. In mode ``lungs`` it is centred on the body; without lungs in sight it falls back to mode
    ``slice``.

    The first key is the image that decides; the others (label) get the same field. ``data["lung_slices"]``
    becomes the range (first, one past last) of slices that hold lung: all slices where no lungs were found.
    ``data["lungs_found"]`` tells so of an image that is large enough for a chest; of a crop it is always True.
    ``data["lungs"]`` becomes the air in the lungs, a bool tensor (x, y, z) over the field and all slices on a grid of
    about 2.5 mm, or None.

    Args:
        keys: Image first. Tensors of shape (C, X, Y, Z) with axial slices along Z, the image in HU.
        field_mm: Smallest side of the field in mm.
        mode: ``lungs`` or ``slice``.
        air: What the image is padded with, in HU. Other keys are padded with 0.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        field_mm: float,
        mode: str = "lungs",
        air: float = -1000.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if mode not in ("lungs", "slice"):
            raise ValueError(f"The field is chosen by 'lungs' or 'slice', not {mode!r}.")
        if not field_mm > 0:
            raise ValueError(f"field_mm is a length in mm above 0, got {field_mm}.")
        self.field_mm = field_mm
        self.mode = mode
        self.air = air
        self._crop = Crop()
        self._pad = Pad()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        image: MetaTensor = d[self.keys[0]]
        spacing = tuple(float(length) for length in image.pixdim)
        shape = tuple(image.shape[1:])
        # In an image much smaller than a chest (a crop) what looks like a lung is none.
        whole_chest = all(n * length >= 0.5 * self.field_mm for n, length in zip(shape[:2], spacing, strict=False))
        lungs = find_lungs(torch.as_tensor(image[0]).numpy(), spacing) if whole_chest else None
        d["lungs_found"] = lungs is not None or not whole_chest
        d["lung_slices"] = _lung_slices(lungs, shape[2], spacing[2])
        starts, stops = self._field(shape, spacing, lungs if self.mode == "lungs" else None)
        window = tuple(slice(max(start, 0), min(stop, n)) for start, stop, n in zip(starts, stops, shape, strict=False))
        border = [(max(-start, 0), max(stop - n, 0)) for start, stop, n in zip(starts, stops, shape, strict=False)]
        d["lungs"] = _lungs_in_field(lungs, starts, stops) if lungs else None
        for key in self.key_iterator(d):
            cropped = self._crop(d[key], window)
            value = self.air if key == self.keys[0] else 0
            d[key] = self._pad(cropped, to_pad=[(0, 0), *border, (0, 0)], value=value)
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self._crop.inverse(self._pad.inverse(d[key]))
        return d

    def _field(
        self, shape: tuple[int, ...], spacing: tuple[float, ...], lungs: LungBox | None
    ) -> tuple[list[int], list[int]]:
        """First and one past last index of the field along the two in-plane axes; may lie outside the image."""
        sides = np.array(spacing[:2])
        if lungs is None:
            centre = np.array(shape[:2]) / 2
            reach = max(centre * sides)
        else:
            centre = np.array(lungs.body_centre)
            ends = np.abs(np.array([lungs.start[:2], lungs.stop[:2]]) - centre)
            reach = (ends * sides).max() + _MARGIN_MM
        counts = np.rint(2 * max(reach, self.field_mm / 2) / sides).astype(int)
        starts = np.rint(centre - counts / 2).astype(int)
        return starts.tolist(), (starts + counts).tolist()


def _lungs_in_field(lungs: LungBox, starts: list[int], stops: list[int]) -> torch.Tensor:
    """The mask of the lungs cut and padded to the field, to the nearest voxel of its coarse grid."""
    columns = []
    for start, stop, step, length in zip(starts, stops, lungs.steps, lungs.mask.shape, strict=False):
        index = np.arange(round((stop - start) / step)) + round(start / step)
        columns.append(np.where((index >= 0) & (index < length), index, length))
    padded = np.pad(lungs.mask, ((0, 1), (0, 1), (0, 0)))
    return torch.from_numpy(padded[np.ix_(*columns)])


def _lung_slices(lungs: LungBox | None, depth: int, spacing: float) -> tuple[int, int]:
    if lungs is None:
        return 0, depth
    margin = round(_MARGIN_MM / spacing)
    return max(lungs.start[2] - margin, 0), min(lungs.stop[2] + margin, depth)
