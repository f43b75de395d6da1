"""Batched inference on many small volumes of similar size, which is much faster than one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from torch import nn

from lib.transforms.adjacent_slices import AdjacentSlicesd

_STEP_PX = 16  # sides are rounded up to a multiple of this, which is a multiple of the stride of all networks here
_SLICES_AT_ONCE = 256  # slices held in memory
_PIXELS_AT_ONCE = 512**2  # pixels per forward pass


class Crop(Protocol):
    """A preprocessed volume."""

    @property
    def image(self) -> torch.Tensor:
        """Return the normalised image, shape (X, Y, Z)."""

    @property
    def spacing(self) -> float:
        """Return the distance between slices, mm."""


AnyCrop = TypeVar("AnyCrop", bound=Crop)


@dataclass(frozen=True)
class CropBatch(Generic[AnyCrop]):
    """Crops padded with air to squares of equal size, and concatenated along the slice axis.

    Attributes:
        crops: The crops, in the order of their slices.
        volume: Input of the network, shape (C, side, side, slices of all crops).
        border_px: Padding before each crop along both in-plane axes, pixels.
    """

    crops: Sequence[AnyCrop]
    volume: torch.Tensor
    border_px: int

    def split(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Split a map of the batch (side, side, slices of all crops) into the maps of the crops (X, Y, Z)."""
        parts = values.split([crop.image.shape[2] for crop in self.crops], dim=-1)
        return [part[self._window(crop)] for crop, part in zip(self.crops, parts, strict=True)]

    def _window(self, crop: Crop) -> tuple[slice, slice]:
        width, height, _ = crop.image.shape
        return slice(self.border_px, self.border_px + width), slice(self.border_px, self.border_px + height)


def crop_batches(
    crops: Sequence[AnyCrop], preprocessing: Mapping[str, Any], border_px: int = 2
) -> Iterator[CropBatch[AnyCrop]]:
    """Yield batches of crops that fit into memory, smallest crops first; each whole scan is a separate batch.

    Args:
        crops: Crops or whole scans.
        preprocessing: Section ``preprocessing`` of info.yaml.
        border_px: Minimum padding around each crop, pixels.
    """

    def side(crop: AnyCrop) -> int:
        return -(-(max(crop.image.shape[:2]) + 2 * border_px) // _STEP_PX) * _STEP_PX

    for length, group in groupby(sorted(crops, key=side), key=side):
        for chunk in _chunks(list(group)):
            volume = torch.cat([_padded(crop, length, border_px, preprocessing) for crop in chunk], dim=-1)
            yield CropBatch(chunk, volume, border_px)


@torch.inference_mode()
def tumour_probability(network: nn.Module, volume: torch.Tensor) -> torch.Tensor:
    """Return the probability of tumour without mirrored views, shape (X, Y, slices), on the CPU.

    Args:
        network: ``AttentionResidualUNet`` in evaluation mode; its device is used.
        volume: Input, shape (C, X, Y, slices).
    """
    device = next(network.parameters()).device
    slices = volume.permute(3, 0, 1, 2).contiguous(memory_format=torch.channels_last)
    batches = slices.split(max(_PIXELS_AT_ONCE // volume[0, ..., 0].numel(), 1))
    return torch.cat([network(batch.to(device))[:, 0].cpu() for batch in batches]).sigmoid().permute(1, 2, 0)


def _chunks(crops: list[AnyCrop]) -> Iterator[list[AnyCrop]]:
    """Yield groups of crops whose slices fit into memory together."""
    chunk: list[AnyCrop] = []
    for crop in crops:
        if chunk and sum(one.image.shape[2] for one in [*chunk, crop]) > _SLICES_AT_ONCE:
            yield chunk
            chunk = []
        chunk.append(crop)
    yield chunk


def _padded(crop: Crop, side: int, border_px: int, preprocessing: Mapping[str, Any]) -> torch.Tensor:
    """Return the network's input for a crop, shape (C, side, side, Z)."""
    air = (preprocessing["hu_window"][0] - preprocessing["hu_mean"]) / preprocessing["hu_std"]
    width, height, _ = crop.image.shape
    after = (side - height - border_px, side - width - border_px)
    padded = F.pad(crop.image[None], (0, 0, border_px, after[0], border_px, after[1]), value=air)
    stack = AdjacentSlicesd(keys="image", offsets_mm=preprocessing["slice_offsets_mm"])
    volume = MetaTensor(padded, affine=torch.diag(torch.tensor([1.0, 1.0, crop.spacing, 1.0], dtype=torch.float64)))
    return stack({"image": volume})["image"].as_tensor()
